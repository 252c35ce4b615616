"""Find the likely cause of a failed relation by inputs that differ from one another in one thing only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from builder.text import format_list, sanitize
from builder.validate import scenarios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.validate.scenarios import Input, Results, Subject

_MAX_NAMED = 300  # of more features, a failure does not name those that are taken by position
_PREFIX = "feature_"
_MIN_ROWS, _MAX_BENCHMARKS = 64, 5


@dataclass(frozen=True, kw_only=True)
class ColumnFrames:
    """Frames with the columns in the order of the model, each changed in one thing.

    Attributes:
        features: The bundle's features.
        natural: Unchanged: row 0 with equal values, then each row differs from it in one feature, then other rows.
        shifted: The first feature comes last, and all others one position earlier.
        unknown: With an unknown column at the end.
        prefix: With one whose name begins as those of the tournament's features.
    """

    features: tuple[str, ...]
    natural: Input
    shifted: Input
    unknown: Input
    prefix: Input

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All frames."""
        return self.natural, self.shifted, self.unknown, self.prefix

    def find_cause(self, results: Results) -> str:
        """Return the likely cause of predictions that depend on the order of columns; empty if unknown."""
        if results.differs(self.unknown, self.natural):
            return "all columns are read, also those that the model does not know"
        if results.differs(self.prefix, self.natural):
            return f"columns are chosen by the prefix `{_PREFIX}`"
        if results.differs(self.shifted, self.natural):
            return self._find_positions(results)
        return ""

    def _find_positions(self, results: Results) -> str:
        """Return which columns are taken by position.

        In row 1 + k only feature k differs from row 0. A column that is taken by position sees this in row 1 + k of
        ``natural``, and one row later in ``shifted``. So the effects of all columns are the sums of these differences,
        except for a constant: most columns are taken by name, so that their effect is 0.
        """
        count = len(self.features)
        natural, shifted = results.read(self.natural), results.read(self.shifted)
        cause = "columns are taken by position"
        if isinstance(natural, str) or isinstance(shifted, str) or count > _MAX_NAMED:
            return cause
        difference = np.where(scenarios.find_differences(shifted, natural, self.natural), shifted - natural, 0)
        effects = -np.cumsum(np.append(0, difference[2 : count + 1]))
        indices = np.flatnonzero(np.abs(effects - np.median(effects)) > scenarios.compute_bound(natural, self.natural))
        if not 0 < len(indices) <= count // 2:
            return cause
        noun, be = ("column", "is") if len(indices) == 1 else ("columns", "are")
        numbers = format_list([int(index) + 1 for index in indices])
        names = format_list([f"`{sanitize(self.features[index])}`" for index in indices])
        return f"{noun} {numbers} of {count:,} {be} taken by position ({names})"


def make_column_frames(subject: Subject) -> ColumnFrames:
    """Return frames of at most 365 rows, and of at most 64 for many features."""
    features, live = subject.bundle.features, subject.live
    table = live.live.select(
        [*(name for name in ("id", "era", "data_type") if name in live.live.column_names), *features]
    )
    if len(features) <= _MAX_NAMED:
        low, high = subject.find_levels()
        table = _change_one_by_one(table, features, low, high if high > low else low + 1)
    else:
        table = table.slice(0, _MIN_ROWS)
    other = pa.array(np.arange(len(table)) % 5, pa.int8())
    head = table.num_columns - len(features)
    order = [*range(head), *range(head + 1, table.num_columns), head]
    tables = (
        table,
        table.select(order),
        table.append_column("unknown", other),
        table.append_column(f"{_PREFIX}unknown_column", other),
    )
    benchmarks = live.benchmarks
    if len(features) <= _MAX_NAMED and len(benchmarks):
        # The rows are new ones: all get the values of the same benchmark row.
        benchmarks = benchmarks.take(np.zeros(len(table), dtype=np.int64))
        benchmarks = benchmarks.set_column(benchmarks.column_names.index("id"), "id", table["id"])
    natural, shifted, unknown, prefix = (replace(live, live=item, benchmarks=benchmarks) for item in tables)
    return ColumnFrames(features=features, natural=natural, shifted=shifted, unknown=unknown, prefix=prefix)


