"""Progress of a long stage: the protocol that stages report to, and an implementation that prints nothing.

The terminal's version lives in ``builder.cli``; stages never print.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Progress(Protocol):
    """Receives the steps of a stage as they begin, and notes for the user."""

    def step(self, text: str, /) -> None:
        """Say what is being done now; replaces the step before it."""

    def report_bytes(self, done: int, total: int | None, /) -> None:
        """Say how many bytes of the present step are done, of how many (None: not known)."""

    def note(self, text: str, /) -> None:
        """Say something that should stay on the screen."""


class Silent:
    """Progress that prints nothing: for programs and tests."""

    def step(self, text: str, /) -> None:
        """Say nothing."""

    def report_bytes(self, done: int, total: int | None, /) -> None:
        """Say nothing."""

    def note(self, text: str, /) -> None:
        """Say nothing."""


class Stopwatch:
    """Seconds of each stage, for the last lines of a command."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage, or a part of it."""
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def line(self) -> str:
        """Return all stages on one line."""
        return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.seconds.items())
