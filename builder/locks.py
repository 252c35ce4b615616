"""File locks, for work that only one process may do at a time.

The kernel releases a lock (``flock``) when its process ends, even after a kill, so a leftover lock file does not block
anything. The process that holds a lock writes its id and the time into the file, as text for the messages of others;
whether the lock is held never depends on this text.
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

_HOLDER_BYTES = 100  # longer than what `_write_holder` writes; the file may be anything
# Errors of file systems without locks: NFS without its lock service, some network and FUSE file systems.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def acquire(path: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold an exclusive lock while the body runs; wait for it if another process holds it.

    Args:
        path: The lock file. It and its folder are created and never removed: otherwise two processes could each hold a
            lock on a file of this name. A symbolic link is not followed, since its target would be overwritten.
        on_wait: Called once, with a description of the holder, if another process holds the lock; may raise an error
            to give up instead of waiting.

    Raises:
        errors.LockError: The file cannot be created or locked.
    """
    lock = filelock.FileLock(path, mode=0o644, on_acquired=_write_holder)
    with contextlib.ExitStack() as stack:
        # The translation ends before `on_wait` and the body, whose own OSErrors are not errors of the lock.
        with _translate_errors(path):
            holder = _try_lock(lock, stack)
        if holder is not None:
            on_wait(holder)
            with _translate_errors(path):
                stack.enter_context(lock.acquire())
        yield


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock; False if the lock file does not exist.

    The only way to know is to acquire the lock for a moment.

    Raises:
        errors.LockError: The file cannot be opened or locked.
    """
    with _translate_errors(path), contextlib.ExitStack() as stack:
        return path.exists() and _try_lock(filelock.FileLock(path, fallback_to_soft=False), stack) is not None


def remove_if_free(path: Path) -> None:
    """Remove a lock file that no process holds. Whoever waits for it then creates it again.

    Raises:
        errors.LockError: The file cannot be opened, locked or removed.
    """
    with _translate_errors(path), contextlib.ExitStack() as stack:
        if _try_lock(filelock.FileLock(path, fallback_to_soft=False), stack) is None:
            path.unlink(missing_ok=True)


def _try_lock(lock: filelock.BaseFileLock, stack: contextlib.ExitStack) -> str | None:
    """Acquire a lock without waiting, until ``stack`` ends; return a description of the holder if another has it."""
    try:
        stack.enter_context(lock.acquire(blocking=False))
    except filelock.Timeout:
        text = ""
        with contextlib.suppress(FileNotFoundError), open(lock.lock_file, "rb", opener=_open) as file:
            text = (file.read(_HOLDER_BYTES) or b"").decode(errors="replace").strip()
        # Empty if the file was removed in the meantime, or the holder has not written to it yet.
        return text if text and text.isprintable() else "another process"
    return None


def _open(path: str, flags: int) -> int:
    """Open a file that may be anybody's: without following a link, or blocking on a FIFO."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _write_holder(descriptor: int) -> None:
    """Write the process id and the time into the lock file, for the messages of other processes."""
    # A device or a FIFO of this name would take the text as input.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a plain file")
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()}, since {now}".encode(), 0)


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
