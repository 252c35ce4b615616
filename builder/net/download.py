"""A file of the tournament's storage, streamed to disk: an uploaded pickle, live data.

The address is presigned: no token is sent to it and it is never shown; whoever calls this asks for another when it has
expired. What arrives is hashed on the way and takes its name only when it is whole.
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
from builder.net import http, retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.progress import Progress

MOST_BYTES = 1 << 34
_POLICY = retry.RetryPolicy(attempts=3, first=1.0, longest=2.0)
MOST_SECONDS = 3_600.0
"""How long a download may take."""
UNFINISHED = ".fetching-"
"""What the name of a file begins with until all of it is here."""
_DIGITS = re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(?=\.pkl$)")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.pkl$")


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """A file that is here now, with what came."""

    path: Path
    sha256: str
    size: int


def download(
    url: str, target: Path, *, what: str, progress: Progress, sleep: Callable[[float], None] = time.sleep
) -> Downloaded:
    """Stream a file to its place; what was there before is replaced when all of it is here.

    Args:
        url: A presigned address.
        target: Where it goes; its folder is there.
        what: What it is, for messages.
        progress: Told how far it is.
        sleep: Waits between attempts.

    Raises:
        errors.NetworkError: It could not be fetched, or not without others reading and changing it on the way.
        OSError: It cannot be written.
    """
    if not http.is_safe(url):
        raise errors.NetworkError(
            f"{http.shown(url)}: {what}: is not fetched from there: only https is, so that nobody on the way changes "
            "it; run it again, or ask Numerai's support"
        )
    ends = time.monotonic() + MOST_SECONDS
    return retry.retry(
        lambda: _once(url, target, what, progress, ends),
        _POLICY,
        before=lambda _: progress.step(f"fetching {what} again"),
        sleep=sleep,
    )


def digits_of(filename: str) -> str | None:
    """Return what stands in a stored name where this tool writes twelve digits of the hash, or None.

    It may be something else, such as a time: the name may be of somebody else's making.
    """
    found = _DIGITS.search(filename)
    return found[0] if found and not _UUID.search(filename) else None


def local_name(filename: str) -> str:
    """Return a stored name as the name of a file in the current folder, whatever the API says it is."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(filename.replace("\\", "/")).name).lstrip(".")
    return name[-150:] or "model.pkl"


@contextlib.contextmanager
def beside(target: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of another when the context ends, and is removed if it ends by an error."""
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=target.parent)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)


def request(client: http.Client, url: str) -> contextlib.AbstractContextManager[http.Response]:
    """Ask for a file as it is, not compressed on the way: a hash and a length are of the file itself."""
    return client.stream("GET", url, headers={"Accept-Encoding": "identity"})


def length(answer: http.Response) -> int | None:
    """Return the bytes that an answer claims to have; None if it does not say."""
    claimed = answer.headers.get("content-length", "")
    return int(claimed) if re.fullmatch(r"[0-9]{1,19}", claimed) else None


def receive(
    answer: http.Response,
    out: BinaryIO,
    *,
    at: str,
    most: int,
    ends: float,
    progress: Progress,
    remedy: str = "run it again",
    too_large: Callable[[str], errors.BuilderError] = errors.NetworkError,
) -> tuple[str, int]:
    """Write the body of a good answer to a file until ``ends`` by ``time.monotonic``; returns its sha256 and its bytes.

    Raises:
        errors.NetworkError: It is not done in time; ``remedy`` is the end of its sentence.
        errors.BuilderError: It has more than ``most`` bytes: what ``too_large`` makes of the message.
    """
    digest, done, total = hashlib.sha256(), 0, length(answer)
    # As it comes, not in pieces of one size: a server that drips would never fill one.
    for chunk in answer.iter_raw():
        done += len(chunk)
        if time.monotonic() > ends:
            raise errors.NetworkError(f"{at}: not done after {MOST_SECONDS / 60:.0f} minutes; {remedy}")
        if done > most:
            raise too_large(f"{at}: goes on after {most:,} bytes, which is all that is fetched")
        digest.update(chunk)
        out.write(chunk)
        progress.amount(done, total)
    return digest.hexdigest(), done


def _once(url: str, target: Path, what: str, progress: Progress, ends: float) -> Downloaded:
    at = f"{http.shown(url)}: {what}"
    with beside(target) as out, http.translated(at), http.client(url) as client, request(client, url) as answer:
        _check_status(answer, at)
        sha256, size = receive(answer, out, at=at, most=MOST_BYTES, ends=ends, progress=progress)
        os.fchmod(out.fileno(), 0o644)
    return Downloaded(path=target, sha256=sha256, size=size)


def _check_status(answer: http.Response, at: str) -> None:
    status = answer.status_code
    if status == 200:
        return
    if status >= 500 or status == 429:
        raise errors.UnansweredError(f"{at}: HTTP {status}, the storage failed; run it again later", sent=True)
    reasons = {
        403: "the address has expired or its signature is refused: run it again; if it stays so, look at this "
        "computer's clock (`make doctor`)",
        404: "it is not stored there: whoever registered it never sent its bytes",
    }
    raise errors.NetworkError(f"{at}: HTTP {status}, {reasons.get(status, 'run it again')}")
