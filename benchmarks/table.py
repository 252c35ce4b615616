"""Print the table of ``make bench``, and time two calls against each other."""

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
    """One measured value; ``value`` and ``target`` are in ``unit``, which is ``x`` for a ratio."""

    name: str
    against: str
    value: float
    unit: str
    target: float
    detail: str

    @property
    def is_met(self) -> bool:
        """Whether the target is met."""
        return self.value <= self.target


def time_pairs(call: Callable[[], object], baseline: Callable[[], object], runs: int) -> tuple[float, float, float]:
    """Time two calls alternately, after a first pair that is not counted.

    Returns:
        The median seconds of each, and the median of the ratios call / baseline of each pair, which stays the same if
        the machine's speed drifts.
    """
    # In pairs: the load of the machine changes over minutes, but hardly between two calls.
    pairs = [(_time(call), _time(baseline)) for _ in range(runs + 1)][1:]
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second), statistics.median(a / b for a, b in pairs)


def print_header() -> None:
    """Print the header of the table."""
    _print("what", "against", "measured", "target", "", "medians")


def print_row(row: Row) -> None:
    """Print a row."""
    unit = "" if row.unit == "x" else f" {row.unit}"
    verdict = "ok" if row.is_met else "MISSED"
    _print(row.name, row.against, f"{row.value:.2f}{unit}", f"<= {row.target:g}{unit}", verdict, row.detail)


def print_failure(name: str, error: Exception) -> None:
    """Print the row of a benchmark that failed, with the last lines of the error."""
    lines = str(error).strip().splitlines()[-3:] or [""]
    _print(name, "", "", "", "FAILED", escape(f"{type(error).__name__}: {' | '.join(lines)}"))


def _print(*cells: str) -> None:
    padded = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    print("  ".join(padded).rstrip(), flush=True)


def _time(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
