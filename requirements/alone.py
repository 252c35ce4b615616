"""Runs a command while no other process runs one in this way in this folder.

    python requirements/alone.py COMMAND [ARGUMENT...]

Holds `.venv.lock` and becomes the command, which keeps the lock until it and all that it started have ended, however
they end. Python's lock instead of flock(1), which macOS does not have. Where the file system has no locks, the command
runs without one.
"""

import fcntl
import os
import signal
import sys


def main() -> None:
    """Wait for the lock, then replace this process by the command."""
    # As a shell has them: Ctrl-C ends the wait without a traceback, and pip gets no ignored SIGPIPE.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        lock = os.open(".venv.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        take(lock)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        os.set_inheritable(lock, True)
    except OSError as error:
        print(f"note: .venv.lock cannot be locked ({error.strerror}): run one make at a time here", file=sys.stderr)
    os.execvp(sys.argv[1], sys.argv[1:])


def take(lock: int) -> None:
    """Lock an open file; print a line if another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode(errors="replace")
        holder = f" (process {holder})" if holder.isdecimal() else ""
        print(f"waiting for another make{holder} that sets up .venv", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


main()
