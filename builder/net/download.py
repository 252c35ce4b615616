"""A file fetched over the network, streamed to disk: a bundle, an uploaded pickle, live data.

The address may be presigned: no token is sent to it and no message shows it. What arrives is hashed on the way and
takes its name only when it is whole.
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
    403: "the address has expired or its signature is refused: run it again; if it stays so, look at this computer's "
    "clock (`make doctor`)",
    404: "it is not stored there: whoever registered it never sent its bytes",
}
"""What statuses of the tournament's storage mean."""
_POLICY = retry.RetryPolicy(attempts=3, first=1.0, longest=2.0)
MAX_SECONDS = 3_600.0
"""How long a download may take."""
PARTIAL_PREFIX = ".fetching-"
"""What the name of a file begins with until all of it is here."""
_DIGITS = re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(?=\.pkl$)")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.pkl$")


@dataclass(frozen=True, kw_only=True)
class DownloadedFile:
    """A file that is here now, with what came."""

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
) -> DownloadedFile:
    """Stream a file to its place; what was there before is replaced when all of it is here.

    Args:
        url: Where it is; redirects are followed to https alone.
        target: Where it goes; its folder is there.
        description: What it is, for messages.
        progress: Told how far it is.
        max_bytes: Bytes that are taken at most.
        reasons: What a status means, with what to do next.
        fix: What to do next about anything else, as the end of a sentence.
        check: Called with its sha256 before it takes its place, which it does not if this raises.
        seconds: How long the other side may be silent.

    Raises:
        http.TooLargeError: It has more bytes than are taken.
        errors.NetworkError: It could not be fetched, or not without others reading and changing it on the way.
        OSError: It cannot be written.
    """
    subject = f"{http.redact_url(url)}: {description}" if description else http.redact_url(url)
    if not address.is_safe(url):
        raise errors.NetworkError(
            f"{subject}: is not fetched from there: only https is, so that nobody on the way changes it; {fix}"
        )
    deadline = time.monotonic() + MAX_SECONDS

    def fetch() -> DownloadedFile:
        with (
            _beside(target) as out,
            http.translate_errors(subject, remedy=fix, seconds=seconds),
            contextlib.ExitStack() as stack,
        ):

            def send(url: str) -> http.Response:
                client = stack.enter_context(http.create_client(url, seconds=seconds))
                # As it is, not compressed on the way: a hash and a length are of the file itself.
                return stack.enter_context(client.stream("GET", url, headers={"Accept-Encoding": "identity"}))

            answer = http.follow_redirects(url, send, refuse=http.find_redirect_problem, fix=fix, subject=subject)
            _check_status(answer, subject, reasons, fix)
            sha256, size = _receive(
                answer, out, subject=subject, max_bytes=max_bytes, deadline=deadline, progress=progress, fix=fix
            )
            check(sha256)
            os.fchmod(out.fileno(), 0o644)
        return DownloadedFile(path=target, sha256=sha256, size=size)

    return retry.retry(fetch, _POLICY, on_retry=lambda *_: progress.step(f"fetching {description or subject} again"))


def find_hash_prefix(filename: str) -> str | None:
    """Return what stands in a stored name where this tool writes twelve digits of the hash, or None.

    It may be something else, such as a time: the name may be of somebody else's making.
    """
    found = _DIGITS.search(filename)
    return found[0] if found and not _UUID.search(filename) else None


def to_file_name(filename: str) -> str:
    """Return a stored name as the name of a file in the current folder, whatever the API says it is."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(filename.replace("\\", "/")).name).lstrip(".")
    return name[-150:] or "model.pkl"


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of another when the context ends, and is removed if it ends by an error."""
    handle, name = tempfile.mkstemp(prefix=PARTIAL_PREFIX, dir=target.parent)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)


def _receive(
    answer: http.Response, out: BinaryIO, *, subject: str, max_bytes: int, deadline: float, progress: Progress, fix: str
) -> tuple[str, int]:
    """Write the body of a good answer to a file, until ``ends`` by ``time.monotonic``; return its sha256 and bytes."""
    claimed = answer.headers.get("content-length", "")
    total = int(claimed) if re.fullmatch(r"[0-9]{1,19}", claimed) else None
    if total is not None and total > max_bytes:
        raise http.TooLargeError(f"{subject}: has {total:,} bytes; at most {max_bytes:,} are fetched")
    digest, done = hashlib.sha256(), 0
    # As it comes, not in pieces of one size: a server that drips would never fill one.
    for chunk in answer.iter_raw():
        done += len(chunk)
        if time.monotonic() > deadline:
            raise errors.NetworkError(f"{subject}: not done after {MAX_SECONDS / 60:.0f} minutes; {fix}")
        if done > max_bytes:
            raise http.TooLargeError(f"{subject}: goes on after {max_bytes:,} bytes; no more are fetched")
        digest.update(chunk)
        out.write(chunk)
        progress.report_bytes(done, total)
    return digest.hexdigest(), done


def _check_status(answer: http.Response, subject: str, reasons: Mapping[int, str], fix: str) -> None:
    status = answer.status_code
    if status in http.BUSY_STATUSES:
        busy = "the server was asked too often" if status == 429 else "the server failed"
        after = http.read_retry_after(answer.headers)
        raise errors.UnavailableError(
            f"{subject}: HTTP {status}, {busy}", remedy=f"wait a little, then {fix}", sent=True, after=after
        )
    if status != 200:
        raise errors.NetworkError(f"{subject}: HTTP {status}, {reasons.get(status, fix)}")
