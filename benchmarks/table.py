"""Rows of the table that ``make bench`` prints, and the one way in which two things are timed against each other."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. ``value`` and ``target`` are in ``unit``; a ratio has the unit ``x``."""

    name: str
    against: str
    value: float
    unit: str
    target: float
    detail: str

    @property
    def met(self) -> bool:
        """Tell whether the target is reached."""
        return self.value <= self.target


def pairs(one: Callable[[], object], other: Callable[[], object], runs: int) -> tuple[float, float, float]:
    """Time two calls in turn, A B A B, after a turn that is not counted.

    Returns:
        The median seconds of each, and the median of the ratios one / other pair by pair: it holds while the
        machine's speed drifts.
    """
    timed = [(_seconds(one), _seconds(other)) for _ in range(runs + 1)][1:]
    first, second = zip(*timed, strict=True)
    return statistics.median(first), statistics.median(second), statistics.median(a / b for a, b in timed)


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table."""
    cells = [("what", "against", "measured", "target", "", "medians")]
    for row in rows:
        unit = "" if row.unit == "x" else f" {row.unit}"
        measured, target = f"{row.value:.2f}{unit}", f"<= {row.target:g}{unit}"
        cells.append((row.name, row.against, measured, target, "ok" if row.met else "MISSED", row.detail))
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line[:5], widths, strict=True))
        print("  ".join([*padded, line[5]]).rstrip())


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
