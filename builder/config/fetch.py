"""A bundle fetched by https into the cache, known by its hash.

Addresses may hold a token: messages show the host and the file's name alone, and no address is kept.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from builder import errors
from builder.net import download, http

if TYPE_CHECKING:
    from pathlib import Path

    from builder.progress import Progress

MOST_BYTES = 1 << 32
"""The largest file fetched: the tournament runs a model in 4 GB."""
_DAY = 86_400.0
_FIX = "run it again, or fetch the file by hand and name its path in the config"
_REASONS = {
    401: f"a login is required, and none is sent: put the bundle where it can be fetched without; {_FIX}",
    403: f"access is forbidden, or the address has expired: renew it, or put the bundle elsewhere; {_FIX}",
    404: f"the file is not there: check the address; {_FIX}",
    410: f"the file is no longer there: check the address; {_FIX}",
}


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
    target, at = kept(sha256, cache), http.redact_url(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    _forget_unfinished(target.parent)

    def check(found: str) -> None:
        if found != sha256:
            text = f"{at}: its sha256 is {found}, the config says {sha256}: another file is there now"
            raise errors.BundleError([f"{text}; write its hash into the config if it is the one you mean"])

    progress.step(f"fetching {at}")
    try:
        return download.download(
            url, target, progress=progress, max_bytes=most, reasons=_REASONS, fix=_FIX, check=check
        ).path
    except http.TooLargeError as error:
        raise errors.BundleError([f"{error}: make the model smaller"]) from error


def _forget_unfinished(folder: Path) -> None:
    """Remove what a killed process left."""
    for path in folder.glob(f"{download.PARTIAL_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _DAY:
                path.unlink()
