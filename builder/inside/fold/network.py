"""Networks and linear models: scaling folded into the first layers, rounded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..operators import OPERATORS
from .nodes import SCALING, finished, plain, read_nodes, row_bytes

if TYPE_CHECKING:
    from pathlib import Path

# With a centre this many scales away from zero, centre * weight cancels so much that float32 would show it.
_FAR = 4.0

# The first layer's columns are filled up to a multiple of this many: the product is some 3 % faster (measured).
_STEP = 16

# A layer with so few weights is computed in float64: it costs next to nothing beside the rest, and whatever cancels in
# it, the last layer's sum above all, does so without loss.
_FEW_WEIGHTS = 32768

# Where something other than a layer takes the inputs, and there are no more of them than this, they are float64.
_FEW_INPUTS = 256


def fold_mlp(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return imputation, far inputs and nodes; x -> (x - centre) / scale is inside the layers that take the inputs.

    Of an input whose centre is far away, only the scale is: predict takes the centre off it first, in float64. ``far``
    lists those, each as [place, imputation, centre]. Weights are (units, inputs); those of a layer that takes the
    inputs have its bias as a further column, then columns of zeros, and its ``bias`` is None. Where something else
    takes the inputs too, a node of its own scales them, and no layer has its bias so. A header with ``exact`` keeps
    every number float64: the host compares with that.
    """
    imputation, centre, scale = (arrays[name].astype(np.float64) for name in SCALING)
    is_far = np.abs(centre) > _FAR * scale
    near_centre = np.where(is_far, 0.0, centre)
    nodes = read_nodes(header["layers"], arrays)
    if any(-1 in node["from"] and node["op"] != "dense" for node in nodes):
        nodes = [_scaling(near_centre, scale), *(_later(node) for node in nodes)]
    first = [place for place, node in enumerate(nodes) if -1 in node["from"] and node["op"] == "dense"]
    exact = _exact(nodes)
    kinds: list[str] = []
    for place, node in enumerate(nodes):
        if place in first:
            node["weights"] = node["weights"] / scale[:, None]
            node["bias"] = node["bias"] - (near_centre[:, None] * node["weights"]).sum(axis=0)
        given = [kinds[source] for source in node["from"] if source >= 0]
        wide = header.get("exact") or (place in exact and node["op"] != "dense")
        kinds.append("<f8" if wide else _kind_of(node, given))
        if place in first:
            node["weights"], node["bias"] = with_bias(node["weights"], node["bias"]), None
    folded = finished(nodes, kinds)
    taking = [kinds[place] for place, node in enumerate(nodes) if -1 in node["from"]]
    kind = "<f4" if "<f4" in taking else "<f8"
    inputs = len(folded[first[0]]["weights"].T) if first else len(centre)
    return {
        "imputation": plain(imputation, kind),
        "far": [[int(place), float(imputation[place]), float(centre[place])] for place in np.flatnonzero(is_far)],
        "layers": folded,
        "block": inputs,
        "row_bytes": row_bytes(folded, inputs, np.dtype(kind).itemsize),
    }


def fold_linear(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a linear model as the network of one layer that it is."""
    layer = {"w0": arrays["weights"][:, None], "b0": arrays["bias"]}
    return fold_mlp({**header, "layers": [header["output"]]}, {**arrays, **layer}, folder)


def with_bias(weights: Any, bias: Any) -> Any:
    """Return (inputs, units) with the bias as one more row, and rows of zeros up to a round number."""
    joined = np.zeros((-(-(len(weights) + 1) // _STEP) * _STEP, len(bias)))
    joined[: len(weights)], joined[len(weights)] = weights, bias
    return joined


def number_type(weights: Any, *more: Any) -> str:
    """Return what a layer is computed in: float64 where that is cheap, or where float32 cannot hold its numbers."""
    largest = max(float(np.abs(one).max()) for one in (weights, *more))
    return "<f8" if weights.size <= _FEW_WEIGHTS or largest > float(np.finfo(np.float32).max) else "<f4"


def _exact(nodes: list[dict[str, Any]]) -> set[int]:
    """Return the indices of nodes whose last digit an exact operator goes by, -1 too if it is one of them.

    Where quantiles repeat, the last digit of a value decides whether it is one of them: a float32 has another. What a
    layer sums has no such digit.
    """
    found: set[int] = set()
    for place in range(len(nodes) - 1, -1, -1):
        definition = OPERATORS[nodes[place]["op"]]
        if definition.exact or (place in found and not definition.casts):
            found.update(nodes[place]["from"])
    return found


def _kind_of(node: dict[str, Any], given: list[str]) -> str:
    """Return the type of a node's numbers: a layer's own, else that of what it takes."""
    if node["op"] == "dense":
        return number_type(node["weights"], node["bias"])
    definition = OPERATORS[node["op"]]
    if definition.exact or "<f8" in given:
        return "<f8"
    held = [node[one.name] for one in definition.arrays if not one.is_index]
    if any(float(np.abs(one).max()) > float(np.finfo(np.float32).max) for one in held):
        return "<f8"
    return "<f4" if given else ("<f8" if held and held[0].size <= _FEW_INPUTS else "<f4")


def _scaling(centre: Any, scale: Any) -> dict[str, Any]:
    """Return the node that centres and scales."""
    return {
        "op": "affine",
        "from": [-1],
        "gain": 1 / scale,
        "shift": -centre / scale,
        "activation": "identity",
        "constants": {},
    }


def _later(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node one place further on."""
    return {**node, "from": [source + 1 for source in node["from"]]}
