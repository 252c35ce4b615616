"""Nodes, and what is done to the inputs of trees and boosters: one step after the other, in float64."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tests.support.formulas import activations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builder.bundle import model as bundle_model

Array = NDArray[np.float64]

EDGE = 1e-7
"""How near the ends QuantileTransformer takes a value for the end itself, where the result is a normal one's."""


def run_nodes(nodes: Sequence[bundle_model.Node], values: Array) -> Array:
    """Return the result of the last node; the values themselves where there is none.

    Args:
        nodes: As of ``model.Network.layers``, ``model.Preprocessing.layers`` or ``model.Trees.head``.
        values: float64 (rows, n). NaN stays NaN wherever a node computes with it.

    Returns:
        float64 (rows, n_out).
    """
    results = {-1: values}
    for index, node in enumerate(nodes):
        result = _OPS[node.op](node, [results[source] for source in node.sources or (index - 1,)])
        results[index] = activations.activate(node.activation, result)
    return results[len(nodes) - 1]


def prepared(prepare: bundle_model.Preprocessing | None, inputs: Array) -> Array:
    """Return the inputs as trees or a booster see them: float64 (rows, n_out), NaN where one stays missing."""
    if prepare is None:
        return inputs
    values = scaled(inputs, imputation=prepare.imputation, centre=prepare.centre, scale=prepare.scale)
    return run_nodes(prepare.layers, values)


def scaled(
    inputs: Array, *, imputation: bundle_model.Floats, centre: bundle_model.Floats, scale: bundle_model.Floats
) -> Array:
    """Return ``(x - centre) / scale`` of the inputs, those that are NaN being their imputation: float64 (rows, n)."""
    values = np.where(np.isnan(inputs), _wide(imputation), _wide(inputs))
    return (values - _wide(centre)) / _wide(scale)


def _layer(node: bundle_model.Node, inputs: list[Array]) -> Array:
    return inputs[0] @ _wide(node["weights"]) + _wide(node["bias"])


def _affine(node: bundle_model.Node, inputs: list[Array]) -> Array:
    return inputs[0] * _wide(node["gain"]) + _wide(node["shift"])


def _scale(node: bundle_model.Node, inputs: list[Array]) -> Array:
    return (inputs[0] - _wide(node["centre"])) / _wide(node["scale"])


def _norm(node: bundle_model.Node, inputs: list[Array]) -> Array:
    mean: Array = inputs[0].mean(axis=1, keepdims=True)
    variance: Array = ((inputs[0] - mean) ** 2).mean(axis=1, keepdims=True)
    spread: Array = np.sqrt(variance + node["epsilon"])
    result: Array = (inputs[0] - mean) / spread * _wide(node["gain"]) + _wide(node["shift"])
    return result


def _sum(node: bundle_model.Node, inputs: list[Array]) -> Array:
    return sum(inputs[1:], start=inputs[0])


def _concat(node: bundle_model.Node, inputs: list[Array]) -> Array:
    return np.concatenate(inputs, axis=1)


def _select(node: bundle_model.Node, inputs: list[Array]) -> Array:
    selected: Array = inputs[0][:, node["places"]]
    return selected


def _clip(node: bundle_model.Node, inputs: list[Array]) -> Array:
    return np.minimum(np.maximum(inputs[0], _wide(node["low"])), _wide(node["high"]))


def _product(node: bundle_model.Node, inputs: list[Array]) -> Array:
    product: Array = np.prod([inputs[0][:, factor] for factor in node["factors"]], axis=0)
    return product


def _median(node: bundle_model.Node, inputs: list[Array]) -> Array:
    """Return the smallest value such that those up to it have half of the weights, which are added up in its order."""
    medians = []
    for row in inputs[0]:
        order = np.argsort(row)
        for weights in _wide(node["weights"]).T:
            sums = np.cumsum(weights[order])
            medians.append(row[order][sums >= 0.5 * sums[-1]][0])
    return np.reshape(medians, (len(inputs[0]), -1))


def _quantiles(node: bundle_model.Node, inputs: list[Array]) -> Array:
    quantiles, references = _wide(node["quantiles"]), _wide(node["references"])
    turn = _from_quantiles if node["inverse"] else _to_quantiles
    columns = [
        turn(column, quantiles[:, index], references, normal=node["normal"]) for index, column in enumerate(inputs[0].T)
    ]
    return np.stack(columns, axis=1)


def _softmax(node: bundle_model.Node, inputs: list[Array]) -> Array:
    powers = np.exp(inputs[0] - inputs[0].max(axis=1, keepdims=True))  # less the largest: none overflows
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _to_quantiles(x: Array, quantiles: Array, references: Array, *, normal: bool) -> Array:
    """Return each value's share; where several quantiles are alike, the middle of theirs."""
    from scipy import special

    upper = np.interp(x, quantiles, references)
    lower = -np.interp(-x, -quantiles[::-1], -references[::-1])
    edge = EDGE if normal else 0.0
    share = (upper + lower) * 0.5
    share = np.where(x >= quantiles[-1] if not normal else x + edge > quantiles[-1], 1.0, share)
    share = np.where(x <= quantiles[0] if not normal else x - edge < quantiles[0], 0.0, share)
    if not normal:
        return share
    least = EDGE - np.spacing(1.0)
    value: Array = np.clip(special.ndtri(share), special.ndtri(least), special.ndtri(1.0 - least))
    return value


def _from_quantiles(x: Array, quantiles: Array, references: Array, *, normal: bool) -> Array:
    """Return the value whose share is inputs."""
    from scipy import special

    share = special.ndtr(x) if normal else x
    edge = EDGE if normal else 0.0
    value = np.interp(share, references, quantiles)
    value = np.where(share + edge > 1.0, quantiles[-1], value)
    return np.where(share - edge < 0.0, quantiles[0], value)


def _wide(array: bundle_model.Floats) -> Array:
    return array.astype(np.float64)


_OPS: Mapping[str, Callable[[bundle_model.Node, list[Array]], Array]] = MappingProxyType(
    {
        "dense": _layer,
        "affine": _affine,
        "scale": _scale,
        "norm": _norm,
        "sum": _sum,
        "concat": _concat,
        "select": _select,
        "product": _product,
        "median": _median,
        "clip": _clip,
        "quantiles": _quantiles,
        "softmax": _softmax,
    }
)
