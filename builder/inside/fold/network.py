"""Fold networks and linear models: the scaling of the inputs becomes part of the first layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..operators import OPERATORS
from .nodes import SCALING, finish_nodes, read_nodes, row_bytes, to_array

if TYPE_CHECKING:
    from pathlib import Path

# If a centre is more than this many scales away from zero, (centre * weight) in the bias and (input * weight) nearly
# cancel, and the difference would lose too many digits in float32.
_FAR = 4.0

# The number of columns of the first layer is a multiple of this: the matrix product is 3 % faster (measured).
_COLUMN_MULTIPLE = 16

# A layer with at most this many weights is computed in float64. That takes little time compared to the large layers,
# and no digits are lost to cancellation, above all in the sum of the last layer.
_FEW_WEIGHTS = 32768

# Up to this many inputs are float64 if a node other than a dense layer takes them.
_FEW_INPUTS = 256


def fold_mlp(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return imputation, far inputs and nodes; the layers that take the inputs compute (x - centre) / scale too.

    An input whose centre is far from zero is different: predict subtracts the centre in float64 first, and only the
    scale becomes part of the layer. ``far`` lists these inputs as [index, imputation, centre].

    Weights are (units, inputs). A layer that takes the inputs has its bias as one more column of the weights, then
    columns of zeros, and its ``bias`` is None. If another node takes the inputs too, a separate node scales them for
    all, and no layer is changed.

    A header with ``exact`` keeps all numbers float64: the host computes its reference predictions with these.
    """
    imputation, centre, scale = (arrays[name].astype(np.float64) for name in SCALING)
    is_far = np.abs(centre) > _FAR * scale
    near_centre = np.where(is_far, 0.0, centre)
    nodes = read_nodes(header["layers"], arrays)
    if any(-1 in node["from"] and node["op"] != "dense" for node in nodes):
        nodes = [_make_scaling(near_centre, scale), *(_shift_sources(node) for node in nodes)]
    first = [index for index, node in enumerate(nodes) if -1 in node["from"] and node["op"] == "dense"]
    exact = _find_exact(nodes)
    dtypes: list[str] = []
    for index, node in enumerate(nodes):
        if index in first:
            node["weights"] = node["weights"] / scale[:, None]
            node["bias"] = node["bias"] - (near_centre[:, None] * node["weights"]).sum(axis=0)
        input_dtypes = [dtypes[source] for source in node["from"] if source >= 0]
        wide = header.get("exact") or (index in exact and node["op"] != "dense")
        dtypes.append("<f8" if wide else _choose_dtype(node, input_dtypes))
        if index in first:
            node["weights"], node["bias"] = append_bias(node["weights"], node["bias"]), None
    folded = finish_nodes(nodes, dtypes)
    first_dtypes = [dtypes[index] for index, node in enumerate(nodes) if -1 in node["from"]]
    dtype = "<f4" if "<f4" in first_dtypes else "<f8"
    inputs = len(folded[first[0]]["weights"].T) if first else len(centre)
    return {
        "imputation": to_array(imputation, dtype),
        "far": [[int(index), float(imputation[index]), float(centre[index])] for index in np.flatnonzero(is_far)],
        "layers": folded,
        "block": inputs,
        "row_bytes": row_bytes(folded, inputs, np.dtype(dtype).itemsize),
    }


def fold_linear(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a linear model as a network of one layer."""
    layer = {"w0": arrays["weights"][:, None], "b0": arrays["bias"]}
    return fold_mlp({**header, "layers": [header["output"]]}, {**arrays, **layer}, folder)


def append_bias(weights: Any, bias: Any) -> Any:
    """Return weights (inputs, units) with the bias as one more row, then rows of zeros up to a round number."""
    joined = np.zeros((-(-(len(weights) + 1) // _COLUMN_MULTIPLE) * _COLUMN_MULTIPLE, len(bias)))
    joined[: len(weights)], joined[len(weights)] = weights, bias
    return joined


def choose_layer_dtype(weights: Any, bias: Any) -> str:
    """Return the dtype of a layer: float64 if the layer is small, or has numbers beyond the range of float32."""
    largest = max(float(np.abs(weights).max()), float(np.abs(bias).max()))
    return "<f8" if weights.size <= _FEW_WEIGHTS or largest > float(np.finfo(np.float32).max) else "<f4"


def _find_exact(nodes: list[dict[str, Any]]) -> set[int]:
    """Return the indices of nodes whose result an exact operator takes, directly or not; -1 means the inputs.

    If quantiles are repeated, the last digit of a value decides whether it equals one of them, and float32 changes that
    digit. Dense layers end the search (``casts``): the digits of a sum are rounded anyway.
    """
    indices: set[int] = set()
    for index in range(len(nodes) - 1, -1, -1):
        definition = OPERATORS[nodes[index]["op"]]
        if definition.exact or (index in indices and not definition.casts):
            indices.update(nodes[index]["from"])
    return indices


def _choose_dtype(node: dict[str, Any], input_dtypes: list[str]) -> str:
    """Return the dtype of a node's numbers: by its size for a layer, by its inputs for other nodes."""
    if node["op"] == "dense":
        return choose_layer_dtype(node["weights"], node["bias"])
    definition = OPERATORS[node["op"]]
    if definition.exact or "<f8" in input_dtypes:
        return "<f8"
    arrays = [node[array.name] for array in definition.arrays if not array.is_index]
    if any(float(np.abs(array).max()) > float(np.finfo(np.float32).max) for array in arrays):
        return "<f8"
    return "<f4" if input_dtypes else ("<f8" if arrays and arrays[0].size <= _FEW_INPUTS else "<f4")


def _make_scaling(centre: Any, scale: Any) -> dict[str, Any]:
    """Return the node that centres and scales the inputs."""
    return {
        "op": "affine",
        "from": [-1],
        "gain": 1 / scale,
        "shift": -centre / scale,
        "activation": "identity",
        "constants": {},
    }


def _shift_sources(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node whose sources have moved by one, because the scaling node was put before them."""
    return {**node, "from": [source + 1 for source in node["from"]]}
