"""The door to the network for bundles: a file fetched by https, once, known by its hash.

Streamed to a file beside its place in the cache and renamed once its hash is right, so that what is there is always
the file that was asked for. Addresses may hold a token: messages show the host and the file's name alone, and no
address is kept.
"""

from __future__ import annotations

import contextlib
import time
import urllib.parse
from typing import TYPE_CHECKING

from builder import errors
from builder.net import address, download, http
from builder.net.http import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.progress import Progress

MOST_BYTES = 1 << 32
"""The largest file fetched: the tournament runs a model in 4 GB."""
_SECONDS = http.SECONDS
_MOST_REDIRECTS = 5
_DAY = 86_400.0
_INSTEAD = "or fetch the file by hand and name its path in the config"


def kept(sha256: str, cache: Path) -> Path:
    """Return where a file with this hash is kept once it was fetched."""
    return cache / "fetched" / f"{sha256}.bundle.zip"


def fetch(url: str, *, sha256: str, cache: Path, progress: Progress, most: int = MOST_BYTES) -> Path:
    """Fetch a file into the cache, whether one is there or not.

    Args:
        url: An https address; http only to this computer itself.
        sha256: Of the file, in hexadecimal.
        cache: Folder for what can be fetched again.
        progress: Told how far it is.
        most: Bytes that are taken at most.

    Returns:
        The file, whose hash is right.

    Raises:
        errors.NetworkError: It could not be fetched; what to do next is said.
        errors.BundleError: What came is another file, or more than is taken.
        OSError: The cache cannot be written.
    """
    target = kept(sha256, cache)
    target.parent.mkdir(parents=True, exist_ok=True)
    _forget_unfinished(target.parent)
    at = shown(url)
    with download.beside(target) as out, _answer(url, progress) as answer:
        total = download.length(answer)
        if total is not None and total > most:
            raise errors.BundleError(
                [f"{at}: has {total:,} bytes; at most {most:,} are fetched: make the model smaller"]
            )
        found, _ = download.receive(
            answer,
            out,
            at=at,
            most=most,
            ends=time.monotonic() + download.MOST_SECONDS,
            progress=progress,
            remedy=f"run it again, {_INSTEAD}",
            too_large=lambda text: errors.BundleError([text]),
        )
        if found != sha256:
            text = f"{at}: its sha256 is {found}, the config says {sha256}: another file is there now"
            raise errors.BundleError([f"{text}; write its hash into the config if it is the one you mean"])
    return target


@contextlib.contextmanager
def _answer(url: str, progress: Progress) -> Iterator[http.Response]:
    """Yield the answer that has the file, after redirects; foreign errors become ours."""
    with (
        http.translated(shown(url), remedy=f"run it again, {_INSTEAD}", seconds=_SECONDS),
        contextlib.ExitStack() as stack,
    ):
        yield _follow(url, progress, stack)


def _follow(url: str, progress: Progress, stack: contextlib.ExitStack) -> http.Response:
    for _ in range(_MOST_REDIRECTS + 1):
        progress.step(f"fetching {shown(url)}")
        client = stack.enter_context(http.client(url, seconds=_SECONDS))
        answer = stack.enter_context(download.request(client, url))
        if answer.status_code not in http.REDIRECTS:
            _check_status(answer, url)
            return answer
        url = _redirected(url, answer)
    raise errors.NetworkError(f"{shown(url)}: redirects more than {_MOST_REDIRECTS} times; look at the address")


def _redirected(url: str, answer: http.Response) -> str:
    found, scheme = http.location(url, answer.headers), ""
    with contextlib.suppress(ValueError):
        address.read_address(found)
        scheme = urllib.parse.urlsplit(found).scheme
    # Never from https to anything else, and to this computer itself only from there.
    if scheme not in ({"https"} if urllib.parse.urlsplit(url).scheme == "https" else {"https", "http"}):
        where = shown(found) if found else "no address"
        raise errors.NetworkError(
            f"{shown(url)}: redirects to {where}, which is not fetched from: only https is; look at the address"
        )
    return found


def _check_status(answer: http.Response, url: str) -> None:
    status = answer.status_code
    if status == 200:
        return
    reasons = {
        401: "asks for a login, and none is sent: put the bundle where it can be fetched without",
        403: "is forbidden, or the address has expired: put the bundle where it can be fetched, or renew the address",
        404: "is not there: look at the address",
        410: "is not there any more: look at the address",
        429: "was asked too often: run it again later",
    }
    reason = reasons.get(status) or (
        "the server failed: run it again later" if status >= 500 else "look at the address"
    )
    raise errors.NetworkError(f"{shown(url)}: HTTP {status}, {reason}, {_INSTEAD}")


def _forget_unfinished(folder: Path) -> None:
    """Remove what a killed process left."""
    for path in folder.glob(f"{download.UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _DAY:
                path.unlink()
