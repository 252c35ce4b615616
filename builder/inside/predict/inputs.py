"""From the frames that the tournament hands over to blocks of numbers that a model takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

BLOCK_BYTES = 20_000_000


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
    if (found < 0).any():
        missing = [name for name, place in zip(wanted, found, strict=True) if place < 0]
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
    part = frame.iloc[start:stop].take(place, axis=1)  # rows first: taking columns copies
    # A plain frame gives up its numbers without a copy; a nullable or Arrow column has to be asked for a type.
    return (part.to_numpy() if plain else part.to_numpy(dtype=np.float64, na_value=np.nan)).T


def fill_block(model: Any, values: Any, benchmarks: Any, block: Any) -> None:
    """Write one block's inputs, missing ones imputed: ``block`` (inputs, rows) in float32 or float64.

    Where a centre is so large that the sums would lose the differences (``far``), it is taken off in float64 first.
    """
    count = len(values)
    block[:count] = values
    block[count:] = benchmarks
    unsure = block if values.dtype.kind == "f" else block[count:]  # whole numbers are never missing
    missing = np.isnan(unsure)
    if missing.any():
        np.copyto(unsure, model["imputation"][-len(unsure) :, None], where=missing)
    for place, imputation, centre in model["far"]:
        exact = (values[place] if place < count else benchmarks[place - count]).astype(np.float64)
        exact[np.isnan(exact)] = imputation
        block[place] = exact - centre


def look_up(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the features' places, their types, whether all are plain numbers; and the benchmarks (benchmarks, rows).

    How many rows lack a benchmark is printed: the run's log is all that anybody sees.

    Raises:
        ValueError: there are no rows, or a column that the model takes is missing.
    """
    if len(live_features) == 0:
        raise ValueError("live_features has no rows")
    place = positions(live_features.columns, pd.Index(model["features"]), "live_features")
    benchmarks = benchmark_rows(model, live_benchmark_models, live_features.index)
    for name, count in zip(model["benchmarks"], np.isnan(benchmarks).sum(axis=1), strict=True):
        if count:
            print(f"numerai-builder: {count} of {len(live_features)} rows have no {name}, an input of the model")
    types = live_features.dtypes.iloc[place].unique()  # thousands of columns, very few types
    plain = all(isinstance(one, np.dtype) and one.kind in "iuf" for one in types)
    return place, types, plain, benchmarks


def blocks(model: Any, live_features: Any, live_benchmark_models: Any, like: Any, row_bytes: int) -> Any:
    """Yield (start, stop, block) for all rows; ``block`` is (inputs and more, rows), what is beyond the inputs ones.

    It has as many rows as the array ``like`` has columns, and its dtype: that of the weights it is multiplied by.

    Rows are taken a block at a time so that memory does not grow with them; ``row_bytes`` is what the model keeps for a
    row beside the block. The array is used again for the next block.

    Raises:
        ValueError: there are no rows, or a column that the model takes is missing.
    """
    rows, count = len(live_features), len(model["features"])
    place, types, plain, benchmarks = look_up(model, live_features, live_benchmark_models)
    inputs, kind = count + len(benchmarks), like.dtype
    taken = count * (max(one.itemsize for one in types) if plain else 8)  # freed before the model works on the block
    most = max(64, BLOCK_BYTES // (inputs * kind.itemsize + max(taken, row_bytes)))
    # As few blocks as fit, and all of one size: each costs the products another pass over the weights.
    step = -(-rows // -(-rows // most))
    # A cache line's worth of rows divides a block: each of its rows begins with a line.
    block = np.ones((like.shape[1], -(-step // 16) * 16), dtype=kind)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        part = block[:, : stop - start]
        values = block_values(live_features, place, start, stop, plain=plain)
        fill_block(model, values, benchmarks[:, start:stop], part[:inputs])
        del values  # as large as the layers' own arrays
        yield start, stop, part
