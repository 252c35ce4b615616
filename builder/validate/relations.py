"""Required scenarios: live rows that differ in what must not change a prediction, and the range of the golden rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from builder.bundle import post
from builder.text import format_list, sanitize
from builder.validate import causes, checks, scenarios
from builder.validate.scenarios import Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from builder.validate.scenarios import Input, Results, Subject

CSV = "same values: the CSV, and another run"
OTHER_COLUMNS = "same values: columns in another order, and more"
READ_BY_NAME = "read each column by its name, not by its position or a prefix"
_MONOTONE = {"rank", "gaussianize", "standardize", "clip"}  # steps after which rows have the same order
_MIN_CORRELATION = 0.9
_FEW = 20  # golden values that are too few to judge their range
_MIN_LIVE = 1_000  # as many live values have their whole range
_MAX_LEVELS = 6  # features of the tournament have 5 values, also if they are scaled; and one may be imputed
_MIN_FEATURES = 10  # one feature may have rare values that no golden row has; ten of them do not


def make_relations(subject: Subject, *, equal: Input) -> Iterator[Scenario]:
    """Yield the required scenarios.

    Args:
        subject: The pickle's bundle, steps and live rows.
        equal: Rows with equal values, whose predictions show why the order of the rows matters.
    """
    random = np.random.default_rng(7)
    live, bundle = subject.live, subject.bundle
    columns = replace(live, live=_permute_columns(live.live, bundle.features, random))
    frames = causes.make_column_frames(subject)
    name = OTHER_COLUMNS
    if subject.tied_to:
        yield Scenario(
            name="same values: unknown columns",
            inputs=(columns,),
            judge=_expect_same(
                columns,
                live,
                find_cause=lambda _: f"it reads every feature of {subject.tied_to}, so it is tied to this data version",
            ),
            is_required=False,
        )
        known = set(live.live.column_names)
        ordered = columns.live.select([column for column in columns.live.column_names if column in known])
        name, columns = "same values: columns in another order", replace(live, live=ordered)
    yield Scenario(
        name=name,
        inputs=(columns,),
        judge=_expect_same(columns, live, READ_BY_NAME, frames.find_cause),
        evidence=frames.inputs,
    )
    if bundle.benchmarks:  # before the rows, whose order matters too if benchmark rows are taken in their order
        benchmarks = replace(live, benchmarks=_permute_benchmarks(live.benchmarks, bundle.benchmarks, random))
        benchmark_frames = causes.make_benchmark_frames(subject)
        fix = "read each benchmark by its name, and its rows by id: `.reindex(live_features.index)`"
        yield Scenario(
            name="same values: benchmarks in another order, and more",
            inputs=(benchmarks,),
            judge=_expect_same(benchmarks, live, fix, benchmark_frames.find_cause),
            evidence=benchmark_frames.inputs,
        )
    rows = causes.make_row_frames(subject, equal, random)
    fix = f"let no prediction depend on the order of the rows{_suggest_exemption(subject, 'shuffle')}"
    judge = _expect_same(rows.shuffled, live, fix, rows.find_cause, equal_rows=subject.equal_rows)
    yield Scenario(
        name="same values: rows in another order",
        inputs=(rows.shuffled,),
        judge=lambda results: _allow_ties(judge(results), rows, results),
        evidence=rows.evidence,
        key="shuffle",
    )
    yield from _make_types(subject)
    yield from _make_eras(subject)
    if subject.steps:
        yield from _make_final(subject)
    yield Scenario(
        name="same range: golden rows and live rows", inputs=(), judge=lambda _: judge_ranges(subject), key="range"
    )


def _allow_ties(outcome: Outcome, rows: causes.RowFrames, results: Results) -> Outcome:
    """Return a note instead of a failure if only equal predictions are ranked in the order of the rows."""
    if outcome.good is False and rows.only_orders_ties(results):
        return Outcome(good=None, detail=outcome.detail)
    return outcome


def _suggest_exemption(subject: Subject, key: str) -> str:
    """Return the end of a message about a relation that a custom function can be exempt from."""
    if not subject.is_custom:
        return ""
    return f'; if it must be so, exempt it with the reason in the config: `validate: {{exempt: {{{key}: "..."}}}}`'


def _expect_same(
    item: Input,
    reference: Input,
    fix: str = "",
    find_cause: Callable[[Results], str] = lambda _: "",
    *,
    equal_rows: int = 0,
) -> Callable[[Results], Outcome]:
    """Return the function that judges whether an input has the same predictions as a reference with the same ids.

    ``equal_rows``: how many rows are the same; they may be ranked one after the other. 0: the order is not changed.
    """

    def judge(results: Results) -> Outcome:
        expected = results.read(reference)
        if isinstance(expected, str):
            return Outcome(good=False, detail=f"there is nothing to compare with: {expected}")
        ties = max(equal_rows, scenarios.count_ties(expected)) if equal_rows else 0
        difference = scenarios.compare(results.read(item), item, expected, reference, ties=ties)
        if difference is None:
            bound = scenarios.compute_bound(expected, reference)
            return Outcome(good=True, detail=f"{len(expected):,} rows, bound {bound:.2g}")
        return Outcome(good=False, detail="; ".join(filter(None, (difference, find_cause(results)))), fix=fix)

    return judge


def set_columns(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Return a table with these columns replaced."""
    names = table.column_names
    return pa.table([columns.get(name, column) for name, column in zip(names, table.columns, strict=True)], names=names)


