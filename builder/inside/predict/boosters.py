"""Predict with boosters: the image's own library loads the file and predicts a block of rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import BLOCK_BYTES, find_inputs, get_features
from .nodes import preprocess, run_nodes
from .threads import read_cpu_quota


def encode_categories(categories: Any, block: Any) -> None:
    """Replace each category in ``block`` (rows, n) by its position in the list of categories, or NaN if not in it."""
    for group in categories:
        values, positions = group["values"], group["positions"]
        for column in group["inputs"]:
            inputs = block[:, column]
            index = np.minimum(np.searchsorted(values, inputs), len(values) - 1)  # NaN is sorted behind the last
            block[:, column] = np.where(values[index] == inputs, positions[index], np.nan)


def iter_booster_blocks(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Yield (start, stop, block) for all rows; ``block`` is (rows, n), float64 if float32 would not be exact.

    The array may be reused for the next block.

    Raises:
        ValueError: There are no rows, or a column that the model takes is missing.
    """
    rows, count = len(live_features), len(model["features"])
    columns, dtypes, is_numpy, benchmarks = find_inputs(model, live_features, live_benchmark_models)
    exact = is_numpy and not len(benchmarks) and all(np.can_cast(dtype, np.float32) for dtype in dtypes)
    inputs, preprocessing = count + len(benchmarks), model["prepare"]
    dtype = np.dtype(np.float32 if exact and preprocessing is None else np.float64)
    source_bytes = count * (max(dtype.itemsize for dtype in dtypes) if is_numpy else 8)
    max_rows = max(64, BLOCK_BYTES // (inputs * dtype.itemsize + max(source_bytes, model["row_bytes"])))
    step = -(-rows // -(-rows // max_rows))
    # Preprocessing works on one input of all rows at a time, boosters on all inputs of one row.
    block = np.empty((step, inputs) if preprocessing is None else (inputs, step), dtype=dtype)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        part = block[: stop - start] if preprocessing is None else block[:, : stop - start].T
        part[:, :count] = get_features(live_features, columns, start, stop, is_numpy=is_numpy).T
        part[:, count:] = benchmarks[:, start:stop].T
        if preprocessing is not None:
            part = np.ascontiguousarray(preprocess(preprocessing, part.T).T)
        encode_categories(model["categories"], part)
        yield start, stop, part


def run_booster(
    model: Any, open_booster: Any, predict_block: Any, live_features: Any, live_benchmark_models: Any
) -> Any:
    """Return the predictions before post-processing: float64 (rows,).

    The booster is loaded once per process and kept in the model, unless ``keep`` is false.

    Args:
        model: The folded model.
        open_booster: Loads the booster of ``model``.
        predict_block: Takes the booster, ``model``, the number of threads (0: the library chooses) and a block
            (rows, n); returns (rows,) or (rows, outputs).
        live_features: As passed to predict.
        live_benchmark_models: As passed to predict.
    """
    booster = model.get("booster")
    if booster is None:
        booster = open_booster(model)
    if model["keep"]:
        model["booster"] = booster
    raw = np.empty(len(live_features))
    threads = read_cpu_quota() or 0
    for start, stop, block in iter_booster_blocks(model, live_features, live_benchmark_models):
        outputs = predict_block(booster, model, threads, block).astype(np.float64, copy=False)
        raw[start:stop] = run_nodes(model["finish"], outputs.reshape(len(block), -1).T)[0]
    return raw
