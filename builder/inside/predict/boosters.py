"""A LightGBM booster: its text read by the image's own library, rows predicted a block at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import BLOCK_BYTES, block_values, look_up
from .nodes import preprocess, run_nodes
from .runners import RUNNERS
from .threads import cpu_quota


def open_booster(model: Any) -> Any:
    """Return the booster of a model's text."""
    import zlib

    import lightgbm

    return lightgbm.Booster(model_str=zlib.decompress(model["text"], 31).decode())


def encode_categories(categories: Any, block: Any) -> None:
    """Write the place of each category in its list over its value; NaN where it is in none. ``block`` (rows, n)."""
    for group in categories:
        values, places = group["values"], group["places"]
        for column in group["inputs"]:
            came = block[:, column]
            near = np.minimum(np.searchsorted(values, came), len(values) - 1)  # NaN is beyond the last
            block[:, column] = np.where(values[near] == came, places[near], np.nan)


def predict_block(booster: Any, step: int, threads: int, block: Any) -> Any:
    """Return what a booster gives for a block (rows, n): float64 (rows,) or (rows, outputs).

    The trees are summed a ``step`` of iterations at a time, where that is not 0, for all rows of the block.
    """
    if not step:
        return booster.predict(block, num_threads=threads)
    total = 0.0
    for first in range(0, booster.current_iteration(), step):
        total = total + booster.predict(
            block, num_threads=threads, raw_score=True, start_iteration=first, num_iteration=step
        )
    return total


def iter_booster_blocks(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Yield (start, stop, block) for all rows; ``block`` is (rows, n), float64 where float32 would not be exact.

    The array may be used again for the next block.

    Raises:
        ValueError: there are no rows, or a column that the model takes is missing.
    """
    rows, count = len(live_features), len(model["features"])
    place, types, plain, benchmarks = look_up(model, live_features, live_benchmark_models)
    exact = plain and not len(benchmarks) and all(np.can_cast(one, np.float32) for one in types)
    inputs, prepare = count + len(benchmarks), model["prepare"]
    kind = np.dtype(np.float32 if exact and prepare is None else np.float64)
    taken = count * (max(one.itemsize for one in types) if plain else 8)
    most = max(64, BLOCK_BYTES // (inputs * kind.itemsize + max(taken, model["row_bytes"])))
    step = -(-rows // -(-rows // most))
    # What is done to the inputs first goes along the rows of an input, LightGBM along the inputs of a row.
    block = np.empty((step, inputs) if prepare is None else (inputs, step), dtype=kind)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        part = block[: stop - start] if prepare is None else block[:, : stop - start].T
        part[:, :count] = block_values(live_features, place, start, stop, plain=plain).T
        part[:, count:] = benchmarks[:, start:stop].T
        if prepare is not None:
            part = np.ascontiguousarray(preprocess(prepare, part.T).T)
        encode_categories(model["categories"], part)
        yield start, stop, part


def run_booster(booster: Any, model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return a booster's predictions before post-processing: float64 (rows,)."""
    raw = np.empty(len(live_features))
    threads = cpu_quota() or 0  # 0: as many as the library sees fit
    for start, stop, block in iter_booster_blocks(model, live_features, live_benchmark_models):
        outputs = predict_block(booster, model["step"], threads, block)
        raw[start:stop] = run_nodes(model["finish"], outputs.reshape(len(block), -1).T)[0]
    return raw


def run_lightgbm(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,).

    The booster is made once a process, and kept in the model where that says so.
    """
    booster = model.get("booster") or open_booster(model)
    if model["keep"]:
        model["booster"] = booster
    return run_booster(booster, model, live_features, live_benchmark_models)


RUNNERS["lightgbm"] = run_lightgbm
