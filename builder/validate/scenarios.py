"""Predict several inputs with a pickle in one locked container, and judge its predictions here.

The container gets the inputs by number: what each is for, and what is expected of the predictions, never enters it. The
predictions come back as bytes of a known length.
"""

from __future__ import annotations

import functools
import io
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from builder import paths
from builder.bundle import model as bundle_model
from builder.bundle import post, prediction
from builder.engine import protocol
from builder.text import sanitize
from builder.validate import checks, container_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from builder.validate import data

_SCRIPT, _PLAN, _FOLDER = "predict_inputs.py", "plan.json", "inputs"
COMMAND = ("python", f"{protocol.WORKDIR}/{_SCRIPT}", f"{protocol.WORKDIR}/{_PLAN}")


SCRIPT_FILES: dict[str, bytes | Path] = {_SCRIPT: paths.inside_folder() / _SCRIPT}
"""What must be in the volume before :data:`COMMAND` starts."""
GOLDEN, LIVE = 0, 1  # the numbers of the first inputs
_NO_PREDICTIONS = "the pickle returned no predictions"
FRAMES = ("live_features", "live_benchmark_models")
MAX_ROWS, _MAX_VALUES = 1_000, 500_000  # the full width, 2,748 features, has 181 rows
_SMALL_ROWS, _SMALL_VALUES, _MIN_SMALL_ROWS = 200, 100_000, 8
_RANKING = {"rank", "gaussianize"}
_RANK_STEPS = 3  # a difference in the last digit can swap the ranks of rows that are nearly equal

Predictions = NDArray[np.float64] | str
"""Predictions, float64 (rows,), or why there are none."""


@dataclass(frozen=True, kw_only=True, eq=False)  # one input, one prediction: compared by identity
class Input:
    """Frames to predict.

    Attributes:
        live: A table with a column ``id``.
        benchmarks: A table with a column ``id``.
        before_post: Whether to predict before post-processing.
        may_rank: Whether the predictions may be ranks.
        is_watched: Whether to report which frames the pickle changes.
        in_float64: Whether to predict again with the numbers of the model in float64.
    """

    live: pa.Table
    benchmarks: pa.Table
    before_post: bool = False
    may_rank: bool = False
    is_watched: bool = False
    in_float64: bool = False


