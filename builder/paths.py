"""Where the tool's own files are, and where it keeps what may be thrown away."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parent
_APP = "numerai-builder"


def docker_folder() -> Path:
    """Return the folder with the Dockerfile template and the stand-in's files.

    It lies beside the package in a checkout and inside it in an installed copy.
    """
    installed = PACKAGE / "_docker"
    return installed if installed.is_dir() else PACKAGE.parent / "docker"


def inside_folder() -> Path:
    """Return the folder of the code that runs in the image."""
    return PACKAGE / "inside"


def cache_folder() -> Path:
    """Return the folder for what can be made again (wheels, image inventories, shaped data), created on first use."""
    folder = _migrate_folder(platformdirs.user_cache_path(_APP), "XDG_CACHE_HOME", ".cache")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state_folder() -> Path:
    """Return the folder for what this machine must remember (what slots ran before), made on first use, private."""
    folder = _migrate_folder(platformdirs.user_state_path(_APP), "XDG_STATE_HOME", ".local/state")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _migrate_folder(folder: Path, variable: str, earlier: str) -> Path:
    """Move what 0.1 kept below ``~/earlier`` on every system to the folder that this system has for it; return that."""
    old = Path.home() / earlier / _APP
    if not os.environ.get(variable) and old != folder and old.is_dir() and not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has just moved it
            old.rename(folder)
    return folder


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file so that it is there whole or not at all, with a mode that the umask restricts.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)  # of a killed process with this id, or a link that somebody put there
    try:
        with open(beside, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
