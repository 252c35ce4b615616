"""What a page shows beside a validation. Imports no matplotlib, which takes half a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from builder.validate.known_causes import Cause
    from builder.validate.reading.read import Reading
    from builder.validate.rerun import RerunResult


@dataclass(frozen=True, kw_only=True)
class SlotComparison:
    """How similar the predictions are to those of the pickle that a slot runs now.

    Attributes:
        name: The slot.
        text: The result, or why there is none.
        correlation: The rank correlation; None if there is none.
    """

    name: str
    text: str
    correlation: float | None = None


@dataclass(frozen=True, kw_only=True)
class PickleAnswer:
    """Whether an arbitrary pickle would run.

    Attributes:
        path: The file.
        reading: What was read of it.
        result: Its run; None if there was none.
        reason: Why there was none.
        cause: Why it would fail; None if nothing was found.
        is_good: Whether nothing was found that would fail or is dangerous.
    """

    path: Path
    reading: Reading
    result: RerunResult | None
    reason: str
    cause: Cause | None
    is_good: bool

    @property
    def verdict(self) -> str:
        """The answer in one line."""
        if self.cause:
            return "it would fail"
        if self.result:
            return "it runs" if self.is_good else "it runs, but see what is dangerous in it"
        if self.is_good:
            return "nothing was found that would fail; only a run in its image shows that it works"
        return "it was not run, and something in it is dangerous or could not be read"
