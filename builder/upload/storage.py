"""The bytes of a pickle, to the tournament's storage by a presigned address.

An address is good for a while, for one file, and for whoever has it: it is asked for when it is needed, and never
shown. The API's token does not go there, and no Content-Type does (the signature is over an empty one). A file is
opened once; its last chunk is held back until the hash of all of it is right, so that a file which changes while it is
sent never becomes an object there.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from builder import errors, web
from builder.upload import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.progress import Progress
    from builder.tournament import FileAuth

_CHUNK = 1 << 20
_REDIRECTS = frozenset({301, 302, 307, 308})
_MOST_REDIRECTS = 5
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")
_EXPIRED = re.compile(rb"(?i)expired")
_OFF_SECONDS = 300.0
"""A clock that is off by more than this is worth a word where a signature is refused."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How patient sending is; all in seconds but the counts.

    Attributes:
        attempts: Times that the file is sent at most.
        authorisations: Addresses that are asked for at most.
        first: Before the second attempt; each further wait is twice as long, up to ``longest``.
        silent: How long no byte may move.
        total: All attempts together.
        sleep: Waits.
    """

    attempts: int = 6
    authorisations: int = 4
    first: float = 1.0
    longest: float = 30.0
    silent: float = 60.0
    total: float = 2 * 3600.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Source:
    """The file to send, and what it must be.

    Attributes:
        md5: What the storage calls it, if it does; worked out before (:func:`describe`), since it takes longer than
            sending does on a fast line.
    """

    path: Path
    sha256: str
    md5: str
    size: int


class _AgainError(Exception):
    """It may work when it is sent again."""


class _ExpiredError(Exception):
    """The address is no longer good."""


def describe(path: Path, *, sha256: str, size: int) -> Source:
    """Return a file as what is to be sent: read once, for the hash that the storage will answer with.

    Raises:
        errors.ArtifactError: It is not what it is said to be.
    """
    try:
        with path.open("rb") as file, digest.Digest("sha256", "md5") as hashes:
            while chunk := file.read(_CHUNK):
                hashes.update(chunk)
            found, md5 = hashes.end()
    except OSError as error:
        raise errors.ArtifactError(f"{path}: cannot be read ({error.strerror}); run `make pickle`") from error
    source = Source(path=path, sha256=sha256, md5=md5, size=size)
    if found != sha256:
        raise _changed(source, "its hash is another")
    return source


def put(
    source: Source,
    authorise: Callable[[], FileAuth],
    progress: Progress,
    *,
    clock_ahead: float | None = None,
    terms: Terms | None = None,
) -> FileAuth:
    """Send a file until it is stored.

    Args:
        source: What to send.
        authorise: Asks for an address; called again once one has expired.
        progress: Told how far it is.
        clock_ahead: Seconds by which this computer's clock is ahead, for a hint where a signature is refused.
        terms: How patient to be.

    Returns:
        The authorisation that it was stored by; its ``filename`` is the name to register.

    Raises:
        errors.ArtifactError: The file is not what it is said to be, or changed while it was sent.
        errors.NetworkError: It was not stored: refused, or given up after the last attempt.
    """
    terms = terms or Terms()
    ends = time.monotonic() + terms.total
    try:
        handle = source.path.open("rb")
    except OSError as error:
        raise errors.ArtifactError(f"{source.path}: cannot be read ({error.strerror}); run `make pickle`") from error
    with handle:
        return _deliver(_Sending(source, handle, progress, terms, ends, clock_ahead), authorise)


@dataclass(frozen=True)
class _Sending:
    """One file on its way."""

    source: Source
    handle: BinaryIO
    progress: Progress
    terms: Terms
    ends: float
    clock_ahead: float | None


def _deliver(sending: _Sending, authorise: Callable[[], FileAuth]) -> FileAuth:
    terms, wait, auth = sending.terms, sending.terms.first, authorise()
    authorised = 1
    for attempt in range(1, terms.attempts + 1):
        try:
            _put_once(auth.url, sending)
        except _ExpiredError as error:
            if authorised == terms.authorisations:
                raise errors.NetworkError(
                    f"{error} ({authorised} addresses in turn); {_clock_hint(sending.clock_ahead) or 'run it again'}"
                ) from error
            authorised += 1
            sending.progress.step("the address has expired: asking for another")
            auth = authorise()
        except _AgainError as error:
            if attempt == terms.attempts:
                raise errors.NetworkError(
                    f"{error}; sent {attempt} times, nothing was registered: run it again later"
                ) from error.__cause__
            sending.progress.step(f"{error}: sending it again in {wait:.0f} s")
            terms.sleep(wait)
            wait = min(2 * wait, terms.longest)
        else:
            return auth
    raise errors.NetworkError(f"{web.shown(auth.url)}: not stored after {terms.attempts} attempts; run it again later")


def _put_once(url: str, sending: _Sending) -> None:
    with _moving(url, sending.terms), contextlib.closing(web.client(url, seconds=sending.terms.silent)) as client:
        target = url
        for _ in range(_MOST_REDIRECTS + 1):
            with digest.Digest("sha256") as hashes:
                headers = {"Content-Length": str(sending.source.size)}
                answer = client.put(target, content=_chunks(sending, hashes), headers=headers)
            if answer.status_code not in _REDIRECTS:
                _judge(answer, target, sending)
                return
            target = _redirected(target, answer)
    raise errors.NetworkError(f"{web.shown(url)}: redirects more than {_MOST_REDIRECTS} times; nothing was registered")


@contextlib.contextmanager
def _moving(url: str, terms: Terms) -> Iterator[None]:
    """Turn a connection that was cut or stands still into another attempt."""
    try:
        with web.translated(web.shown(url), seconds=terms.silent):
            yield
    except errors.UnansweredError as error:
        raise _AgainError(str(error)) from error


def _chunks(sending: _Sending, hashes: digest.Digest) -> Iterator[bytes]:
    """Yield the file; its last chunk only once all of it is what it is said to be."""
    source, handle = sending.source, sending.handle
    handle.seek(0)
    if os.fstat(handle.fileno()).st_size != source.size:
        raise _changed(source, "its size is another")
    done, held = 0, b""
    while done < source.size:
        chunk = handle.read(min(_CHUNK, source.size - done))
        if not chunk:
            raise _changed(source, "it became shorter")
        hashes.update(chunk)
        if held:
            yield held
            sending.progress.amount(done, source.size)
        _check_deadline(sending)
        done, held = done + len(chunk), chunk
    if handle.read(1):
        raise _changed(source, "it became longer")
    if hashes.end()[0] != source.sha256:
        raise _changed(source, "its hash is another")
    yield held
    sending.progress.amount(done, source.size)


def _changed(source: Source, how: str) -> errors.ArtifactError:
    return errors.ArtifactError(
        f"{source.path}: changed since it was made, or while it was sent ({how}): nothing was registered; "
        "run `make pickle` to make it anew"
    )


def _check_deadline(sending: _Sending) -> None:
    if time.monotonic() > sending.ends:
        raise errors.NetworkError(
            f"sending {sending.source.path.name} is not done after {sending.terms.total / 60:.0f} minutes: nothing was "
            "registered; run it again on a faster line"
        )


def _judge(answer: web.Response, url: str, sending: _Sending) -> None:
    """Return when the file is stored; else raise what is to be done."""
    at, status, code = web.shown(url), answer.status_code, _code(answer)
    if status in {200, 201, 204}:
        _check_etag(answer, at, sending.source.md5)
        return
    if status in _AGAIN or (status == 400 and code == "RequestTimeout"):
        raise _AgainError(f"{at}: HTTP {status}{f', {code}' if code else ''}")
    _raise_refused(answer, at, code, sending.clock_ahead)


def _raise_refused(answer: web.Response, at: str, code: str, clock_ahead: float | None) -> None:
    status = answer.status_code
    if status == 403 and (_EXPIRED.search(answer.content[:4096]) or code == "ExpiredToken"):
        raise _ExpiredError(f"{at}: the address has expired")
    hint = _clock_hint(clock_ahead)
    says = f", {code}" if code else ""
    raise errors.NetworkError(
        f"{at}: the storage refuses it: HTTP {status}{says}; nothing was registered: {hint or 'report it as it is'}"
    )


def _check_etag(answer: web.Response, at: str, md5: str) -> None:
    """Compare where the storage says an MD5; with a key of its own it says something that only looks like one."""
    found = _MD5.fullmatch(str(answer.headers.get("etag", "")).strip().lower())
    own_key = "kms" in str(answer.headers.get("x-amz-server-side-encryption", "")).lower()
    if found and not own_key and found[1] != md5:
        raise _AgainError(f"{at}: stored another file than was sent (its MD5 is {found[1]}, {md5} was sent)")


def _clock_hint(ahead: float | None) -> str:
    if ahead is None or abs(ahead) < _OFF_SECONDS:
        return ""
    return (
        f"this computer's clock is {abs(ahead) / 60:.0f} minutes {'ahead' if ahead > 0 else 'behind'}, and signatures "
        "go by the clock: set it (`timedatectl set-ntp true`), then run it again"
    )


def _code(answer: web.Response) -> str:
    found = _CODE.search(answer.content[:4096])
    return found[1].decode() if found else ""


def _redirected(url: str, answer: web.Response) -> str:
    """Return where the storage sends us on: to another address of the very same host, else nowhere."""
    with contextlib.suppress(ValueError):
        found = urllib.parse.urljoin(url, str(answer.headers.get("location", "")))
        ours, theirs = urllib.parse.urlsplit(url), urllib.parse.urlsplit(found)
        if (ours.scheme, ours.hostname, ours.port) == (theirs.scheme, theirs.hostname, theirs.port) and found != url:
            return found
        raise errors.NetworkError(
            f"{web.shown(url)}: redirects to {web.shown(found)}, another host: a model is not sent there; "
            "nothing was registered"
        )
    raise errors.NetworkError(f"{web.shown(url)}: redirects to nowhere; nothing was registered: run it again later")
