"""Download files to disk: bundles, uploaded pickles and live data.

The URL may be presigned: no token is sent to it, and no message shows it completely. A file is hashed while it arrives
and gets its name only when it is complete. A download may continue where an earlier one ended, if the server's ETag is
still the same (https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from builder import errors
from builder.net import address, http, retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from builder.progress import Progress

MAX_BYTES = 1 << 34
STORAGE_STATUS_REASONS = {
    403: "the URL has expired or its signature is invalid: run it again; if that does not help, check this computer's "
    "clock (`make doctor`)",
    404: "the file is not stored there: it was registered but never uploaded",
}
"""The meaning of statuses of the tournament's storage."""
_POLICY = retry.RetryPolicy(attempts=3, first=1.0, longest=2.0)
MAX_SECONDS = 3_600.0
"""Time limit of a download."""
_MIN_RATE, _GRACE_SECONDS = 10_000, 60.0
"""Least bytes per second after the first seconds, on average: else a server could keep a download open for an hour."""
PARTIAL_PREFIX = ".fetching-"
"""Start of the name of an incomplete file."""
_STRONG_ETAG = re.compile(r'"[!-~]{1,200}"')
_RESUMED_STATUSES = (206, 412, 416)  # only after a request with Range and If-Match: the rest, changed, nothing left
_HASH_PREFIX = re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(?=\.pkl$)")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.pkl$")


@dataclass(frozen=True, kw_only=True)
class DownloadedFile:
    """A downloaded file."""

    path: Path
    sha256: str
    size: int


def download(
    url: str,
    target: Path,
    *,
    description: str = "",
    progress: Progress,
    max_bytes: int = MAX_BYTES,
    reasons: Mapping[int, str] = STORAGE_STATUS_REASONS,
    fix: str = "run it again",
    check: Callable[[str], None] = lambda _: None,
    seconds: float = http.TIMEOUT_SECONDS,
    resume: bool = False,
) -> DownloadedFile:
    """Download a file; replace an existing one only when the download is complete. Retries a few times.

    Args:
        url: The URL; redirects are followed to https only.
        target: The path of the file; its folder must exist.
        description: What the file is, for messages.
        progress: Shows the bytes that have arrived.
        max_bytes: Size limit.
        reasons: By HTTP status, what it means and what to do next.
        fix: What to do next about any other error, as the end of a sentence.
        check: Called with the file's sha256; if it raises, ``target`` is not changed.
        seconds: Time without data from the server before a request fails.
        resume: Keep what has arrived when the download fails, and continue there the next time. Only one process may
            download to ``target`` then.

    Raises:
        http.TooLargeError: The file exceeds the size limit.
        errors.NetworkError: The file could not be downloaded, or its URL is not https.
        OSError: The file cannot be written.
    """
    subject = f"{http.redact_url(url)}: {description}" if description else http.redact_url(url)
    if not address.is_safe(url):
        raise errors.NetworkError(f"{subject}: downloads must use https, which protects them from changes; {fix}")
    deadline = time.monotonic() + MAX_SECONDS

    def fetch() -> DownloadedFile:
        with (
            _replace_atomically(target, resume=resume) as out,
            http.translate_errors(subject, remedy=fix, seconds=seconds),
            contextlib.ExitStack() as stack,
        ):

            def send(url: str) -> http.Response:
                client = stack.enter_context(http.create_client(url, seconds=seconds))
                # Not compressed for the transfer: the hash and the length are those of the file itself.
                headers = {"Accept-Encoding": "identity", **_request_rest(out)}
                with http.close_at(time.monotonic() + http.MAX_SECONDS, client) as trace:
                    return stack.enter_context(client.stream("GET", url, headers=headers, extensions={"trace": trace}))

            response = http.follow_redirects(url, send, refuse=http.find_redirect_problem, fix=fix, subject=subject)
            _check_status(response, subject, reasons, fix, is_resumed=resume)
            if resume:
                _prepare_partial(response, out, subject)
            sha256, size = _receive(
                response, out, subject=subject, max_bytes=max_bytes, deadline=deadline, progress=progress, fix=fix
            )
            check(sha256)
            os.fchmod(out.fileno(), 0o644)  # mkstemp creates a file for the owner only
        return DownloadedFile(path=target, sha256=sha256, size=size)

    return retry.retry(
        fetch, _POLICY, on_retry=lambda *_: progress.step(f"retrying the download of {description or subject}")
    )


def find_hash_prefix(filename: str) -> str | None:
    """Return the first twelve digits of the hash from a stored file name, or None.

    This tool ends the names of its uploads with them. In the name of another tool, the digits may mean something else,
    such as a time.
    """
    match = _HASH_PREFIX.search(filename)
    return match[0] if match and not _UUID.search(filename) else None


