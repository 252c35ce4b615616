"""File locks, for work that only one process may do at a time.

The kernel frees a lock when its holder ends, however it ends, so a leftover lock file blocks no process.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import stat
from typing import TYPE_CHECKING

import filelock

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_HOLDER_BYTES = 100
# What file systems without locks answer: NFS without its lock service, some network and FUSE ones.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def acquire(path: Path, busy: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock that one process has at a time.

    Args:
        path: The lock file; it and its folder are created, and stay (with the file removed, two processes could each
            hold a lock of this name). A link is not followed: what it names would be overwritten.
        busy: Called once if another process has it, with who that is. The lock is waited for unless this raises.

    Raises:
        errors.LockError: The file cannot be created or locked.
    """
    lock = filelock.FileLock(path, mode=0o644, on_acquired=_sign)
    with contextlib.ExitStack() as undo:
        with _translate_errors(path):
            holder = _take(lock, undo)
        if holder is not None:
            busy(holder)
            with _translate_errors(path):
                undo.enter_context(lock.acquire())
        yield


def is_held(path: Path) -> bool:
    """Tell whether a process holds a lock; a lock file that does not exist is held by none.

    Raises:
        errors.LockError: The file cannot be opened or locked.
    """
    with _translate_errors(path), contextlib.ExitStack() as undo:
        return path.exists() and _take(filelock.FileLock(path, fallback_to_soft=False), undo) is not None


def _take(lock: filelock.BaseFileLock, undo: contextlib.ExitStack) -> str | None:
    """Lock it if it is free, else return who has it."""
    try:
        undo.enter_context(lock.acquire(blocking=False))
    except filelock.Timeout:
        text = ""
        with contextlib.suppress(FileNotFoundError), open(lock.lock_file, "rb", opener=_open) as file:  # it just ended
            text = (file.read(_HOLDER_BYTES) or b"").decode(errors="replace").strip()
        return text if text and text.isprintable() else "another process"
    return None


def _open(path: str, flags: int) -> int:
    """Open what may be a stranger's file without following a link or waiting."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _sign(handle: int) -> None:
    """Write down who holds the lock."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise OSError(errno.EINVAL, "not a plain file")
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()}, since {now}".encode(), 0)


@contextlib.contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_LOCKS:
            fix = "this file system has no file locks: use a folder on a local disk (XDG_CACHE_HOME moves the cache)"
        elif error.errno == errno.ELOOP:
            fix = "it is a link, which is not followed: remove it, then run this again"
        else:
            fix = "free some space or fix the permissions, then run this again"
        raise errors.LockError(f"{error.filename or path}: cannot be locked ({error.strerror}); {fix}") from error