def make_golden_input(bundle: bundle_model.Bundle) -> Input:
    """Return the inputs of the golden rows, with generated ids and one era."""
    rows, count = len(bundle.golden.inputs), len(bundle.features)
    common = {"id": [f"n{row:015x}" for row in range(rows)], "era": ["X"] * rows}
    values = [np.ascontiguousarray(column) for column in bundle.golden.inputs.T]
    return Input(
        live=pa.table({**common, "data_type": ["live"] * rows, **dict(zip(bundle.features, values, strict=False))}),
        benchmarks=pa.table({**common, **dict(zip(bundle.benchmarks, values[count:], strict=True))}),
        before_post=True,
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Whether a scenario has the expected outcome (None: that cannot be judged); and a detail and fix as in a check."""

    good: bool | None
    detail: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Inputs with an expected outcome.

    Attributes:
        name: What is expected.
        inputs: The inputs whose predictions are judged.
        judge: Returns the outcome.
        evidence: More inputs, whose predictions show the cause of a failure.
        is_required: Whether a failure is a finding; otherwise it is a note.
        key: By what a config exempts it; empty if it cannot.
    """

    name: str
    inputs: tuple[Input, ...]
    judge: Callable[[Results], Outcome]
    evidence: tuple[Input, ...] = ()
    is_required: bool = True
    key: str = ""


class Results:
    """The predictions of inputs, out of the files that came from the container.

    Attributes:
        left_out: The inputs for which there was no time.

    ``end`` is how the container ended if it did before it had predicted all inputs.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        files: Mapping[str, bytes],
        *,
        end: str = "",
        left_out: frozenset[Input] = frozenset(),
    ) -> None:
        self.left_out = left_out
        self._numbers = {item: number for number, item in enumerate(inputs)}
        self._files, self._end = files, end

    def read(self, item: Input) -> Predictions:
        """Return the predictions of an input, or why there are none."""
        predictions = read_predictions(self._files, self._numbers[item], len(item.live))
        if isinstance(predictions, str) and predictions == _NO_PREDICTIONS and self._end:
            return f"{predictions}: {self._end}"
        return predictions

    def is_ended(self, item: Input) -> bool:
        """Return whether the process ended before it had predicted an input, instead of raising an error."""
        return read_predictions(self._files, self._numbers[item], len(item.live)) == _NO_PREDICTIONS

    def find_changed_frames(self, item: Input) -> list[str]:
        """Return the names of the frames that the pickle changed, as reported from inside the container."""
        names = self._files.get(f"{self._numbers[item]}.changed", b"").split(b",")
        return [name for name in FRAMES if name.encode() in names]

    def differs(self, item: Input, reference: Input) -> bool:
        """Return whether an input has other predictions than a reference with the same ids, or none."""
        expected = self.read(reference)
        if item in self.left_out or not len(item.live):  # no row, if no live row has a benchmark row
            return False
        return not isinstance(expected, str) and compare(self.read(item), item, expected, reference) is not None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the scenarios are made for.

    Attributes:
        bundle: The bundle of the pickle.
        steps: The post-processing steps of the pickle.
        live: Live rows, predicted before post-processing.
        final: The same rows after post-processing; without steps, ``live`` itself.
        small: The first of these rows, after post-processing: enough to see whether something works.
        sample: The first live rows, for their values: more than ``live`` has if that is cut for a slow model.
        is_shaped: Whether the rows are generated.
        tied_to: The data version if its features are the model's, which then may read every column; else empty.
    """

    bundle: bundle_model.Bundle
    steps: tuple[post.Step, ...]
    live: Input
    final: Input
    small: Input
    sample: pa.Table
    is_shaped: bool
    tied_to: str = ""

    @property
    def is_custom(self) -> bool:
        """Whether the model is a custom function, which may be exempt from relations."""
        return isinstance(self.bundle.model, bundle_model.Custom)

    @functools.cached_property
    def features(self) -> NDArray[np.float64]:
        """The sample's values of the bundle's features: float64 (rows, features), NaN if missing."""
        columns = [self.sample[name].to_numpy().astype(np.float64) for name in self.bundle.features]
        return np.column_stack(columns)

    @functools.cached_property
    def equal_rows(self) -> int:
        """How many of the live rows at most have the same features."""
        _, counts = np.unique(self.features[: len(self.live.live)], axis=0, return_counts=True)
        return int(counts.max())

    def find_levels(self) -> tuple[float, float, float]:
        """Return the smallest value, the median and the largest value of all features; they are values that occur."""
        values = self.features
        values = values[np.isfinite(values)]
        if not len(values):
            return 0.0, 0.0, 1.0
        smallest, median, largest = np.quantile(values, (0, 0.5, 1), method="nearest").tolist()
        return smallest, median, largest


def make_subject(
    bundle: bundle_model.Bundle,
    steps: tuple[post.Step, ...],
    files: data.LiveFiles,
    *,
    is_shaped: bool = True,
    tied_to: str = "",
    max_rows: int = MAX_ROWS,
) -> Subject:
    """Read the live rows that the scenarios are made from: at most ``max_rows``, and fewer of wide data."""
    model = bundle.model
    may_rank = isinstance(model, bundle_model.Custom) or (
        isinstance(model, bundle_model.Ensemble) and any(member.transform != "raw" for member in model.members)
    )
    live = read_live(files, may_rank=may_rank)
    sample, cut = live.live, live.live.slice(0, max_rows)
    live = replace(live, live=cut, benchmarks=_select_ids(live.benchmarks, cut))
    may_rank = may_rank or any(post.get_step_name(step) in _RANKING for step in steps)
    final = replace(live, before_post=False, may_rank=may_rank) if steps else live
    rows = max(_MIN_SMALL_ROWS, min(_SMALL_ROWS, _SMALL_VALUES // live.live.num_columns))
    small = replace(final, live=live.live.slice(0, rows))
    return Subject(
        bundle=bundle,
        steps=steps,
        live=live,
        final=final,
        small=small,
        sample=sample,
        is_shaped=is_shaped,
        tied_to=tied_to,
    )


def list_inputs(first: Sequence[Input], scenarios: Sequence[Scenario]) -> list[Input]:
    """Return all inputs in the order in which they are predicted: what judges before what explains."""
    required = [item for scenario in scenarios if scenario.is_required for item in scenario.inputs]
    others = [item for scenario in scenarios for item in scenario.inputs]
    evidence = [item for scenario in scenarios for item in scenario.evidence]
    return list(dict.fromkeys([*first, *required, *others, *evidence]))


def judge(
    scenarios: Sequence[Scenario], results: Results, live: Input, exempt: Mapping[str, str]
) -> list[checks.Check]:
    """Return the check of each scenario for which there was time; one only, if there is nothing to compare with.

    Args:
        scenarios: The scenarios.
        results: The predictions.
        live: The live rows.
        exempt: The reasons why some scenarios are notes, by their keys.
    """
    expected = results.read(live)
    if isinstance(expected, str):
        fix = "predict any part of the live rows; rows without a benchmark need `.reindex(live_features.index)`"
        return [checks.Check(name="live rows", good=False, detail=expected, fix=fix)]
    judged = []
    for scenario in scenarios:
        if not results.left_out.isdisjoint(scenario.inputs):
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # predictions can be any numbers
            outcome = scenario.judge(results)
        good = None if outcome.good is False and not scenario.is_required else outcome.good
        detail, fix = outcome.detail, outcome.fix
        if good is False and scenario.key in exempt:
            good, detail, fix = None, f"exempt ({exempt[scenario.key]}): {detail}", ""
        judged.append(checks.Check(name=scenario.name, good=good, detail=detail, fix=fix))
    return judged


def count_ties(predictions: NDArray[np.float64]) -> int:
    """Return how many rows at most have the same prediction.

    Equal rows at other positions of a block can differ in the last digit, and then they have different ranks.
    """
    return int(np.unique(predictions, return_counts=True)[1].max())


def compute_bound(expected: NDArray[np.float64], reference: Input, *, ties: int = 0) -> float:
    """Return how far predictions may be from the expected ones, those of ``reference``.

    ``ties``: how many rows with the same prediction may be ranked one after the other.
    """
    steps = max(_RANK_STEPS, ties) / len(expected) if reference.may_rank else 0.0
    return max(prediction.compute_tolerance(expected), steps * float(np.ptp(expected)))


def find_differences(
    values: NDArray[np.float64], expected: NDArray[np.float64], reference: Input, *, ties: int = 0
) -> NDArray[np.bool_]:
    """Return which rows differ from the expected predictions: bool (rows,). Arguments: see ``compute_bound``."""
    is_near = np.abs(values - expected) <= compute_bound(expected, reference, ties=ties)
    differs: NDArray[np.bool_] = ~(is_near | (values == expected))
    return differs


def compare(
    predictions: Predictions, item: Input, expected: NDArray[np.float64], reference: Input, *, ties: int = 0
) -> str | None:
    """Compare the predictions of an input with those of a reference by id; return what differs, None if nothing does.

    Args:
        predictions: What the pickle predicted of the input, or why there is nothing.
        item: The input.
        expected: What it predicted of the reference.
        reference: An input with the same ids.
        ties: See ``compute_bound``.
    """
    if isinstance(predictions, str):
        return predictions
    rows = {name: row for row, name in enumerate(item.live["id"].to_pylist())}
    ids = reference.live["id"].to_pylist()
    differs = find_differences(predictions[[rows[name] for name in ids]], expected, reference, ties=ties)
    if not differs.any():
        return None
    return f"{int(differs.sum()):,} of {len(ids):,} rows differ, the first at id {sanitize(str(ids[differs.argmax()]))}"


def read_live(files: data.LiveFiles, *, may_rank: bool) -> Input:
    """Return the first rows of live data, at most 1,000 and fewer of wide data, and their benchmark rows."""
    with pq.ParquetFile(files.live) as file:
        rows = min(MAX_ROWS, max(1, _MAX_VALUES // file.metadata.num_columns))
        live = _with_text_ids(pa.Table.from_batches([next(file.iter_batches(batch_size=rows))]))
    benchmarks = live.select(["id"])
    if files.benchmarks is not None:
        benchmarks = _select_ids(_with_text_ids(pq.read_table(files.benchmarks)), live)
    return Input(live=live, benchmarks=benchmarks, before_post=True, may_rank=may_rank)


def _select_ids(table: pa.Table, other: pa.Table) -> pa.Table:
    return table.filter(pc.is_in(table["id"], value_set=other["id"].combine_chunks()))


def _with_text_ids(table: pa.Table) -> pa.Table:
    """Return a table without the metadata of pandas, in which ids of any type are strings, as they are in a CSV."""
    ids = table["id"].cast(pa.string())
    return table.set_column(table.column_names.index("id"), "id", ids).replace_schema_metadata(None)


def select_features(live: Input, bundle: bundle_model.Bundle) -> Input:
    """Return the live rows with no other features than those of the model, in its order."""
    names = [name for name in ("id", "era", "data_type") if name in live.live.column_names]
    return replace(live, live=live.live.select([*names, *bundle.features]))


def make_files(inputs: Sequence[Input]) -> dict[str, bytes | Path]:
    """Return the files that :data:`COMMAND` reads, by name, besides ``model.pkl``, its script and its plan."""
    files: dict[str, bytes | Path] = {}
    for number, item in enumerate(inputs):
        for name, table in (("live", item.live), ("benchmarks", item.benchmarks)):
            stream = io.BytesIO()
            # An Arrow file, which is a feather file: thousands of columns take milliseconds.
            with pa.ipc.new_file(stream, table.schema) as writer:
                writer.write_table(table)
            files[f"{_FOLDER}/{number}.{name}.feather"] = stream.getvalue()
    return files


def make_plan(
    inputs: Sequence[Input], *, always: int, seconds: float, era_seconds: float, memory: int
) -> dict[str, bytes | Path]:
    """Return the plan of :data:`COMMAND`, which waits for this file.

    Args:
        inputs: The inputs, the most important first.
        always: How many of the first inputs are predicted in any case.
        seconds: When it starts to predict no other input.
        era_seconds: How long it may measure frames of 200 eras.
        memory: The bytes that these may need.
    """
    plan = {
        "model": f"{protocol.WORKDIR}/{container_run.MODEL}",
        "folder": f"{protocol.WORKDIR}/{_FOLDER}",
        "results": protocol.RESULTS,
        "before_post": [number for number, item in enumerate(inputs) if item.before_post],
        "float64": [number for number, item in enumerate(inputs) if item.in_float64],
        "watched": [number for number, item in enumerate(inputs) if item.is_watched],
        "always": always,
        "seconds": seconds,
        "eras": {"number": min(LIVE, len(inputs) - 1), "seconds": era_seconds, "memory": memory},
    }
    return {_PLAN: json.dumps(plan).encode()}


def get_file_name(number: int | str) -> str:
    """Return the name of the file with the predictions of an input."""
    return f"{number}.f64"


def read_predictions(files: Mapping[str, bytes], number: int | str, rows: int) -> Predictions:
    """Return the predictions of an input: float64 (rows,), finite or not; or why there are none.

    Args:
        files: The files that came out of the container.
        number: The number of the input.
        rows: How many live rows it has.
    """
    content = files.get(get_file_name(number))
    if content is not None:
        if len(content) != 8 * rows:  # float64
            return f"the pickle returned {len(content):,} bytes of predictions; expected {8 * rows:,} for {rows:,} rows"
        return np.frombuffer(content, dtype="<f8").astype(np.float64)
    error = files.get(f"{number}.txt")
    if error is None:
        return _NO_PREDICTIONS
    return f"the pickle failed: {sanitize(error.decode('utf-8', 'replace'))}"
