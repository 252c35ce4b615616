"""Deferring of Ctrl-C and other signals during work that must not be interrupted."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
"""The signals that end a command: Ctrl-C, a service manager's, a closed terminal's, and the alarm that repeats them."""


@contextlib.contextmanager
def defer() -> Iterator[None]:
    """Defer :data:`SIGNALS` while the body runs, then raise the first that arrived; others are dropped.

    Has no effect outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            # getsignal() is None for a handler that was not set from Python, which cannot be set again.
            signal.signal(number, handler or signal.SIG_DFL)
    if received:
        signal.raise_signal(received[0])
