"""Progress of a long stage: the protocol that stages report to, and an implementation that prints nothing.

The implementation for terminals is in ``builder.cli``; stages never print.
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
        """Report the step that begins; it replaces the previous step."""

    def report_bytes(self, count: int, total: int | None, /) -> None:
        """Report how many bytes the current step has transferred; ``total`` is None if it is not known."""

    def note(self, text: str, /) -> None:
        """Report a line that stays on the screen."""


class Silent:
    """Progress that prints nothing, for use as a library and in tests."""

    def step(self, text: str, /) -> None:
        """Ignore it."""

    def report_bytes(self, count: int, total: int | None, /) -> None:
        """Ignore it."""

    def note(self, text: str, /) -> None:
        """Ignore it."""


class Stopwatch:
    """Seconds that each stage of a command took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the body; several measurements of one stage are added up."""
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def line(self) -> str:
        """Return the stages and their seconds on one line: ``render 0.12 s, build 8.40 s``."""
        return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.seconds.items())
