"""Predict several inputs with a pickle in one locked container, and judge its predictions here.

The container gets the inputs by number: what each is for, and what is expected of the predictions, never enters it. The
predictions come back as bytes of a known length.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder import paths
from builder.bundle import model as bundle_model
from builder.engine import protocol
from builder.text import sanitize
from builder.validate import checks, container_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from builder.validate import data

_SCRIPT, _PLAN, _FOLDER = "predict_inputs.py", "plan.json", "inputs"
COMMAND = ("python", f"{protocol.WORKDIR}/{_SCRIPT}", f"{protocol.WORKDIR}/{_PLAN}")
SCRIPT_FILES: dict[str, bytes | Path] = {_SCRIPT: paths.inside_folder() / _SCRIPT}
"""What must be in the volume before :data:`COMMAND` starts."""
GOLDEN, LIVE = 0, 1  # the numbers of the first inputs
ALWAYS_PREDICTED = 3  # the golden rows, the live rows, and the first relation

MAX_ROWS, _MAX_VALUES = 1_000, 500_000  # the full width, 2,748 features, has 181 rows
_TOLERANCE = 1e-5  # of the range: memory layout and block sizes change float32 products
_RANK_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Input:
    """Frames to predict.

    Attributes:
        live: A table with a column ``id``.
        benchmarks: A table with a column ``id``.
        before_post: Whether to predict before post-processing.
        may_rank: Whether the predictions may be ranks even then.
        in_float64: Whether to predict a second time with all numbers of the model in float64.
    """

    live: pa.Table
    benchmarks: pa.Table
    before_post: bool = False
    may_rank: bool = False
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
class Relation:
    """Inputs that differ from the live rows in what must not change the predictions.

    Attributes:
        name: What differs.
        fix: What a model does that fails.
        input: The inputs, with the same ids as the live rows.
        is_required: Whether a failure is a finding; otherwise it is a note.
    """

    name: str
    fix: str
    input: Input
    is_required: bool = True


def read_live(files: data.LiveFiles, *, may_rank: bool, max_rows: int = MAX_ROWS) -> Input:
    """Return the first rows of live data, at most 1,000 and fewer of wide data, and their benchmark rows."""
    with pq.ParquetFile(files.live) as file:
        rows = min(max_rows, max(1, _MAX_VALUES // file.metadata.num_columns))
        batch = next(file.iter_batches(batch_size=rows))
        # Without the metadata of pandas, `id` is read as a column.
        live = pa.Table.from_batches([batch]).replace_schema_metadata(None)
    benchmarks = live.select(["id"])
    if files.benchmarks is not None:
        table = pq.read_table(files.benchmarks).replace_schema_metadata(None)
        benchmarks = table.filter(pc.is_in(table["id"], value_set=live["id"].combine_chunks()))
    return Input(live=live, benchmarks=benchmarks, before_post=True, may_rank=may_rank)


def select_features(live: Input, bundle: bundle_model.Bundle) -> Input:
    """Return the live rows with no other features than those of the model, in its order."""
    names = [name for name in ("id", "era", "data_type") if name in live.live.column_names]
    return replace(live, live=live.live.select([*names, *bundle.features]))


def make_relations(live: Input, bundle: bundle_model.Bundle, *, tied_to: str = "") -> list[Relation]:
    """Return the relations that are demanded of a model: the predictions must be the same by id.

    Args:
        live: The live rows.
        bundle: The model.
        tied_to: The data version if its features are the model's, which then may read every column; else empty.
    """
    random = np.random.default_rng(7)
    columns = _permute_columns(live.live, bundle.features, random)
    rows = live.live.take(random.permutation(len(live.live)))
    relations = [
        Relation(
            name="columns in another order, and columns that the model does not know",
            fix="read each column by its name, not by its position or a prefix",
            input=replace(live, live=columns),
        ),
        Relation(
            name="rows in another order",
            fix="let no prediction depend on the order of the rows",
            input=replace(live, live=rows),
            # A custom function may rank equal predictions by their order.
            is_required=not isinstance(bundle.model, bundle_model.Custom),
        ),
    ]
    if tied_to:
        known = set(live.live.column_names)
        ordered = columns.select([name for name in columns.column_names if name in known])
        relations[0] = replace(relations[0], name="columns in another order", input=replace(live, live=ordered))
        relations.append(
            Relation(
                name="columns that the model does not know",
                fix=f"it reads every feature of {tied_to}, so it is tied to this data version",
                input=replace(live, live=columns),
                is_required=False,
            )
        )
    whole = {name for name in bundle.features if live.live.schema.field(name).type == pa.int8()}
    for kind in (pa.float32(), pa.float64()) if whole else ():
        schema = pa.schema([field.with_type(kind) if field.name in whole else field for field in live.live.schema])
        relations.append(
            Relation(
                name=f"features as {'float32' if kind == pa.float32() else 'float64'}",
                fix="convert the features, such as `.astype('float64')`",
                input=replace(live, live=live.live.cast(schema)),
            )
        )
    if bundle.benchmarks:
        relations.append(
            Relation(
                name="benchmark rows and columns in another order, and more of both",
                fix="read each benchmark by its name, and its rows by id: `.reindex(live_features.index)`",
                input=replace(live, benchmarks=_permute_benchmarks(live.benchmarks, bundle.benchmarks, random)),
            )
        )
    return relations


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


def judge_relation(
    relation: Relation, predictions: NDArray[np.float64] | str, live: Input, expected: NDArray[np.float64]
) -> checks.Check:
    """Return the check of a relation.

    Args:
        relation: The relation.
        predictions: What the pickle predicted of its input, or why there is nothing.
        live: The live rows.
        expected: What the pickle predicted of them.
    """
    name, good = f"same values: {relation.name}", False if relation.is_required else None
    if isinstance(predictions, str):
        return checks.Check(name=name, good=good, detail=f"{predictions}; {relation.fix}")
    rows = {item: row for row, item in enumerate(relation.input.live["id"].to_pylist())}
    ids = live.live["id"].to_pylist()
    values = predictions[[rows[item] for item in ids]]
    with np.errstate(invalid="ignore", over="ignore"):
        bound = max(_TOLERANCE, _RANK_STEPS / len(ids) if live.may_rank else 0) * float(np.ptp(expected))
        differs = ~((np.abs(values - expected) <= bound) | (values == expected))
    if not differs.any():
        return checks.Check(name=name, good=True, detail=f"{len(ids):,} rows, bound {bound:.2g}")
    first = sanitize(str(ids[int(differs.argmax())]))
    detail = f"{int(differs.sum()):,} of {len(ids):,} rows differ, the first at id {first}; {relation.fix}"
    return checks.Check(name=name, good=good, detail=detail)


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


def make_plan(inputs: Sequence[Input], *, seconds: float, era_seconds: float, memory: int) -> dict[str, bytes | Path]:
    """Return the plan of :data:`COMMAND`, which waits for this file.

    Args:
        inputs: The inputs, the most important first.
        seconds: When it starts to predict no other input; the first :data:`ALWAYS_PREDICTED` are predicted anyway.
        era_seconds: How long it may measure frames of 200 eras.
        memory: The bytes that these may need.
    """
    plan = {
        "model": f"{protocol.WORKDIR}/{container_run.MODEL}",
        "folder": f"{protocol.WORKDIR}/{_FOLDER}",
        "results": protocol.RESULTS,
        "before_post": [number for number, item in enumerate(inputs) if item.before_post],
        "float64": [number for number, item in enumerate(inputs) if item.in_float64],
        "watched": [],
        "always": ALWAYS_PREDICTED,
        "seconds": seconds,
        "eras": {"number": min(LIVE, len(inputs) - 1), "seconds": era_seconds, "memory": memory},
    }
    return {_PLAN: json.dumps(plan).encode()}


def read_predictions(files: Mapping[str, bytes], number: int | str, rows: int) -> NDArray[np.float64] | str:
    """Return the predictions of an input: float64 (rows,), finite or not; or why there are none.

    Args:
        files: The files that came out of the container.
        number: The number of the input; followed by ``.float64`` for its second predictions.
        rows: How many live rows it has.
    """
    content = files.get(f"{number}.f64")
    if content is not None:
        if len(content) != 8 * rows:  # float64
            return f"the pickle returned {len(content):,} bytes of predictions; expected {8 * rows:,} for {rows:,} rows"
        return np.frombuffer(content, dtype="<f8").astype(np.float64)
    error = files.get(f"{number}.txt")
    if error is None:
        return "the pickle returned no predictions"
    return f"the pickle failed: {sanitize(error.decode('utf-8', 'replace'))}"
