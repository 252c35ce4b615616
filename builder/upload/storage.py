"""A pickle's bytes put at a presigned address: streamed from disk, hashed as they go, sent again where that can help.

Whatever happens here registers nothing. The address is a secret and is never shown; no token goes there. The last
piece of a file is held back until the hash of all of it is the one that was promised, so that a file which changes
while it is sent is never stored whole.
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
_CLOCK_OFF = 60.0
_DONE = frozenset({200, 201, 204})
_MOVED = http.REDIRECT_STATUSES - {303}  # which asks for another request than a PUT
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,60})</Code>")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?', re.IGNORECASE)
_NOTHING = "nothing was registered"
_RUN_AGAIN = f"run it again: {_NOTHING}"


@dataclass(frozen=True, kw_only=True)
class TransferPolicy(retry.RetryPolicy):
    """How often a file is sent, and how long anything may take.

    Attributes:
        silent: Seconds in which the storage may take nothing and say nothing.
        total: Seconds after which it is given up, whatever still moves.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 30.0
    silent: float = 60.0
    total: float = 7_200.0


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file that the storage has; ``filename`` is the name to register, whatever was asked for at first."""

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
    """Store a file.

    Args:
        auth: Where it goes.
        path: The file.
        sha256: What it has to be, in hexadecimal.
        md5: The same, of :func:`md5_of`: what many a storage says of what it has.
        size: Its bytes.
        progress: Told how far it is.
        clock_ahead: Seconds by which this computer's clock is ahead of the API's, where that is known.
        renew: Asks for another address once this one has expired.
        policy: How often and how long.

    Raises:
        errors.ArtifactError: The file is not the one that was promised, or changed while it was sent.
        errors.NetworkError: It could not be stored; the message says why and what to do.
    """
    policy = policy or TransferPolicy()
    with _opened(path) as file, futures.ThreadPoolExecutor(max_workers=1) as hashing:
        content = _Content(
            file, path, hashing, sha256=sha256, md5=md5, size=size, progress=progress, total=policy.total
        )

        def send() -> StoredFile:
            progress.step(f"storing {path.name}")
            return StoredFile(filename=auth.filename, etag=_send(auth.url, content, policy, clock_ahead))

        def before(wait: float, error: errors.UnavailableError) -> None:
            nonlocal auth
            if isinstance(error, _ExpiredError):
                auth = renew()
            progress.step(f"storing {path.name} again in {wait:.0f} s")

        try:
            return retry.retry(send, policy, on_retry=before)
        except errors.UnavailableError as error:
            raise errors.NetworkError(f"{error} (sent {error.attempt} times)") from error


def compute_md5(path: Path) -> str:
    """Return the MD5 of a file, which takes longer than to send it nearby: before an address is asked for.

    Raises:
        errors.ArtifactError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


class _ExpiredError(errors.UnavailableError):
    """The address is no longer valid: another one has to be asked for."""


