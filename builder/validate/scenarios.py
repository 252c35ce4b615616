"""Predict several inputs with a pickle in one locked container, and judge its predictions here.

The container gets the inputs by number: what each is for, and what is expected of the predictions, never enters it. The
predictions come back as bytes of a known length.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from builder import paths
from builder.engine import protocol
from builder.text import sanitize
from builder.validate import container_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from builder.bundle import model as bundle_model

_SCRIPT, _PLAN, _FOLDER = "predict_inputs.py", "plan.json", "inputs"
COMMAND = ("python", f"{protocol.WORKDIR}/{_SCRIPT}", f"{protocol.WORKDIR}/{_PLAN}")


@dataclass(frozen=True, kw_only=True)
class Input:
    """Frames to predict: tables with a column ``id``, and whether to predict before post-processing."""

    live: pa.Table
    benchmarks: pa.Table
    before_post: bool = False


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


def make_files(inputs: Sequence[Input]) -> dict[str, bytes | Path]:
    """Return the files that :data:`COMMAND` reads, by name, besides ``model.pkl``."""
    plan = {
        "model": f"{protocol.WORKDIR}/{container_run.MODEL}",
        "folder": f"{protocol.WORKDIR}/{_FOLDER}",
        "results": protocol.RESULTS,
        "before_post": [number for number, item in enumerate(inputs) if item.before_post],
    }
    files: dict[str, bytes | Path] = {
        _SCRIPT: paths.inside_folder() / _SCRIPT,
        _PLAN: json.dumps(plan).encode(),
    }
    for number, item in enumerate(inputs):
        for name, table in (("live", item.live), ("benchmarks", item.benchmarks)):
            stream = io.BytesIO()
            # 2.4 is the oldest format that keeps int8; the oldest images have pyarrow 11.
            pq.write_table(table, stream, version="2.4", compression="none", data_page_version="1.0")
            files[f"{_FOLDER}/{number}.{name}.parquet"] = stream.getvalue()
    return files


def read_predictions(files: Mapping[str, bytes], number: int, rows: int) -> NDArray[np.float64] | str:
    """Return the predictions of an input: float64 (rows,), finite or not; or why there are none.

    Args:
        files: The files that came out of the container.
        number: The number of the input.
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
