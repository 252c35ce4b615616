"""From the frames that the tournament hands over to blocks of numbers that a model takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

BLOCK_BYTES = 12_000_000


def list_some(names: Any) -> str:
    """Return the first names of many, and how many there are."""
    shown = ", ".join(repr(name) for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def positions(columns: Any, wanted: Any, frame_name: str) -> Any:
    """Return where each wanted column stands: intp (wanted,).

    Raises:
        ValueError: one is missing, or there twice.
    """
    if not columns.is_unique:
        doubles = columns[columns.duplicated()]
        raise ValueError(f"{frame_name} has columns twice: {list_some(list(doubles))}")
    found = columns.get_indexer(wanted)
    missing = [name for name, place in zip(wanted, found, strict=True) if place < 0]
    if missing:
        raise ValueError(f"{frame_name} lacks {len(missing)} of {len(wanted)} columns: {list_some(missing)}")
    return found


def benchmark_rows(model: Any, frame: Any, index: Any) -> Any:
    """Return the benchmark inputs for the ids of ``index``: float64 (benchmarks, rows), NaN where there is none.

    Raises:
        ValueError: there is no frame, a column is missing, or an id is there twice.
    """
    wanted = model["benchmarks"]
    if not wanted:
        return np.empty((0, len(index)))
    if frame is None:
        raise ValueError(f"live_benchmark_models is None, and the model takes {list_some(wanted)} from it")
    place = positions(frame.columns, wanted, "live_benchmark_models")
    if not frame.index.is_unique:
        doubles = frame.index[frame.index.duplicated()]
        raise ValueError(f"live_benchmark_models has ids twice: {list_some(list(doubles))}")
    return frame.take(place, axis=1).reindex(index).to_numpy(dtype=np.float64, na_value=np.nan).T


def block_values(frame: Any, place: Any, start: int, stop: int, *, plain: bool) -> Any:
    """Return the features of some rows, in whatever numeric type the frame has them: (features, rows)."""
    part = frame.iloc[start:stop].take(place, axis=1)
    # A plain frame gives up its numbers without a copy; a nullable or Arrow column has to be asked for a type.
    return (part.to_numpy() if plain else part.to_numpy(dtype=np.float64, na_value=np.nan)).T


def fill_block(model: Any, values: Any, benchmarks: Any, block: Any) -> None:
    """Write one block's inputs, missing ones imputed: float32 ``block`` (inputs, rows).

    Where the model has a ``shift`` (centres so large that float32 would lose the differences), it is taken off in
    float64 first.
    """
    count, shift = len(values), model["shift"]
    exact = shift is not None
    target = np.empty(block.shape) if exact else block
    target[:count] = values
    target[count:] = benchmarks
    if values.dtype.kind not in "iub" or len(benchmarks):
        missing = np.isnan(target)
        if missing.any():
            np.copyto(target, model["imputation"][:, None], where=missing)
    if exact:
        np.subtract(target, shift[:, None], out=block, casting="unsafe")


def blocks(model: Any, live_features: Any, live_benchmark_models: Any, widest: int) -> Any:
    """Yield (start, stop, float32 (inputs, rows)) for all rows; the array is used again for the next block.

    Rows are taken a block at a time so that memory does not grow with them; ``widest`` is the number of float32 values
    that the model's layers keep for a row.

    Raises:
        ValueError: there are no rows, or a column that the model takes is missing.
    """
    rows, count = len(live_features), len(model["features"])
    if rows == 0:
        raise ValueError("live_features has no rows")
    place = positions(live_features.columns, pd.Index(model["features"]), "live_features")
    benchmarks = benchmark_rows(model, live_benchmark_models, live_features.index)
    plain = all(isinstance(kind, np.dtype) and kind.kind in "iubf" for kind in live_features.dtypes.iloc[place])
    inputs = count + len(benchmarks)
    step = max(64, BLOCK_BYTES // (4 * (inputs + widest)))
    block = np.empty((inputs, min(step, rows)), dtype=np.float32)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        part = block[:, : stop - start]
        fill_block(model, block_values(live_features, place, start, stop, plain=plain), benchmarks[:, start:stop], part)
        yield start, stop, part
