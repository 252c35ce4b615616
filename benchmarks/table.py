"""Rows of the table that ``make bench`` prints, and the one way in which two things are timed against each other."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable

_WIDTHS = (50, 34, 10, 10, 6, 0)


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


def print_head() -> None:
    """Print the head of the table."""
    _print("what", "against", "measured", "target", "", "medians")


def print_row(row: Row) -> None:
    """Print a row as soon as it is measured."""
    unit = "" if row.unit == "x" else f" {row.unit}"
    verdict = "ok" if row.met else "MISSED"
    _print(row.name, row.against, f"{row.value:.2f}{unit}", f"<= {row.target:g}{unit}", verdict, row.detail)


def print_failure(name: str, error: Exception) -> None:
    """Print the row of a benchmark that failed, with the last lines of why."""
    lines = str(error).strip().splitlines()[-3:] or [""]
    _print(name, "", "", "", "FAILED", escape(f"{type(error).__name__}: {' | '.join(lines)}"))


def _print(*cells: str) -> None:
    padded = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    print("  ".join(padded).rstrip(), flush=True)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
