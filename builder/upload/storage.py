"""Send a pickle to a presigned URL: streamed from disk, hashed on the way, and retried where that can help.

Nothing here registers the pickle. The URL is a secret and never shown, and the API token is not sent to it. The last
chunk is held back until the hash of the whole file is correct, so that a file which changes during the upload is never
stored completely.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from builder import commands, errors
from builder.net import address, http, retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.progress import Progress
    from builder.tournament import FileAuth

_CHUNK = 1 << 20
_MAX_CLOCK_ERROR = 60.0
"""Clock differences below this many seconds are not reported as the reason of a rejected URL."""
_DONE = frozenset({200, 201, 204})
_REDIRECTS = http.REDIRECT_STATUSES - {303}  # 303 would turn the PUT into a GET
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,60})</Code>")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?', re.IGNORECASE)
_NOTHING = "nothing was registered"
_RUN_AGAIN = f"run it again: {_NOTHING}"


@dataclass(frozen=True, kw_only=True)
class TransferPolicy(retry.RetryPolicy):
    """How often a file is sent, and its timeouts.

    Attributes:
        silent: Seconds without any data in either direction after which an attempt fails.
        total: Seconds after which the upload fails, even if it makes progress.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 30.0
    silent: float = 60.0
    total: float = 7_200.0


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A stored file; ``filename`` is the name to register, which changes if the URL had to be renewed."""

    filename: str
    etag: str


def put(
    auth: FileAuth,
    path: Path,
    *,
    sha256: str,
    md5: str,
    size: int,
    progress: Progress,
    clock_ahead: float | None,
    renew: Callable[[], FileAuth],
    policy: TransferPolicy | None = None,
) -> StoredFile:
    """Send a file to a presigned URL.

    Args:
        auth: The URL, and the name under which the file will be stored.
        path: The file.
        sha256: Its expected hash in hexadecimal.
        md5: Its MD5 from :func:`compute_md5`, which most storages return as the ETag.
        size: Its expected number of bytes.
        progress: Shows the bytes sent.
        clock_ahead: Seconds by which this computer's clock is ahead of the API's; None if unknown.
        renew: Requests another URL after this one has expired.
        policy: Attempts and timeouts.

    Raises:
        errors.ArtifactError: The file does not have the expected hash, or changed while it was sent.
        errors.NetworkError: It could not be stored; the message says why and what to do.
    """
    policy = policy or TransferPolicy()
    with _open(path) as file, futures.ThreadPoolExecutor(max_workers=1) as hashing:
        content = _Content(
            file, path, hashing, sha256=sha256, md5=md5, size=size, progress=progress, total=policy.total
        )

        def send() -> StoredFile:
            progress.step(f"storing {path.name}")
            return StoredFile(filename=auth.filename, etag=_send(auth.url, content, policy, clock_ahead))

        def prepare_retry(wait: float, error: errors.UnavailableError) -> None:
            nonlocal auth
            if isinstance(error, _ExpiredError):
                auth = renew()
            progress.step(f"storing {path.name} again in {wait:.0f} s")

        try:
            return retry.retry(send, policy, on_retry=prepare_retry)
        except errors.UnavailableError as error:
            raise errors.NetworkError(f"{error} (sent {error.attempt} times)") from error


def compute_md5(path: Path) -> str:
    """Return the MD5 of a file in hexadecimal.

    Hashing can take longer than sending, so call this before a presigned URL is requested, which expires.

    Raises:
        errors.ArtifactError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise _create_read_error(path, error) from error


class _ExpiredError(errors.UnavailableError):
    """The presigned URL has expired and must be renewed."""


class _Content:
    """The file's content, which can be sent several times."""

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        hashing: futures.Executor,
        *,
        sha256: str,
        md5: str,
        size: int,
        progress: Progress,
        total: float,
    ) -> None:
        self.path, self.size = path, size
        self.deadline = time.monotonic() + total
        """Monotonic time at which the upload fails."""
        self.md5 = ""
        """MD5 of the content that was sent; empty until all of it was."""
        self.had_mismatch = False
        """Whether the storage returned another ETag once."""
        self._file, self._sha256, self._md5, self._progress = file, sha256, md5, progress
        self._total, self._sent, self._hashing = total, 0, hashing

    def chunks(self, at: str) -> Iterator[bytes]:
        """Yield the file from its beginning; the last chunk only if the whole file has the expected size and hash."""
        self.md5 = ""
        sha256 = hashlib.sha256()
        sent, chunk = 0, self._read(0)
        while True:
            self._sent = sent
            if time.monotonic() > self.deadline:
                raise self.create_timeout_error(at)
            sent += len(chunk)
            # In another thread, because without SHA instructions of the processor hashing takes as long as sending.
            hashing = self._hashing.submit(sha256.update, chunk)
            following = self._read(sent)
            if not following or sent >= self.size:
                hashing.result()
                break
            yield chunk
            hashing.result()
            self._progress.report_bytes(sent, self.size)
            chunk = following
        if following or sent != self.size or sha256.hexdigest() != self._sha256:
            raise errors.ArtifactError(
                f"{self.path}: does not match the hash in the manifest ({sent:,} bytes for "
                f"{self.size:,}): it changed while it was sent. {_NOTHING.capitalize()}; "
                f"`{_suggest_build(self.path)}` builds it again"
            )
        self.md5 = self._md5
        yield chunk
        self._sent = sent
        self._progress.report_bytes(sent, self.size)

    def _read(self, at: int) -> bytes:
        try:
            if at == 0:
                self._file.seek(0)
            # Read one byte more than expected, to notice a file that has grown.
            return self._file.read(min(_CHUNK, max(0, self.size - at) + 1))
        except OSError as error:
            raise _create_read_error(self.path, error) from error

    def create_timeout_error(self, at: str) -> errors.NetworkError:
        """Return the error to raise after the deadline."""
        return errors.NetworkError(
            f"{at}: not stored after {self._total:,g} s: only {self._sent:,} of {self.size:,} bytes were sent; "
            f"check the connection and {_RUN_AGAIN}"
        )


