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

    from numpy.typing import NDArray

    from builder.validate.scenarios import Input, Results, Subject

_MAX_NAMED = 300  # of more features, a failure does not name those that are taken by position
_PREFIX = "feature_"
_RANKED = 100  # so that a rank changes by more than the tolerance
_ROWS, _MAX_BENCHMARKS = 64, 5


@dataclass(frozen=True, kw_only=True)
class ColumnFrames:
    """Frames with the columns in the order of the model, each changed in one thing.

    Attributes:
        features: The bundle's features.
        natural: Unchanged: row 0 with equal values, each of the next rows with one feature that differs, other rows.
        shifted: The first feature comes last, and all others one position earlier.
        before: With an unknown column before the features.
        prefix: With one whose name begins as those of the tournament's features.
        after: With an unknown column at the end.
    """

    features: tuple[str, ...]
    natural: Input
    shifted: Input
    before: Input
    prefix: Input
    after: Input

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All frames."""
        return self.natural, self.shifted, self.before, self.prefix, self.after

    def find_cause(self, results: Results) -> str:
        """Return the likely cause of predictions that depend on the order of columns; empty if unknown."""
        if results.differs(self.after, self.natural):
            return "all columns are read, also those that the model does not know"
        if results.differs(self.prefix, self.natural) and not results.differs(self.before, self.natural):
            return f"columns are chosen by the prefix `{_PREFIX}`"
        if results.differs(self.shifted, self.natural):
            return self._find_positions(results)
        return ""

    def _find_positions(self, results: Results) -> str:
        """Return which columns are taken by position.

        Row 0 has one value in all features, and in row 1 + k feature k has another. If feature k is only taken by
        position, row 1 + k differs from row 0 in ``natural``, and does not in ``shifted``, where the other value is at
        another position; that of feature k + 1 is at this position there. No other row may change: a function that
        mixes rows shows nothing.
        """
        count = len(self.features)
        natural, shifted = results.read(self.natural), results.read(self.shifted)
        cause = "columns are taken by position"
        if isinstance(natural, str) or isinstance(shifted, str) or count > _MAX_NAMED:
            return cause
        before, after = (np.abs(values[1 : count + 1] - values[0]) for values in (natural, shifted))
        bound = scenarios.compute_bound(natural, self.natural)
        indices = np.flatnonzero((before > bound) & (after <= bound)).tolist()
        explained = {row for index in indices for row in (1 + index, 1 + (index + 1) % count)}
        changed = np.flatnonzero(scenarios.find_differences(shifted, natural, self.natural)).tolist()
        if not indices or not explained.issuperset(changed):
            return cause
        noun, be = ("column", "is") if len(indices) == 1 else ("columns", "are")
        numbers = format_list([index + 1 for index in indices])
        names = format_list([f"`{sanitize(self.features[index])}`" for index in indices])
        return f"{noun} {numbers} of {count:,} {be} taken by position ({names})"


def make_column_frames(subject: Subject) -> ColumnFrames:
    """Return frames of at most 401 rows, and of at most 64 for many features."""
    features, live = subject.bundle.features, subject.live
    table = live.live.select(
        [*(name for name in ("id", "era", "data_type") if name in live.live.column_names), *features]
    )
    if len(features) <= _MAX_NAMED:
        table = _change_one_by_one(table, features, subject.find_levels())
    else:
        table = table.slice(0, _ROWS)
    other = pa.array(np.arange(len(table)) % 5, pa.int8())
    head = table.num_columns - len(features)
    order = [*range(head), *range(head + 1, table.num_columns), head]
    tables = (
        table,
        table.select(order),
        table.add_column(head, "unknown", other),
        table.add_column(head, f"{_PREFIX}unknown_column", other),
        table.append_column("unknown", other),
    )
    benchmarks = live.benchmarks
    if len(features) <= _MAX_NAMED and len(benchmarks):
        # The rows are new ones: all get the values of the same benchmark row.
        benchmarks = benchmarks.take(np.zeros(len(table), dtype=np.int64))
        benchmarks = benchmarks.set_column(benchmarks.column_names.index("id"), "id", table["id"])
    natural, shifted, before, prefix, after = (replace(live, live=item, benchmarks=benchmarks) for item in tables)
    return ColumnFrames(features=features, natural=natural, shifted=shifted, before=before, prefix=prefix, after=after)


def _change_one_by_one(table: pa.Table, features: Sequence[str], levels: tuple[float, float, float]) -> pa.Table:
    """Return a row of the median, for each feature a row in which only this is another value, and rows to rank between.

    These rows have one value in all features: so they are the same in any order of the columns.
    """
    smallest, median, largest = levels
    count = len(features)
    distances = np.linspace(-1, 1, _RANKED) ** 3  # most of them near the median, as the first rows are
    ranked = median + distances * np.where(distances < 0, median - smallest, largest - median)
    values = np.tile(np.append(np.full(count + 1, median), ranked)[:, None], count).astype(np.float32)
    values[np.arange(1, count + 1), np.arange(count)] = largest if largest > median else smallest - 1
    head = table.select(table.column_names[:-count]).take(np.zeros(len(values), dtype=np.int64))
    columns = {name: head[name] for name in head.column_names}
    columns["id"] = [f"n{row:015x}" for row in range(len(values))]
    return pa.table({**columns, **dict(zip(features, np.ascontiguousarray(values.T), strict=True))})


@dataclass(frozen=True, kw_only=True)
class RowFrames:
    """Rows in two orders, and each order in reverse.

    Attributes:
        natural: Unchanged.
        shuffled: With the rows in another order.
        reverses: The reverse of both; empty if a failure is never a note.
        equal: Rows with equal values.
    """

    natural: Input
    shuffled: Input
    reverses: tuple[Input, ...]
    equal: Input

    @property
    def evidence(self) -> tuple[Input, ...]:
        """The frames that show the cause."""
        return *self.reverses, self.equal

    def find_cause(self, results: Results) -> str:
        """Return the likely cause of predictions that depend on the order of rows; empty if unknown."""
        values = results.read(self.equal)
        if (
            isinstance(values, str)
            or len(values) < 2
            or not np.ptp(values) > scenarios.compute_bound(values, self.equal)
        ):
            return ""
        if np.allclose(np.argsort(values), np.arange(len(values))) and _has_rank_steps(values):
            return 'equal predictions are ranked in the order of the rows, as `rank(method="first")` does'
        return "rows with equal values get different predictions"

    def only_orders_ties(self, results: Results) -> bool:
        """Return whether the order of the rows matters to the ranks of equal predictions, and to nothing else.

        The mean of the ranks by first of an order and of its reverse is the average rank, which no order changes.
        """
        means = []
        for item, reverse in zip((self.natural, self.shuffled), self.reverses, strict=False):
            values, others = results.read(item), results.read(reverse)
            if isinstance(values, str) or isinstance(others, str) or not _has_rank_steps(np.sort(values)):
                return False
            means.append((values + others[::-1]) / 2)
        return len(means) == 2 and scenarios.compare(means[1], self.shuffled, means[0], self.natural) is None


def _has_rank_steps(values: NDArray[np.float64]) -> bool:
    return bool(np.allclose(np.diff(values), 1 / len(values)))


def make_row_frames(subject: Subject, equal: Input, random: np.random.Generator) -> RowFrames:
    """Return the live rows and the same in another order; ``equal``: rows with equal values."""
    natural = subject.live
    shuffled = replace(natural, live=natural.live.take(random.permutation(len(natural.live))))
    reverses = [replace(item, live=item.live.take(np.arange(len(item.live))[::-1])) for item in (natural, shuffled)]
    return RowFrames(
        natural=natural, shuffled=shuffled, reverses=tuple(reverses) if subject.is_custom else (), equal=equal
    )


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
    pairs = [(row, rows[name]) for row, name in enumerate(live.live["id"].to_pylist()) if name in rows][:_ROWS]
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
    covered = live.live.take(live_rows)
    natural, shuffled, *inserted, unknown = (replace(live, live=covered, benchmarks=item) for item in tables)
    return BenchmarkFrames(names=names, natural=natural, shuffled=shuffled, inserted=tuple(inserted), unknown=unknown)
