"""Fetch a bundle over https into the cache, where its hash identifies it.

Addresses may contain a token: messages show only the host and the file name, and no address is stored.
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

MAX_BYTES = 1 << 32
"""Largest file that is fetched: the tournament runs a model in 4 GB of memory."""
_DAY = 86_400.0  # seconds: longer than any download takes
_FIX = "run it again, or download the file yourself and set its path in the config"
_REASONS = {
    401: f"a login is required, but none is sent: put the bundle where no login is required; {_FIX}",
    403: f"access is forbidden, or the address has expired: renew it, or put the bundle elsewhere; {_FIX}",
    404: f"the file was not found: check the address; {_FIX}",
    410: f"the file was removed: check the address; {_FIX}",
}


def get_cache_path(sha256: str, cache: Path) -> Path:
    """Return the path in the cache for a file with this hash; it may not have been fetched yet."""
    return cache / "fetched" / f"{sha256}.bundle.zip"


def fetch(url: str, *, sha256: str, cache: Path, progress: Progress, max_bytes: int = MAX_BYTES) -> Path:
    """Fetch a file into the cache, replacing one that is there.

    Args:
        url: An https address; http only to this computer itself.
        sha256: Of the file, in hexadecimal.
        cache: Folder for files that can be fetched again.
        progress: Receives the step and the number of bytes.
        max_bytes: Largest accepted file.

    Returns:
        The path of the file, whose hash is checked.

    Raises:
        errors.NetworkError: It could not be fetched.
        errors.BundleError: The server sent another file, or one that is too large.
        OSError: The cache cannot be written.
    """
    target, shown_url = get_cache_path(sha256, cache), http.redact_url(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_partial_files(target.parent)

    def check(actual: str) -> None:
        if actual != sha256:
            text = f"{shown_url}: the sha256 is {actual}, but the config expects {sha256}: the file has changed"
            raise errors.BundleError([f"{text}; if the new file is right, write its sha256 into the config"])

    progress.step(f"fetching {shown_url}")
    try:
        return download.download(
            url, target, progress=progress, max_bytes=max_bytes, reasons=_REASONS, fix=_FIX, check=check
        ).path
    except http.TooLargeError as error:
        raise errors.BundleError([f"{error}: make the model smaller"]) from error


def _remove_partial_files(folder: Path) -> None:
    """Remove files that a killed process left; only old ones, since another process may be writing one now."""
    for path in folder.glob(f"{download.PARTIAL_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _DAY:
                path.unlink()