def _permute_columns(live: pa.Table, features: Sequence[str], random: np.random.Generator) -> pa.Table:
    """Return the columns in another order, with unknown ones before, between and after the features."""
    table = live.select(random.permutation(live.num_columns).tolist())
    names = ["feature_unknown", "feature_0_unknown", f"{features[0]}_unknown", f"{features[-1]}_unknown"]
    known = set(live.column_names)  # a property that makes a new list each time
    names = [name for name in dict.fromkeys(names) if name not in known]
    for number, name in enumerate(names):
        values = pa.array(random.integers(0, 5, len(live)), pa.int8())
        table = table.add_column(number * table.num_columns // max(1, len(names) - 1), name, values)
    return table


def _permute_benchmarks(benchmarks: pa.Table, names: Sequence[str], random: np.random.Generator) -> pa.Table:
    """Return the rows and columns in another order, with rows of other ids and with unknown columns."""
    field = benchmarks.schema.field("id")
    more = benchmarks.slice(0, 3)
    ids = pa.array([f"unknown{row}" for row in range(len(more))], field.type)
    table = pa.concat_tables([more.set_column(more.column_names.index("id"), field, ids), benchmarks])
    table = table.take(random.permutation(len(table))).select(benchmarks.column_names[::-1])
    for position, name in ((0, f"{names[0]}_unknown"), (table.num_columns + 1, f"{names[-1]}_unknown_too")):
        table = table.add_column(position, name, pa.array(random.random(len(table)), pa.float32()))
    return table


def _make_types(subject: Subject) -> Iterator[Scenario]:
    """Yield a scenario for each other type in which whole-numbered features can come."""
    live, values = subject.live, subject.features
    with np.errstate(invalid="ignore"):
        is_whole = ((np.rint(values) == values) & (np.abs(values) <= np.iinfo(np.int8).max)).all(axis=0)
    whole = {name for name, whole in zip(subject.bundle.features, is_whole, strict=True) if whole}
    kinds = {field.type for field in live.live.schema if field.name in whole}
    for kind in (pa.int8(), pa.float32(), pa.float64()):
        if kinds <= {kind}:
            continue
        schema = pa.schema([field.with_type(kind) if field.name in whole else field for field in live.live.schema])
        item = replace(live, live=live.live.cast(schema))
        text = {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
        fix = f"convert the features, such as `.astype('float64')`{_suggest_exemption(subject, 'types')}"
        cause = f"the features are chosen by their type ({format_list(sorted(map(str, kinds)))}), or overflow in it"
        yield Scenario(
            name=f"same values: features as {text}",
            inputs=(item,),
            judge=_expect_same(item, live, fix, lambda _, cause=cause: cause),  # type: ignore[misc]
            key="types",
        )


def _make_eras(subject: Subject) -> Iterator[Scenario]:
    """Yield a scenario for each other type in which the eras can come; a post-processing step may read them too."""
    final = subject.final
    if "era" not in final.live.column_names:
        return
    column = pa.array(final.live["era"].to_pandas()).cast(pa.string()).dictionary_encode()
    numbers = pa.array(1000 + column.indices.to_numpy(zero_copy_only=False))
    fix = f"group by `live_features['era']` as it is, without parsing it{_suggest_exemption(subject, 'era')}"
    for name, values in (("era as numbers", numbers), ("era as a category", column)):
        item = replace(final, live=set_columns(final.live, {"era": values}))
        if len(column.dictionary) == 1 or not subject.is_custom:
            judge = _expect_same(item, final, fix)
        else:  # a custom function may use the order of several eras
            judge = expect_finite(item, fix)
        yield Scenario(name=f"same values: {name}", inputs=(item,), judge=judge, key="era")


def _make_final(subject: Subject) -> Iterator[Scenario]:
    """Yield the scenario that the steps after the model read columns by name and rows by id."""
    final, random = subject.final, np.random.default_rng(8)
    table = final.live
    if not any(getattr(step, "ties", "") == "first" for step in subject.steps):
        table = table.take(random.permutation(len(table)))
    item = replace(final, live=_permute_columns(table, subject.bundle.features, random))
    fix = "fix what fails before post-processing; if nothing does, report this as an internal error of this tool"
    yield Scenario(
        name="same final values: columns and rows in another order",
        inputs=(item,),
        judge=_expect_same(item, final, fix, equal_rows=subject.equal_rows),
        key="shuffle",
    )


@np.errstate(over="ignore", invalid="ignore")  # predictions can be any numbers
def compare_csv(subject: Subject, values: NDArray[np.float64], csv: NDArray[np.float64]) -> checks.Check | None:
    """Compare the predictions of the first live rows with those in the CSV of the entry point's run.

    The frame of the entry point's run may have more rows. Then the predictions must only be the same if no step and no
    rank depends on them; those of a custom function should be in nearly the same order, which is a note.

    Args:
        subject: What the scenarios are made for.
        values: The predictions of its rows after post-processing, from the run of the scenarios: float64 (rows,).
        csv: All predictions in the CSV, in the order of the live rows.

    Returns:
        The check; None if they cannot be compared.
    """
    expected, final = csv[: len(values)], subject.final
    rows = f"{len(values):,} rows"
    if len(csv) == len(values) or not (final.may_rank or subject.steps):
        ties = max(subject.equal_rows, scenarios.count_ties(expected)) if final.may_rank else 0
        difference = scenarios.compare(values, final, expected, final, ties=ties)
        fix = "let the function depend on its arguments only, and give random numbers a seed"
        if difference is None:
            return checks.Check(name=CSV, good=True, detail=rows)
        detail = f"{difference}; the function predicts the same rows differently in another process"
        return checks.Check(name=CSV, good=False, detail=detail, fix=fix)
    is_monotone = all(post.get_step_name(step) in _MONOTONE for step in subject.steps)
    if not (subject.is_custom and is_monotone and np.ptp(values) > 0 and np.ptp(expected) > 0):
        return None
    correlation = float(pd.Series(values).rank().corr(pd.Series(expected).rank()))
    detail = f"{rows} alone and in the frame of {len(csv):,} rows: rank correlation {correlation:.3f}"
    if correlation >= _MIN_CORRELATION:
        return checks.Check(name=CSV, good=True, detail=detail)
    detail += "; the predictions of a row depend on the other rows, on random numbers or on the program that runs it"
    return checks.Check(name=CSV, good=None, detail=detail)


def expect_finite(item: Input, fix: str) -> Callable[[Results], Outcome]:
    """Return the function that judges whether an input is predicted without NaN and infinity."""

    def judge(results: Results) -> Outcome:
        values = results.read(item)
        if isinstance(values, str):
            return Outcome(good=False, detail=values, fix=fix)
        count = int((~np.isfinite(values)).sum())
        rows = f"{len(values):,} rows" if len(values) != 1 else "1 row"
        if not count:
            return Outcome(good=True, detail=rows)
        return Outcome(good=False, detail=f"{count:,} of {rows} are not finite", fix=fix)

    return judge


def judge_ranges(subject: Subject) -> Outcome:
    """Judge whether the golden rows are in the units of the live rows.

    Only features that vary in both are compared: one that is missing or not available yet is constant. The range of all
    of them together is judged, since few golden rows do not have the whole range of each.
    """
    live = subject.features
    golden = subject.bundle.golden.inputs[:, : live.shape[1]].astype(np.float64)
    ranges = [_find_ranges(golden), _find_ranges(live)]
    varies = (ranges[0][0] < ranges[0][1]) & (ranges[1][0] < ranges[1][1])
    golden_values, live_values = (_select_finite(values[:, varies]) for values in (golden, live))
    if len(golden_values) < _FEW or len(live_values) < _MIN_LIVE:
        return Outcome(good=None, detail="too few values to compare")
    # Without the outermost values, which floats may have anywhere.
    (low, high), (live_low, live_high) = (np.quantile(values, (0.01, 0.99)) for values in (golden_values, live_values))
    span, live_span = high - low, live_high - live_low
    generated = " (generated, as in live data)" if subject.is_shaped else ""
    text = f"golden rows {low:.3g} to {high:.3g}, live rows {live_low:.3g} to {live_high:.3g}{generated}"
    scaled = max(span, live_span) >= 2 * min(span, live_span)
    is_whole = not (live_values % 1).any()
    fractions = float((golden_values % 1 != 0).mean()) if is_whole else 0.0
    margin = live_span / 4
    outside = float(((golden_values < live_low - margin) | (golden_values > live_high + margin)).mean())
    enough = fractions >= 0.2 or varies.sum() >= _MIN_FEATURES
    if outside < 0.2 and not (scaled and enough):
        return Outcome(good=True, detail=f"{int(varies.sum()):,} features, {text}")
    levels = np.median([len(np.unique(_select_finite(column))) for column in golden[:, varies].T])
    if subject.is_shaped and not levels <= min(_MAX_LEVELS, len(golden) - 1):
        cause = (
            "the golden rows have more values than the tournament's features, so the model was trained on other data"
        )
        return Outcome(good=None, detail=f"{text}; {cause}", fix="set `validate.data` to rows of that data")
    names = [
        f"{sanitize(subject.bundle.features[index])} ({ranges[0][0][index]:.3g} to {ranges[0][1][index]:.3g}, "
        f"live {ranges[1][0][index]:.3g} to {ranges[1][1][index]:.3g})"
        for index in np.flatnonzero(varies)
    ]
    fix = f"train and export on values from {live_low:.3g} to {live_high:.3g}, or scale them in the model"
    fix += _suggest_exemption(subject, "range")
    cause = f"values are expected from {low:.3g} to {high:.3g}"
    return Outcome(good=False, detail=f"{cause}: {text}: {format_list(names, most=3)}", fix=fix)


def _find_ranges(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and the largest finite value of each column; infinity and -infinity if it has none."""
    finite = np.isfinite(values)
    low, high = (values.min(axis=0, where=finite, initial=np.inf), values.max(axis=0, where=finite, initial=-np.inf))
    return low, high


def _select_finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]