def _change_one_by_one(table: pa.Table, features: Sequence[str], low: float, high: float) -> pa.Table:
    """Return a row of ``low``, for each feature a row in which only this is ``high``, and some other rows."""
    count = len(features)
    rows = np.concatenate([np.zeros(count + 1, dtype=np.int64), np.arange(max(_MIN_ROWS - count, 0)) % len(table)])
    changed = table.take(rows)
    arrays = {name: changed[name].to_numpy().copy() for name in features}
    for number, values in enumerate(arrays.values(), 1):
        values[: count + 1] = low
        values[number] = high
    head = {name: changed[name] for name in changed.column_names[:-count]}
    return pa.table({**head, "id": [f"n{row:015x}" for row in range(len(rows))], **arrays})


def find_row_cause(results: Results, equal: Input) -> str:
    """Return the likely cause of predictions that depend on the order of rows; empty if unknown.

    Args:
        results: The predictions.
        equal: An input whose rows are equal.
    """
    values = results.read(equal)
    if isinstance(values, str) or len(values) < 2 or np.ptp(values) <= scenarios.compute_bound(values, equal):
        return ""
    if np.allclose(np.argsort(values), np.arange(len(values))) and np.allclose(np.diff(values), 1 / len(values)):
        return 'equal predictions are ranked in the order of the rows, as `rank(method="first")` does'
    return "rows with equal values get different predictions"


@dataclass(frozen=True, kw_only=True)
class BenchmarkFrames:
    """Frames with the benchmark rows in the order of the live rows, each changed in one thing.

    Attributes:
        names: The benchmark columns.
        natural: Unchanged.
        shuffled: With the rows in another order.
        inserted: With an unknown column before each of the first columns.
        unknown: With an unknown column at the end.
    """

    names: tuple[str, ...]
    natural: Input
    shuffled: Input
    inserted: tuple[Input, ...]
    unknown: Input

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All frames."""
        return self.natural, self.shuffled, *self.inserted, self.unknown

    def find_cause(self, results: Results) -> str:
        """Return the likely cause of predictions that depend on the order of benchmarks; empty if unknown."""
        if results.differs(self.shuffled, self.natural):
            return "benchmark rows are taken in their order, not by id"
        if results.differs(self.unknown, self.natural):
            return "all benchmark columns are read, also those that the model does not know"
        # A column before the one that is taken moves it, one behind it does not.
        moved = [number for number, item in enumerate(self.inserted, 1) if results.differs(item, self.natural)]
        if not moved:
            return ""
        return f"benchmark column {moved[-1]} is taken by position (`{sanitize(self.names[moved[-1] - 1])}`)"


def make_benchmark_frames(subject: Subject) -> BenchmarkFrames:
    """Return frames of at most 64 rows, which all have benchmark rows."""
    names, live = subject.bundle.benchmarks, subject.live
    rows = {name: row for row, name in enumerate(live.benchmarks["id"].to_pylist())}
    pairs = [(row, rows[name]) for row, name in enumerate(live.live["id"].to_pylist()) if name in rows][:_MIN_ROWS]
    live_rows, benchmark_rows = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    head = [name for name in ("id", "era") if name in live.benchmarks.column_names]
    table = live.benchmarks.select([*head, *names]).take(benchmark_rows)
    other = pa.array(np.linspace(0, 1, len(table))[::-1], pa.float32())
    tables = [
        table,
        table.take(np.roll(np.arange(len(table)), 1)),
        *(table.add_column(len(head) + index, "unknown", other) for index in range(min(len(names), _MAX_BENCHMARKS))),
        table.append_column("unknown", other),
    ]
    natural, shuffled, *inserted, unknown = (
        replace(live, live=live.live.take(live_rows), benchmarks=item) for item in tables
    )
    return BenchmarkFrames(names=names, natural=natural, shuffled=shuffled, inserted=tuple(inserted), unknown=unknown)
