"""Folders of the package, the cache and the state on this machine, and atomic writing of files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parent
_APP = "numerai-builder"


def docker_folder() -> Path:
    """Return the folder with the Dockerfile template and the stand-in's files.

    It is next to the package in a checkout, and inside of it when the package is installed.
    """
    installed = PACKAGE / "_docker"
    return installed if installed.is_dir() else PACKAGE.parent / "docker"


def inside_folder() -> Path:
    """Return the folder of the code that runs in the image."""
    return PACKAGE / "inside"


def cache_folder() -> Path:
    """Return the folder for what can be created again (wheels, image inventories, shaped data); create it."""
    folder = _migrate_folder(platformdirs.user_cache_path(_APP), "XDG_CACHE_HOME", ".cache")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached_features_file(data_version: str) -> Path:
    """Return the ``features.json`` of a data version, which is there after its live data have been fetched."""
    return cache_folder() / "data" / data_version / "features.json"


def runs_folder() -> Path:
    """Return the folder with a lock file for each run that may have something on an engine; it may be missing."""
    return cache_folder() / "runs"


def state_folder() -> Path:
    """Return the folder for what cannot be created again (the slot logs); create it if missing, with mode 0700."""
    folder = _migrate_folder(platformdirs.user_state_path(_APP), "XDG_STATE_HOME", ".local/state")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _migrate_folder(folder: Path, variable: str, earlier: str) -> Path:
    """Move the folder of version 0.1, below ``~/earlier`` on all systems, to ``folder``; return ``folder``."""
    old = Path.home() / earlier / _APP
    if not os.environ.get(variable) and old != folder and old.is_dir() and not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has just moved it
            old.rename(folder)
    return folder


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file by a temporary file and a rename, so that readers never see a part of it.

    Args:
        path: The file; an existing one is replaced, its folder must exist.
        content: All bytes of the file.
        mode: Its permissions, before the umask.

    Raises:
        OSError: The file cannot be written; an existing one is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # left by a killed process with this id, or a planted link
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
