"""Turn the frames that the tournament passes into blocks of numbers for a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

BLOCK_BYTES = 20_000_000


def format_names(names: Any) -> str:
    """Return the first five names, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def find_positions(columns: Any, names: Any, frame_name: str) -> Any:
    """Return the positions of columns in a frame: intp (names,).

    Raises:
        ValueError: A column is missing, or the frame has two columns of one name.
    """
    if not columns.is_unique:
        duplicates = columns[columns.duplicated()]
        raise ValueError(f"{frame_name} has columns twice: {format_names(list(duplicates))}")
    positions = columns.get_indexer(names)
    if (positions < 0).any():
        missing = [name for name, position in zip(names, positions, strict=True) if position < 0]
        raise ValueError(f"{frame_name} is missing {len(missing)} of {len(names)} columns: {format_names(missing)}")
    return positions


def align_benchmarks(model: Any, frame: Any, index: Any) -> Any:
    """Return the benchmark inputs for the ids of ``index``: float64 (benchmarks, rows), NaN for missing values.

    Raises:
        ValueError: There is no frame, a column is missing, or an id is repeated.
    """
    names = model["benchmarks"]
    if not names:
        return np.empty((0, len(index)))
    if frame is None:
        raise ValueError(f"live_benchmark_models is None, and the model takes {format_names(names)} from it")
    positions = find_positions(frame.columns, names, "live_benchmark_models")
    if not frame.index.is_unique:
        duplicates = frame.index[frame.index.duplicated()]
        raise ValueError(f"live_benchmark_models has ids twice: {format_names(list(duplicates))}")
    return frame.take(positions, axis=1).reindex(index).to_numpy(dtype=np.float64, na_value=np.nan).T


def get_features(frame: Any, positions: Any, start: int, stop: int, *, is_numpy: bool) -> Any:
    """Return the features of some rows in the numeric dtype of the frame: (features, rows).

    ``is_numpy``: all columns are numpy arrays of numbers, which can be had without a copy. Nullable and Arrow columns
    have to be converted.
    """
    part = frame.iloc[start:stop].take(positions, axis=1)  # rows first, because taking columns copies
    return (part.to_numpy() if is_numpy else part.to_numpy(dtype=np.float64, na_value=np.nan)).T


def fill_block(model: Any, values: Any, benchmarks: Any, block: Any) -> None:
    """Write the inputs of some rows to ``block`` (inputs, rows), float32 or float64, and impute missing values.

    For the inputs in ``far`` the centre is subtracted here, in float64 (``inside.fold.network``).
    """
    count = len(values)
    block[:count] = values
    block[count:] = benchmarks
    nullable = block if values.dtype.kind == "f" else block[count:]  # integers have no NaN
    missing = np.isnan(nullable)
    if missing.any():
        np.copyto(nullable, model["imputation"][-len(nullable) :, None], where=missing)
    for index, imputation, centre in model["far"]:
        exact = (values[index] if index < count else benchmarks[index - count]).astype(np.float64)
        exact[np.isnan(exact)] = imputation
        block[index] = exact - centre


def find_inputs(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the features' positions, their dtypes, whether all are numpy numbers; and the benchmarks.

    The benchmarks are float64 (benchmarks, rows). The number of rows without one is printed, because the log is all
    that a user of the tournament sees of a run.

    Raises:
        ValueError: There are no rows, or a column that the model takes is missing.
    """
    if len(live_features) == 0:
        raise ValueError("live_features has no rows")
    positions = find_positions(live_features.columns, pd.Index(model["features"]), "live_features")
    benchmarks = align_benchmarks(model, live_benchmark_models, live_features.index)
    for name, count in zip(model["benchmarks"], np.isnan(benchmarks).sum(axis=1), strict=True):
        if count:
            print(f"numerai-builder: {count} of {len(live_features)} rows have no {name}, an input of the model")
    dtypes = live_features.dtypes.iloc[positions].unique()  # thousands of columns, but very few dtypes
    is_numpy = all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in dtypes)
    return positions, dtypes, is_numpy, benchmarks


def iter_blocks(model: Any, live_features: Any, live_benchmark_models: Any, like: Any, row_bytes: int) -> Any:
    """Yield (start, stop, block) for all rows; ``block`` is (at least inputs, rows), filled up with ones.

    Rows are processed a block at a time so that memory does not grow with their number. The array is reused for the
    next block.

    Args:
        model: The folded model.
        live_features: As passed to predict.
        live_benchmark_models: As passed to predict.
        like: An array like the weights that blocks are multiplied by: a block has as many rows as this has columns, and
            its dtype.
        row_bytes: The bytes that the model needs per row besides the block.

    Raises:
        ValueError: There are no rows, or a column that the model takes is missing.
    """
    rows, count = len(live_features), len(model["features"])
    positions, dtypes, is_numpy, benchmarks = find_inputs(model, live_features, live_benchmark_models)
    inputs, dtype = count + len(benchmarks), like.dtype
    # The part of the frame is freed before the model works on the block, so only the larger of the two counts.
    source_bytes = count * (max(dtype.itemsize for dtype in dtypes) if is_numpy else 8)
    max_rows = max(64, BLOCK_BYTES // (inputs * dtype.itemsize + max(source_bytes, row_bytes)))
    # As few blocks as possible and all of one size: for each block the products read all weights again.
    step = -(-rows // -(-rows // max_rows))
    # A multiple of 16 float32 numbers, so that each row of the block begins at a cache line.
    block = np.ones((like.shape[1], -(-step // 16) * 16), dtype=dtype)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        part = block[:, : stop - start]
        values = get_features(live_features, positions, start, stop, is_numpy=is_numpy)
        fill_block(model, values, benchmarks[:, start:stop], part[:inputs])
        del values  # as large as the arrays of the layers
        yield start, stop, part