def to_file_name(filename: str) -> str:
    """Convert any name from the API to a safe file name without a folder."""
    # Without leading dots: no hidden file, and neither `.` nor `..`.
    name = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(filename.replace("\\", "/")).name).lstrip(".")
    return name[-150:] or "model.pkl"


@contextlib.contextmanager
def _replace_atomically(target: Path, *, resume: bool) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces ``target`` when the context ends.

    After an error it is removed; with ``resume`` it is kept, and yielded again the next time.
    """
    path = target.with_name(f"{PARTIAL_PREFIX}{target.name}")
    if not resume:
        handle, name = tempfile.mkstemp(prefix=PARTIAL_PREFIX, dir=target.parent)
        os.close(handle)
        path = Path(name)
    try:
        with path.open("a+b") as out:
            yield out
            # Before the rename, so that after a power failure no empty file has the final name.
            out.flush()
            os.fsync(out.fileno())
        path.replace(target)
        _find_tag_path(path).unlink(missing_ok=True)
    except BaseException as error:
        is_kept = resume and isinstance(error, errors.NetworkError | KeyboardInterrupt)
        if not is_kept or isinstance(error, http.TooLargeError):
            path.unlink(missing_ok=True)
            _find_tag_path(path).unlink(missing_ok=True)
        raise


def _find_tag_path(partial: Path) -> Path:
    """Return the path of the ETag that belongs to a partial file."""
    return partial.with_name(f"{partial.name}.etag")


def _request_rest(out: BinaryIO) -> dict[str, str]:
    """Return the headers that request what is missing in a partial file; none for an empty file."""
    received = out.seek(0, os.SEEK_END)
    tag = _find_tag_path(Path(out.name))
    if not received or not tag.is_file():
        return {}
    return {"Range": f"bytes={received}-", "If-Match": tag.read_text("ascii")}


def _prepare_partial(response: http.Response, out: BinaryIO, subject: str) -> None:
    """Position a partial file where the response continues: at its end, or at its start for a whole file.

    Raises:
        errors.UnavailableError: The response continues the file elsewhere, or the file has changed; the partial file is
            now empty, so that the next attempt starts again.
    """
    received, tag = out.seek(0, os.SEEK_END), _find_tag_path(Path(out.name))
    is_continued = response.headers.get("content-range", "").startswith(f"bytes {received}-")
    if response.status_code == 206 and is_continued:
        return
    out.truncate(0)
    tag.unlink(missing_ok=True)
    if response.status_code != 200:
        raise errors.UnavailableError(f"{subject}: changed since a part of it was downloaded", sent=True)
    etag = response.headers.get("etag", "")
    if _STRONG_ETAG.fullmatch(etag):
        tag.write_text(etag, "ascii")


def _receive(
    response: http.Response,
    out: BinaryIO,
    *,
    subject: str,
    max_bytes: int,
    deadline: float,
    progress: Progress,
    fix: str,
) -> tuple[str, int]:
    """Write a response's body to a file; return its sha256 and size. ``deadline`` is by ``time.monotonic``."""
    out.seek(0)
    digest = hashlib.sha256()
    while block := out.read(1 << 20):  # what an earlier download received
        digest.update(block)
    earlier = received = out.tell()
    length = response.headers.get("content-length", "")
    total = earlier + int(length) if re.fullmatch(r"[0-9]{1,19}", length) else None
    if total is not None and total > max_bytes:
        raise http.TooLargeError(f"{subject}: has {total:,} bytes (limit: {max_bytes:,})")
    started = time.monotonic()
    # Without a chunk size: with one, a slow server could delay the check of the deadline until a chunk is full.
    for chunk in response.iter_raw():
        received += len(chunk)
        if time.monotonic() > deadline:
            raise errors.NetworkError(f"{subject}: not complete after {MAX_SECONDS / 60:.0f} minutes; {fix}")
        if received - earlier < _MIN_RATE * (time.monotonic() - started - _GRACE_SECONDS):
            raise errors.NetworkError(f"{subject}: slower than {_MIN_RATE:,} bytes per second; {fix}")
        if received > max_bytes:
            raise http.TooLargeError(f"{subject}: has more than {max_bytes:,} bytes")
        digest.update(chunk)
        out.write(chunk)
        progress.report_bytes(received, total)
    return digest.hexdigest(), received


def _check_status(
    response: http.Response, subject: str, reasons: Mapping[int, str], fix: str, *, is_resumed: bool
) -> None:
    status = response.status_code
    if status in http.BUSY_STATUSES:
        busy = "too many requests" if status == 429 else "the server failed"
        after = http.read_retry_after(response.headers)
        raise errors.UnavailableError(
            f"{subject}: HTTP {status}, {busy}", remedy=f"wait a minute, then {fix}", sent=True, after=after
        )
    if status != 200 and not (is_resumed and status in _RESUMED_STATUSES):
        raise errors.NetworkError(f"{subject}: HTTP {status}, {reasons.get(status, fix)}")