class _Content:
    """The file, to be sent as often as it takes."""

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
        self.ends = time.monotonic() + total
        """When it is given up."""
        self.md5 = ""
        """Of what was sent; empty until all of it was."""
        self.mismatched = False
        """Something else was stored once."""
        self._file, self._sha256, self._md5, self._progress = file, sha256, md5, progress
        self._total, self._done, self._hashing = total, 0, hashing

    def chunks(self, at: str) -> Iterator[bytes]:
        """Yield the file from its beginning; the last piece only if all of it is what it has to be."""
        self.md5 = ""
        sha256 = hashlib.sha256()
        done, chunk = 0, self._read(0)
        while True:
            self._done = done
            if time.monotonic() > self.ends:
                raise self.late(at)
            done += len(chunk)
            # Beside the sending: by a processor without instructions for it, a hash takes as long as that.
            hashed = self._hashing.submit(sha256.update, chunk)
            following = self._read(done)
            if not following or done >= self.size:
                hashed.result()
                break
            yield chunk
            hashed.result()
            self._progress.report_bytes(done, self.size)
            chunk = following
        if following or done != self.size or sha256.hexdigest() != self._sha256:
            raise errors.ArtifactError(
                f"{self.path}: is not, or is no longer, the file whose hash is in the manifest ({done:,} bytes for "
                f"{self.size:,}): it changed while it was sent. {_NOTHING.capitalize()}; "
                f"`{_again(self.path)}` builds it again"
            )
        self.md5 = self._md5
        yield chunk
        self._done = done
        self._progress.report_bytes(done, self.size)

    def _read(self, at: int) -> bytes:
        try:
            if at == 0:
                self._file.seek(0)
            # One byte more than there should be tells of a file that grows.
            return self._file.read(min(_CHUNK, max(0, self.size - at) + 1))
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def late(self, at: str) -> errors.NetworkError:
        """Return what to raise once the time is up."""
        return errors.NetworkError(
            f"{at}: not stored after {self._total:,g} s: {self._done:,} of {self.size:,} bytes were sent when the time "
            f"was up; look at the connection and {_RUN_AGAIN}"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield file


def _unreadable(path: Path, error: OSError) -> errors.ArtifactError:
    return errors.ArtifactError(f"{path}: cannot be read ({error.strerror}); `{_again(path)}` builds it again")


def _again(pickle: Path) -> str:
    return commands.suggest("pickle", pickle.parent)


def _send(url: str, content: _Content, policy: TransferPolicy, clock_ahead: float | None) -> str:
    """Send the file once, to where the storage wants it; returns its ETag."""
    at = http.redact_url(url)

    def send(url: str) -> http.HttpResponse:
        nonlocal at
        at = http.redact_url(url)
        if not address.is_safe(url):
            raise errors.NetworkError(f"{at}: is no https address, so nothing is sent there; look at the API's address")
        left = content.ends - time.monotonic()
        if left <= 0:
            raise content.late(at)
        seconds = min(policy.silent, left)
        with http.translate_errors(at, remedy=_RUN_AGAIN, seconds=seconds):
            return http.put(url, content.chunks(at), length=content.size, deadline=content.ends, seconds=seconds)

    answer = http.follow_redirects(url, send, refuse=_refuse_elsewhere, fix=_RUN_AGAIN, statuses=_MOVED)
    return _judge(answer, content, at, clock_ahead)


def _refuse_elsewhere(url: str, there: str) -> str:
    """Say why the body may not go there: elsewhere on the same host, and to no other."""
    same = there != url and address.get_origin(there) == address.get_origin(url)
    return "" if same else "only the host that the API names is sent a model"


def _judge(answer: http.HttpResponse, content: _Content, at: str, clock_ahead: float | None) -> str:
    """Return the ETag of a file that is stored; raise for one that is not."""
    status, text = answer.status_code, answer.body.decode(errors="replace")
    if status in _DONE:
        return _check_etag(answer, content, at)
    found = _CODE.search(text)
    code = found[1] if found else ""
    said = f"{at}: HTTP {status} {code}".rstrip()
    if status in http.BUSY_STATUSES or code == "RequestTimeout":
        raise errors.UnavailableError(
            f"{said}, the storage failed or is busy; {_RUN_AGAIN}",
            sent=True,
            after=http.read_retry_after(answer.headers),
        )
    if status in {400, 401, 403} and "signature" not in code.lower() and "expired" in text.lower():
        raise _ExpiredError(f"{said}, the address has expired{_clock_hint(clock_ahead)}; {_RUN_AGAIN}", sent=True)
    if status == 403:
        raise errors.NetworkError(
            f"{said}, the storage refuses the address that the API signed{_clock_hint(clock_ahead)}; {_NOTHING}: run "
            "it again, and without a proxy that alters requests, if there is one"
        )
    raise errors.NetworkError(f"{said}, the storage refuses the file; {_RUN_AGAIN} later")


def _check_etag(answer: http.HttpResponse, content: _Content, at: str) -> str:
    if not content.md5:
        raise errors.UnavailableError(
            f"{at}: HTTP {answer.status_code} before all of the file was sent; {_RUN_AGAIN}", sent=True
        )
    etag = answer.headers.get("etag", "")
    found = _MD5.fullmatch(etag.strip())
    # Under a key of its owner an object has an ETag that looks like an MD5 and is none.
    keyed = answer.headers.get("x-amz-server-side-encryption", "").startswith("aws:") or (
        "x-amz-server-side-encryption-customer-algorithm" in answer.headers
    )
    if found and not keyed and found[1].lower() != content.md5:
        text = f"{at}: what is stored is not what was sent (ETag {found[1].lower()}, MD5 {content.md5}); {_RUN_AGAIN}"
        if content.mismatched:
            raise errors.NetworkError(f"{text} (sent twice)")
        content.mismatched = True
        raise errors.UnavailableError(text, sent=True)
    return etag.strip().strip('"')


def _clock_hint(ahead: float | None) -> str:
    if ahead is None or abs(ahead) < _CLOCK_OFF:
        return ""
    side = "ahead of" if ahead > 0 else "behind"
    return f"; this computer's clock is {abs(ahead) / 60:.0f} minutes {side} the API's: set it right (`make doctor`)"
