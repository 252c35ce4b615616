"""Fold LightGBM boosters: their gzipped text goes into the pickle unchanged; the image's own library loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import nodes

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

    ``step`` is the number of iterations per call of the library, 0 for all. ``keep`` is false for a member of an
    ensemble: its loaded booster is not kept for a second call, which saves memory. ``row_bytes`` are the bytes that
    preprocessing uses for a row besides the inputs. ``categories`` has, for each group of categorical inputs, the
    indices of the inputs, the sorted values, and the original position of each value.
    """
    preprocessing = nodes.fold_preprocessing(header.get("prepare"), arrays)
    inputs = len(header["features"]) + len(header["benchmarks"])
    text = (folder / f"{header.get('prefix', '')}{FILE}").read_bytes()
    return {
        "text": text,
        "step": choose_step(header),
        "keep": "prefix" not in header,
        "categories": [fold_category(entry) for entry in header.get("categories", ())],
        "prepare": preprocessing,
        # LightGBM takes rows, so there is also a transposed copy of the preprocessed inputs.
        "row_bytes": 0 if preprocessing is None else 8 * inputs + 2 * nodes.preprocessing_bytes(preprocessing, inputs),
        "finish": nodes.fold_nodes(header.get("finish", ()), arrays, "finish."),
    }


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


def fold_category(entry: dict[str, Any]) -> dict[str, Any]:
    """Return one group of categorical inputs."""
    values = np.array(entry["values"], dtype="<f8")
    positions = np.argsort(values, kind="stable")
    return {
        "inputs": [int(index) for index in entry["inputs"]],
        "values": np.array(values[positions], dtype="<f8", order="C"),
        "positions": np.array(positions, dtype="<f8", order="C"),
    }
