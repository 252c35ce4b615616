"""Scenarios of what can happen in a round: a failure is a note for a custom function, and a finding for other kinds.

An input that a model cannot predict must raise an error that names what is missing: the log of a slot is all that a
user of the tournament sees.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from builder.bundle import model as bundle_model
from builder.bundle import post
from builder.bundle.kinds import catalog as kinds
from builder.text import format_list
from builder.validate import relations, scenarios
from builder.validate.scenarios import Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.validate.scenarios import Input, Results, Subject

_NAN = ("nan", "missing")
_NO_SUBMISSION = "a round with such rows would have no valid submission"
_MISSING_SHARE = 0.1  # of the values, in an input with NaN in places


def make_equal(subject: Subject) -> Input:
    """Return rows with equal features and benchmarks."""
    small = subject.small
    tables = []
    for table in (small.live, small.benchmarks):
        names = [name for name in table.column_names if name not in {"id", "era", "data_type"}]
        first = table.select(names).take(np.zeros(len(table), dtype=np.int64))
        tables.append(relations.set_columns(table, {name: first[name] for name in names}))
    return replace(small, live=tables[0], benchmarks=tables[1])


def make_notes(subject: Subject, *, equal: Input) -> Iterator[Scenario]:
    """Yield the advisory scenarios; ``equal`` is from :func:`make_equal`."""
    fix = "a round with such rows would have no valid submission; return the mean, such as 0.5, if there is no spread"
    notes = [
        *_make_missing(subject),
        *_make_one_row(subject),
        *_make_eras(subject),
        Scenario(
            name="all features equal in every row",
            inputs=(equal,),
            judge=relations.expect_finite(equal, fix),
        ),
        _make_second_call(subject),
    ]
    for note in notes:
        yield replace(note, is_required=note.is_required and not subject.is_custom)


def _make_missing(subject: Subject) -> Iterator[Scenario]:
    """Yield the scenarios in which something is missing."""
    small, features = subject.small, subject.bundle.features
    steps = post.find_required_columns(subject.steps)
    name = features[len(features) // 2]
    item = replace(small, live=small.live.drop_columns([name]))
    yield _make_named("a feature is missing", item, [name])
    item = replace(small, live=relations.set_columns(small.live, _add_missing(small.live, features)))
    yield _make_named("NaN in places", item, [*_NAN, *features])
    empty = pa.array(np.full(len(small.live), np.nan, dtype=np.float32))
    item = replace(small, live=relations.set_columns(small.live, {name: empty}))
    yield _make_named("one feature all NaN", item, [*_NAN, name])
    needs_era = subject.is_custom or steps.era or kinds.needs_era(subject.bundle.model)
    if needs_era and "era" in small.live.column_names:
        item = replace(small, live=small.live.drop_columns(["era"]))
        yield _make_named("era is missing", item, ["era"])
    benchmarks = [*dict.fromkeys([*subject.bundle.benchmarks, *steps.benchmarks])]
    if benchmarks:
        rows = np.arange(len(small.benchmarks))
        item = replace(small, benchmarks=small.benchmarks.take(rows[rows % 3 > 0]))
        yield _make_named("benchmark rows are missing", item, [*_NAN, "live_benchmark_models", *benchmarks])


def _add_missing(table: pa.Table, names: Sequence[str]) -> dict[str, pa.Array]:
    """Return columns as float32, with NaN in some rows."""
    random = np.random.default_rng(9)
    is_missing = random.random((len(names), len(table))) < _MISSING_SHARE
    columns = (table[name].to_numpy().astype(np.float32) for name in names)
    return {
        name: pa.array(np.where(mask, np.float32(np.nan), column))
        for name, mask, column in zip(names, is_missing, columns, strict=True)
    }


def _make_named(name: str, item: Input, words: Sequence[str]) -> Scenario:
    """Return the scenario that the predictions are finite, or that an error has one of these words."""

    def judge(results: Results) -> Outcome:
        values = results.read(item)
        if isinstance(values, str):
            # The end of the process names nothing, and Python calls arguments missing, too.
            text = "" if results.is_ended(item) else re.sub(r"missing \d+ required", "", values)
            if any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) for word in words):
                return Outcome(good=True, detail=f"an error that names it: {values}")
            detail = f"{values}; the error does not name it, so the log of a slot would not show why a round failed"
            return Outcome(good=False, detail=detail, fix="raise an error that names it, or predict without it")
        count = int((~np.isfinite(values)).sum())
        if not count:
            return Outcome(good=True, detail=f"{len(values):,} rows, all finite")
        detail = f"{count:,} of {len(values):,} predictions are not finite; {_NO_SUBMISSION}"
        return Outcome(good=False, detail=detail, fix="fill the values, such as by `.fillna(...)`")

    return Scenario(name=name, inputs=(item,), judge=judge)


def _make_one_row(subject: Subject) -> Iterator[Scenario]:
    small, known = subject.small, subject.small.benchmarks["id"]
    rows = pc.indices_nonzero(pc.is_in(small.live["id"], value_set=known.combine_chunks())).to_pylist()
    item = replace(small, live=small.live.slice(rows[0] if rows else 0, 1))
    fix = "a frame of one row has no spread and no ranks; return a number for it, such as 0.5"
    yield Scenario(name="one row", inputs=(item,), judge=relations.expect_finite(item, fix))


def _make_eras(subject: Subject) -> Iterator[Scenario]:
    """Yield the scenario that the predictions of an era do not depend on another one in the same frame."""
    small = subject.small
    half = len(small.live) // 2
    if "era" not in small.live.column_names or half < 2:
        return
    eras = pa.array(["0001"] * half + ["0002"] * half)
    table = relations.set_columns(small.live.slice(0, 2 * half), {"era": eras})
    table = _limit_features(table, subject, start=half)
    together, first, second = (replace(small, live=item) for item in (table, table.slice(0, half), table.slice(half)))

    def judge(results: Results) -> Outcome:
        values = [results.read(item) for item in (together, first, second)]
        arrays = [item for item in values if not isinstance(item, str)]
        if len(arrays) < len(values):
            problem = next(item for item in values if isinstance(item, str))
            return Outcome(good=False, detail=f"{problem}; the diagnostics of a slot predict many eras in one frame")
        pairs = zip(np.split(arrays[0], 2), arrays[1:], strict=True)
        differs = np.concatenate(
            [
                scenarios.find_differences(part, expected, first, ties=scenarios.count_ties(expected))
                for part, expected in pairs
            ]
        )
        if not differs.any():
            return Outcome(good=True, detail=f"2 eras of {half:,} rows")
        cause = (
            "predictions of one era depend on the other, as with a rank over the whole frame: the diagnostics of a "
            "slot, which predict many eras in one frame, differ from its rounds"
        )
        fix = "rank in each era, such as `.groupby(live_features['era']).rank(pct=True)`"
        return Outcome(good=False, detail=f"{int(differs.sum()):,} of {len(differs):,} rows differ; {cause}", fix=fix)

    members = subject.bundle.model.members if isinstance(subject.bundle.model, bundle_model.Ensemble) else ()
    mixes_eras = any(getattr(step, "scope", "era") == "frame" for step in subject.steps) or any(
        member.transform != "raw" and member.scope == "frame" for member in members
    )
    yield Scenario(
        name="same values: two eras together, and each alone",
        inputs=(together, first, second),
        judge=judge,
        is_required=not mixes_eras,
    )


def _limit_features(table: pa.Table, subject: Subject, *, start: int) -> pa.Table:
    """Return a table whose features are at most the median from a row on, so that these rows rank otherwise alone."""
    _, median, _ = subject.find_levels()
    is_limited = np.arange(len(table)) >= start
    columns = {}
    for name in subject.bundle.features:
        values = table[name].to_numpy()
        columns[name] = pa.array(np.where(is_limited, np.minimum(values, median), values).astype(values.dtype))
    return relations.set_columns(table, columns)


def _make_second_call(subject: Subject) -> Scenario:
    """Return the scenario that the live rows are predicted again as before, after all other inputs."""
    live = subject.live
    again = replace(live, is_watched=True)

    def judge(results: Results) -> Outcome:
        expected = results.read(live)
        if isinstance(expected, str):
            return Outcome(good=False, detail=expected)
        difference = scenarios.compare(results.read(again), again, expected, live)
        if difference is not None:
            fix = "keep nothing between calls: a process may predict several frames"
            return Outcome(good=False, detail=difference, fix=fix)
        if changed := results.find_changed_frames(again):
            fix = "predict on a copy, such as `live_features.copy()`"
            return Outcome(good=False, detail=f"the function changes {format_list(changed)}", fix=fix)
        return Outcome(good=True, detail=f"{len(expected):,} rows, inputs unchanged (reported from inside)")

    return Scenario(name="same values: a second call", inputs=(again,), judge=judge)
