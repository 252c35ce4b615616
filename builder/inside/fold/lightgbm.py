"""LightGBM boosters: the text goes into the pickle as it is, gzip'd; the image's own library reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import nodes

if TYPE_CHECKING:
    from pathlib import Path

FILE = "model.txt.gz"

# So many leaves, with the splits above them, stay in half a megabyte: a core's own cache.
_CACHED = 16_000

# Boosters up to this size predict in one go, and so to the bit what the library does. Of a larger one the library goes
# through all trees for each row, from memory: four times as long for 3,000 trees of depth 10 (measured). With 60,000
# leaves, looking through the inputs again for each part costs more than the cache gives (1.3 times as long).
_SMALL = 300_000

# LightGBM looks through a row's inputs at each call, at about the cost of one tree for eight of them.
_INPUTS_A_TREE = 8

# Objectives for which the prediction is the sum of the trees, and so the sum of the predictions of some at a time.
_SUMS = ("", "custom", "fair", "huber", "lambdarank", "mape", "quantile", "rank_xendcg", "regression", "regression_l1")


def fold_lightgbm(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the text, how it is called, and categories.

    ``step`` is how many iterations are taken at a time, 0 for all. ``keep`` is whether the booster is kept for a second
    call: a member of an ensemble, whose ``prefix`` begins its file's name, is not. ``row_bytes`` is what ``prepare``
    takes for a row, beside the inputs. Of each group of categories there are the inputs, the values sorted, and the
    place of each in the list as it was.
    """
    prepare = nodes.fold_preprocessing(header.get("prepare"), arrays)
    inputs = len(header["features"]) + len(header["benchmarks"])
    text = (folder / f"{header.get('prefix', '')}{FILE}").read_bytes()
    return {
        "text": text,
        "step": choose_step(header),
        "keep": "prefix" not in header,
        "categories": [category(entry) for entry in header.get("categories", ())],
        "prepare": prepare,
        # What is prepared is turned into rows, beside itself.
        "row_bytes": 0 if prepare is None else 8 * inputs + 2 * nodes.prepare_bytes(prepare, inputs),
        "finish": nodes.fold_nodes(header.get("finish", ()), arrays, "finish."),
    }


def choose_step(header: dict[str, Any]) -> int:
    """Return how many iterations of a large booster to take at a time, so that their trees stay in the cache."""
    words = header["objective"].split() or [""]
    if header["leaves"] <= _SMALL or header.get("averaged") or words[0] not in _SUMS or "sqrt" in words:
        return 0
    inputs = len(header["features"]) + len(header["benchmarks"])
    trees = max(_CACHED * header["trees"] // header["leaves"], inputs // _INPUTS_A_TREE, 1)
    iterations: int = header["trees"] // header["outputs"]
    parts: int = -(-header["trees"] // trees)
    return -(-iterations // min(parts, iterations))


def category(entry: dict[str, Any]) -> dict[str, Any]:
    """Return one group of categories."""
    values = np.array(entry["values"], dtype="<f8")
    places = np.argsort(values, kind="stable")
    return {
        "inputs": [int(place) for place in entry["inputs"]],
        "values": np.array(values[places], dtype="<f8", order="C"),
        "places": np.array(places, dtype="<f8", order="C"),
    }
