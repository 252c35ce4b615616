"""Fold LightGBM boosters: their file is the gzipped text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .boosters import fold_booster

if TYPE_CHECKING:
    from pathlib import Path

FILE = "model.txt.gz"

# This many leaves and the splits above them fit into half a megabyte, the size of a core's own cache.
_CACHED_LEAVES = 16_000

# A booster with up to this many leaves predicts in one call, with exactly the library's result. For a larger one the
# library would read all trees from memory for each row: 4 times as slow for 3,000 trees of depth 10 (measured). At
# 60,000 leaves, a call for each part of the trees is slower than one call (1.3 times), because each call reads the
# inputs again.
_MAX_LEAVES_IN_ONE_CALL = 300_000

# LightGBM reads all inputs of a row in each call. Reading 8 inputs takes about as long as predicting with one tree.
_INPUTS_PER_TREE = 8

# Objectives whose prediction is the sum of the trees, so that it can be computed a part of the trees at a time.
_SUM_OBJECTIVES = (
    *("", "custom", "fair", "huber", "lambdarank"),
    *("mape", "quantile", "rank_xendcg", "regression", "regression_l1"),
)


def fold_lightgbm(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the booster's text and how to predict with it.

    ``step`` is the number of iterations per call of the library, 0 for all.
    """
    return {**fold_booster(header, arrays, folder, FILE), "step": choose_step(header)}


def choose_step(header: dict[str, Any]) -> int:
    """Return how many iterations of a large booster to predict with per call, so that their trees fit into the cache.

    0 for a small booster, and for one whose prediction is not the sum of its trees.
    """
    words = header["objective"].split() or [""]
    is_sum = words[0] in _SUM_OBJECTIVES and "sqrt" not in words and not header.get("averaged")
    if header["leaves"] <= _MAX_LEAVES_IN_ONE_CALL or not is_sum:
        return 0
    inputs = len(header["features"]) + len(header["benchmarks"])
    trees = max(_CACHED_LEAVES * header["trees"] // header["leaves"], inputs // _INPUTS_PER_TREE, 1)
    iterations: int = header["trees"] // header["outputs"]
    parts: int = -(-header["trees"] // trees)
    return -(-iterations // min(parts, iterations))
