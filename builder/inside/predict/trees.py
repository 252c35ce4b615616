"""A forest: all rows of a block walk down a tree together, a level at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import blocks
from .runners import RUNNERS


def walk(model: Any, block: Any, root: int) -> Any:
    """Return the leaf of one tree that each row of a block ends in."""
    node = np.full(block.shape[1], root)
    walking = np.flatnonzero(model["feature"][node] >= 0)
    while walking.size:
        here = node[walking]
        value = block[model["feature"][here], walking]
        left = (value <= model["threshold"][here]) | (np.isnan(value) & (model["missing_left"][here] == 1))
        node[walking] = np.where(left, model["left"][here], model["right"][here])
        walking = walking[model["feature"][node[walking]] >= 0]
    return node


def run_trees(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    raw = np.empty(len(live_features))
    count = len(model["features"]) + len(model["benchmarks"])
    like = np.empty((0, count), dtype=model["threshold"].dtype)
    for start, stop, block in blocks(
        {**model, "imputation": np.full(count, np.nan), "far": []}, live_features, live_benchmark_models, like, 64
    ):
        sums = np.repeat(model["base"][:, None], stop - start, axis=1)
        for root, output in zip(model["roots"], model["output"], strict=True):
            sums[output] += model["value"][walk(model, block, root)]
        raw[start:stop] = sums[0]
    return raw


RUNNERS["trees"] = run_trees
