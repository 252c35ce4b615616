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
import urllib.parse
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from builder import commands, errors
from builder.net import http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.progress import Progress
    from builder.tournament import FileAuth

_CHUNK = 1 << 20
_MOST_REDIRECTS = 3
_CLOCK_OFF = 60.0
_DONE = frozenset({200, 201, 204})
_MOVED = frozenset({301, 302, 307, 308})
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,60})</Code>")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?', re.IGNORECASE)
_NOTHING = "nothing was registered"
_RUN_AGAIN = f"run it again: {_NOTHING}"


@dataclass(frozen=True, kw_only=True)
class TransferPolicy:
    """How often a file is sent, and how long anything may take.

    Attributes:
        attempts: Times it is sent at most.
        first: Seconds before the second; each further wait is twice as long.
        longest: No wait is longer, whatever Retry-After asks for.
        silent: Seconds in which the storage may take nothing and say nothing.
        total: Seconds after which it is given up, whatever still moves.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 30.0
    silent: float = 60.0
    total: float = 7_200.0


@dataclass(frozen=True, kw_only=True)
class Stored:
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
    patience: TransferPolicy | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Stored:
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
        patience: How often and how long.
        sleep: Waits between attempts.

    Raises:
        errors.ArtifactError: The file is not the one that was promised, or changed while it was sent.
        errors.NetworkError: It could not be stored; the message says why and what to do.
    """
    patience = patience or TransferPolicy()
    with _opened(path) as file, futures.ThreadPoolExecutor(max_workers=1) as hashing:
        content = _Content(
            file, path, hashing, sha256=sha256, md5=md5, size=size, progress=progress, total=patience.total
        )
        pause, mismatches = patience.first, 0
        for attempt in range(1, patience.attempts + 1):
            again = f" again ({attempt} of {patience.attempts})" if attempt > 1 else ""
            progress.step(f"storing {path.name}{again}")
            try:
                return Stored(filename=auth.filename, etag=_send(auth.url, content, patience, clock_ahead))
            except _AgainError as error:
                mismatches += error.mismatch
                if error.is_last(attempt, patience.attempts) or mismatches > 1:
                    raise errors.NetworkError(f"{error} (sent {attempt} times)") from error
                if error.expired:
                    auth = renew()
                    continue  # another address: no reason to wait
                wait = max(pause, min(error.after, patience.longest))
            progress.step(f"storing {path.name} again in {wait:.0f} s")
            sleep(max(0.0, min(wait, content.ends - time.monotonic())))
            pause = min(2 * pause, patience.longest)
    raise AssertionError  # the loop returns or raises


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, which takes longer than to send it nearby: before an address is asked for.

    Raises:
        errors.ArtifactError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


class _AgainError(Exception):
    """It is not stored, and may be if it is sent again; says what a person reads if it is not."""

    def __init__(
        self,
        message: str,
        *,
        expired: bool = False,
        mismatch: bool = False,
        after: float = 0.0,
        unanswered: errors.UnansweredError | None = None,
    ) -> None:
        super().__init__(message)
        self.expired, self.mismatch, self.after, self._unanswered = expired, mismatch, after, unanswered

    def is_last(self, attempt: int, attempts: int) -> bool:
        """Tell whether to give up after an attempt."""
        return self._unanswered.is_last(attempt, attempts) if self._unanswered else attempt == attempts


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
            self._progress.amount(done, self.size)
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
        self._progress.amount(done, self.size)

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
    return commands.with_config("pickle", pickle.parent)


def _send(url: str, content: _Content, patience: TransferPolicy, clock_ahead: float | None) -> str:
    """Send the file once, to where the storage wants it; returns its ETag."""
    for _ in range(_MOST_REDIRECTS + 1):
        at = http.shown(url)
        if not http.is_safe(url):
            raise errors.NetworkError(f"{at}: is no https address, so nothing is sent there; look at the API's address")
        left = content.ends - time.monotonic()
        if left <= 0:
            raise content.late(at)
        seconds = min(patience.silent, left)
        try:
            with http.translated(at, remedy=_RUN_AGAIN, seconds=seconds):
                answer = http.put(url, content.chunks(at), length=content.size, ends=content.ends, seconds=seconds)
        except errors.UnansweredError as error:
            raise _AgainError(str(error), unanswered=error) from error
        if answer.status not in _MOVED:
            return _judge(answer, content, at, clock_ahead)
        url = _moved(url, answer)
    raise errors.NetworkError(f"{at}: redirects more than {_MOST_REDIRECTS} times; {_RUN_AGAIN}")


def _moved(url: str, answer: http.HttpResponse) -> str:
    """Return where the body goes instead: elsewhere on the same host, and on no other."""
    found = http.location(url, answer.headers)
    if found == url or _origin(found) is None or _origin(found) != _origin(url):
        raise errors.NetworkError(
            f"{http.shown(url)}: HTTP {answer.status}, redirects to {http.shown(found) if found else 'no address'}; "
            f"only the host that the API names is sent a model; {_RUN_AGAIN}"
        )
    return found


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return parts.scheme, parts.hostname, port


def _judge(answer: http.HttpResponse, content: _Content, at: str, clock_ahead: float | None) -> str:
    """Return the ETag of a file that is stored; raise for one that is not."""
    status = answer.status
    if status in _DONE:
        return _check_etag(answer, content, at)
    found = _CODE.search(answer.text)
    code = found[1] if found else ""
    said = f"{at}: HTTP {status} {code}".rstrip()
    if status in _AGAIN or code == "RequestTimeout":
        raise _AgainError(
            f"{said}, the storage failed or is busy; {_RUN_AGAIN}", after=http.retry_after(answer.headers)
        )
    if status in {400, 401, 403} and "signature" not in code.lower() and "expired" in answer.text.lower():
        raise _AgainError(f"{said}, the address has expired{_clock_hint(clock_ahead)}; {_RUN_AGAIN}", expired=True)
    if status == 403:
        raise errors.NetworkError(
            f"{said}, the storage refuses the address that the API signed{_clock_hint(clock_ahead)}; {_NOTHING}: run "
            "it again, and without a proxy that alters requests, if there is one"
        )
    raise errors.NetworkError(f"{said}, the storage refuses the file; {_RUN_AGAIN} later")


def _check_etag(answer: http.HttpResponse, content: _Content, at: str) -> str:
    if not content.md5:
        raise _AgainError(f"{at}: HTTP {answer.status} before all of the file was sent; {_RUN_AGAIN}")
    etag = answer.headers.get("etag", "")
    found = _MD5.fullmatch(etag.strip())
    # Under a key of its owner an object has an ETag that looks like an MD5 and is none.
    keyed = answer.headers.get("x-amz-server-side-encryption", "").startswith("aws:") or (
        "x-amz-server-side-encryption-customer-algorithm" in answer.headers
    )
    if found and not keyed and found[1].lower() != content.md5:
        raise _AgainError(
            f"{at}: what is stored is not what was sent (ETag {found[1].lower()}, MD5 {content.md5}); {_RUN_AGAIN}",
            mismatch=True,
        )
    return etag.strip().strip('"')


def _clock_hint(ahead: float | None) -> str:
    if ahead is None or abs(ahead) < _CLOCK_OFF:
        return ""
    side = "ahead of" if ahead > 0 else "behind"
    return f"; this computer's clock is {abs(ahead) / 60:.0f} minutes {side} the API's: set it right (`make doctor`)"
