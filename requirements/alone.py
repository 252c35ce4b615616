"""Run a command under an exclusive lock of this folder, so that only one process sets up .venv.

    python requirements/alone.py COMMAND [ARGUMENT...]

It locks `.venv.lock` and replaces itself by the command, which inherits the lock: it is released when the command and
its child processes have ended, even if they are killed. flock(1) would do the same, but macOS does not have it. If the
file system has no locks, the command runs without one.
"""

import fcntl
import os
import signal
import sys


def main() -> None:
    """Acquire the lock, then replace this process by the command."""
    # The defaults of a shell: Ctrl-C ends the wait without a traceback, and pip does not inherit an ignored SIGPIPE.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        lock = os.open(".venv.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        acquire(lock)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        os.set_inheritable(lock, True)
    except OSError as error:
        print(f"note: .venv.lock cannot be locked ({error.strerror}): run one make at a time here", file=sys.stderr)
    os.execvp(sys.argv[1], sys.argv[1:])


def acquire(lock: int) -> None:
    """Lock an open file; if another process holds the lock, print that and wait."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode(errors="replace")
        holder = f" (process {holder})" if holder.isdecimal() else ""
        print(f"waiting for another make{holder} that sets up .venv", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


main()