@contextlib.contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise _create_read_error(path, error) from error
    with file:
        yield file


def _create_read_error(path: Path, error: OSError) -> errors.ArtifactError:
    return errors.ArtifactError(f"cannot read {path}: {error.strerror}; `{_suggest_build(path)}` builds it again")


def _suggest_build(pickle: Path) -> str:
    return commands.suggest("pickle", pickle.parent)


def _send(url: str, content: _Content, policy: TransferPolicy, clock_ahead: float | None) -> str:
    """Send the file once, following redirects; return its ETag."""
    at = http.redact_url(url)

    def send(url: str) -> http.HttpResponse:
        nonlocal at
        at = http.redact_url(url)
        if not address.is_safe(url):
            raise errors.NetworkError(f"{at}: not an https address, so the file was not sent; check the API's address")
        remaining = content.deadline - time.monotonic()
        if remaining <= 0:
            raise content.create_timeout_error(at)
        seconds = min(policy.silent, remaining)
        with http.translate_errors(at, remedy=_RUN_AGAIN, seconds=seconds):
            return http.put(url, content.chunks(at), length=content.size, deadline=content.deadline, seconds=seconds)

    response = http.follow_redirects(url, send, refuse=_refuse_redirect, fix=_RUN_AGAIN, statuses=_REDIRECTS)
    return _check_response(response, content, at, clock_ahead)


def _refuse_redirect(url: str, target: str) -> str:
    """Return why the file must not be sent to a redirect's target, empty if it may: the host must be the same."""
    is_allowed = target != url and address.get_origin(target) == address.get_origin(url)
    return "" if is_allowed else "a model is only sent to the host that the API returned"


def _check_response(response: http.HttpResponse, content: _Content, at: str, clock_ahead: float | None) -> str:
    """Return the ETag of the stored file, or raise if it was not stored."""
    status, text = response.status_code, response.body.decode(errors="replace")
    if status in _DONE:
        return _check_etag(response, content, at)
    match = _CODE.search(text)
    code = match[1] if match else ""
    problem = f"{at}: HTTP {status} {code}".rstrip()
    if status in http.BUSY_STATUSES or code == "RequestTimeout":
        raise errors.UnavailableError(
            f"{problem}, the storage failed or is busy; {_RUN_AGAIN}",
            sent=True,
            after=http.read_retry_after(response.headers),
        )
    if status in {400, 401, 403} and "signature" not in code.lower() and "expired" in text.lower():
        raise _ExpiredError(
            f"{problem}, the address has expired{_describe_clock(clock_ahead)}; {_RUN_AGAIN}", sent=True
        )
    if status == 403:
        raise errors.NetworkError(
            f"{problem}, the storage rejects the presigned URL{_describe_clock(clock_ahead)}; {_NOTHING}: run "
            "it again, without a proxy that alters requests if there is one"
        )
    raise errors.NetworkError(f"{problem}, the storage rejects the file; {_RUN_AGAIN} later")


def _check_etag(response: http.HttpResponse, content: _Content, at: str) -> str:
    if not content.md5:
        raise errors.UnavailableError(
            f"{at}: HTTP {response.status_code} before the whole file was sent; {_RUN_AGAIN}", sent=True
        )
    etag = response.headers.get("etag", "")
    match = _MD5.fullmatch(etag.strip())
    # The ETag of an object that is encrypted with KMS or a customer's key looks like an MD5 but is not one.
    is_encrypted = response.headers.get("x-amz-server-side-encryption", "").startswith("aws:") or (
        "x-amz-server-side-encryption-customer-algorithm" in response.headers
    )
    if match and not is_encrypted and match[1].lower() != content.md5:
        checksums = f"ETag {match[1].lower()}, MD5 {content.md5}"
        problem = f"{at}: the stored file differs from the sent one ({checksums}); {_RUN_AGAIN}"
        if content.had_mismatch:
            raise errors.NetworkError(f"{problem} (sent twice)")
        content.had_mismatch = True
        raise errors.UnavailableError(problem, sent=True)
    return etag.strip().strip('"')


def _describe_clock(ahead: float | None) -> str:
    if ahead is None or abs(ahead) < _MAX_CLOCK_ERROR:
        return ""
    side = "ahead of" if ahead > 0 else "behind"
    return f"; this computer's clock is {abs(ahead) / 60:.0f} minutes {side} the API's: set it right (`make doctor`)"
