"""Run the nodes of a network on arrays (values, rows).

A node computes in the dtype that ``inside.fold`` chose for its numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import activations  # noqa: F401 - importing it registers the activations
from .definitions import (
    ACTIVATION_FUNCTIONS,
    OPERATOR_FUNCTIONS,
    Array,
    Number,
    OperatorDefinition,
    has_bounded_inputs,
    is_always_bounded,
)

EDGE = 1e-7  # scikit-learn's BOUNDS_THRESHOLD: a value nearer than this to the first or last quantile counts as equal


def run_nodes(nodes: Any, values: Any) -> Any:
    """Return the result of the last node: (values, rows); ``values`` itself if there are no nodes.

    ``from`` are the indices of a node's inputs; -1 is ``values``, which is not overwritten. ``free`` are the indices of
    the results that no later node takes.
    """
    results = {-1: values}
    for index, node in enumerate(nodes):
        inputs = [results[source] for source in node["from"]]
        for freed in node["free"]:
            del results[freed]
        results[index] = OPERATOR_FUNCTIONS[node["op"]](node, inputs)
        del inputs  # the last reference to what was freed, before the activation allocates memory
        results[index] = ACTIVATION_FUNCTIONS[node["activation"]](results[index], node["constants"])
    return results[len(nodes) - 1]


def preprocess(preprocessing: Any, values: Any) -> Any:
    """Return the inputs of trees or a booster: float64 (n_out, rows), NaN for missing ones that are not imputed.

    Args:
        preprocessing: From ``inside.fold.nodes.fold_preprocessing``; None for no change.
        values: float64 (n, rows); overwritten.
    """
    if preprocessing is None:
        return values
    if preprocessing["imputation"] is not None:
        for row, imputation in zip(values, preprocessing["imputation"], strict=True):  # a mask of all rows is large
            row[np.isnan(row)] = imputation
    if preprocessing["centre"] is not None:
        values -= preprocessing["centre"][:, None]
    if preprocessing["scale"] is not None:
        values /= preprocessing["scale"][:, None]
    return run_nodes(preprocessing["layers"], values)


@OperatorDefinition(
    name="dense",
    formula="x @ weights + bias",
    arrays=(Array(name="weights", stem="w", shape=("in", "out")), Array(name="bias", stem="b", shape=("out",))),
    has_activation=True,
    is_trained=True,
    casts=True,
)
def dense_node(node: Any, inputs: Any) -> Any:
    """Return the weighted sums. A bias of None is a column of the weights, and the input has ones there."""
    weights = node["weights"]
    hidden = weights @ inputs[0].astype(weights.dtype, copy=False)
    if node["bias"] is not None:
        hidden += node["bias"][:, None]
    return hidden


@OperatorDefinition(
    name="affine",
    formula="x * gain + shift",
    arrays=(Array(name="gain"), Array(name="shift")),
    has_activation=True,
    is_trained=True,
)
def affine_node(node: Any, inputs: Any) -> Any:
    """Return each value times its gain plus its shift."""
    hidden = inputs[0] * node["gain"][:, None]
    hidden += node["shift"][:, None]
    return hidden


@OperatorDefinition(
    name="scale", formula="(x - centre) / scale", arrays=(Array(name="centre"), Array(name="scale", is_divisor=True))
)
def scale_node(node: Any, inputs: Any) -> Any:
    """Return each value minus its centre, divided by its scale."""
    hidden = inputs[0] - node["centre"][:, None]
    # Not a product with 1 / scale: its last bit may differ from scikit-learn's result, and exact operators may follow.
    hidden /= node["scale"][:, None]
    return hidden


@OperatorDefinition(
    name="norm",
    formula="(x - mean) / sqrt(variance + epsilon) * gain + shift, over the values of each row",
    arrays=(Array(name="gain"), Array(name="shift")),
    options={"epsilon": Number(minimum=1e-30, maximum=1e6)},
    has_activation=True,
    is_trained=True,
    more_arrays=1,
)
def norm_node(node: Any, inputs: Any) -> Any:
    """Return the values minus their mean, divided by their standard deviation; both are computed in float64."""
    dtype = inputs[0].dtype
    hidden = inputs[0] - inputs[0].mean(axis=0, dtype=np.float64).astype(dtype)
    spread = np.sqrt(np.square(hidden).mean(axis=0, dtype=np.float64) + node["epsilon"])
    hidden *= (1 / spread).astype(dtype)
    hidden = hidden.astype(node["gain"].dtype, copy=False)
    hidden *= node["gain"][:, None]
    hidden += node["shift"][:, None]
    return hidden


@OperatorDefinition(name="sum", formula="a + b + ...", arity="same_width", has_activation=True)
def sum_node(node: Any, inputs: Any) -> Any:
    """Return the sum of two or more."""
    hidden = inputs[0] + inputs[1]
    for values in inputs[2:]:
        hidden = hidden + values  # not in place: the next one may have a wider dtype
    return hidden


@OperatorDefinition(
    name="concat",
    formula="the values of a, b and so on, one after the other",
    arity="concatenated",
    has_activation=True,
    is_bounded=has_bounded_inputs,
)
def concat_node(node: Any, inputs: Any) -> Any:
    """Return the values of two or more, one after the other."""
    return np.concatenate(inputs)


@OperatorDefinition(
    name="select",
    formula="x[places]",
    arrays=(Array(name="places", shape=("out",), is_index=True),),
    is_bounded=has_bounded_inputs,
)
def select_node(node: Any, inputs: Any) -> Any:
    """Return some of the values."""
    return inputs[0][node["places"]]


@OperatorDefinition(
    name="product",
    formula="x[factors[0]] * (x[factors[1]] * ...)",
    arrays=(Array(name="factors", shape=("degree", "out"), is_index=True),),
    exact=True,
    more_arrays=1,
    is_bounded=has_bounded_inputs,
)
def product_node(node: Any, inputs: Any) -> Any:
    """Return products of values, multiplied from the last to the first, as scikit-learn's PolynomialFeatures does."""
    *others, last = node["factors"].T
    hidden = inputs[0][last]
    for factor in reversed(others):
        hidden *= inputs[0][factor]
    return hidden


@OperatorDefinition(
    name="median",
    formula="the weighted medians of x",
    arrays=(Array(name="weights", shape=("in", "out"), is_fraction=True),),
    more_arrays=4,
    is_bounded=has_bounded_inputs,
)
def median_node(node: Any, inputs: Any) -> Any:
    """Return for each column of weights the value at which their sum, in the order of the values, reaches the half."""
    order = np.argsort(inputs[0], axis=0)
    hidden = np.empty((len(node["weights"]), inputs[0].shape[1]), dtype=inputs[0].dtype)
    for index, weights in enumerate(node["weights"]):
        sums = np.cumsum(weights[order], axis=0)
        middle = (sums >= 0.5 * sums[-1]).argmax(axis=0)[None]
        hidden[index] = np.take_along_axis(inputs[0], np.take_along_axis(order, middle, axis=0), axis=0)[0]
    return hidden


def has_bounded_limits(node: Any, bounded_inputs: list[bool]) -> bool:
    """Return whether all limits are in [0, 1]."""
    return bool(min(node["low"].min(), node["high"].min()) >= 0 and max(node["low"].max(), node["high"].max()) <= 1)


@OperatorDefinition(
    name="clip",
    formula="x clipped to [low, high]",
    arrays=(Array(name="low"), Array(name="high")),
    is_bounded=has_bounded_limits,
)
def clip_node(node: Any, inputs: Any) -> Any:
    """Return each value clipped to its range."""
    return np.clip(inputs[0], node["low"][:, None], node["high"][:, None])


@OperatorDefinition(
    name="softmax",
    formula="exp(x) / sum(exp(x)), over the values of each row",
    more_arrays=1,
    is_bounded=is_always_bounded,
)
def softmax_node(node: Any, inputs: Any) -> Any:
    """Return the exponentials divided by their sum; subtracting the maximum first avoids an overflow."""
    hidden = np.exp(inputs[0] - inputs[0].max(axis=0))
    hidden /= hidden.sum(axis=0)
    return hidden


def has_bounded_quantiles(node: Any, bounded_inputs: list[bool]) -> bool:
    """Return whether the result is a fraction, or a quantile in [0, 1]."""
    if node["inverse"]:
        return bool(node["quantiles"].min() >= 0 and node["quantiles"].max() <= 1)
    return not node["normal"]


@OperatorDefinition(
    name="quantiles",
    formula="scikit-learn's QuantileTransformer: the fraction of quantiles below x; with inverse the way back",
    arrays=(
        Array(name="quantiles", shape=("quantiles", "in"), is_sorted=True),
        Array(name="references", shape=("quantiles",), is_fraction=True, is_sorted=True),
    ),
    options={"normal": False, "inverse": False},
    exact=True,
    is_bounded=has_bounded_quantiles,
)
def quantiles_node(node: Any, inputs: Any) -> Any:
    """Return the fraction of quantiles below each value, or with ``inverse`` the quantile of each fraction: float64."""
    hidden = np.empty(inputs[0].shape)
    transform = get_quantile if node["inverse"] else get_fraction_below
    for index, row in enumerate(inputs[0]):
        hidden[index] = transform(row.astype(np.float64, copy=False), node["quantiles"][index], node)
    return hidden


def get_fraction_below(row: Any, quantiles: Any, node: Any) -> Any:
    """Return the fraction of the training rows below each value; the middle of the range if quantiles are repeated."""
    references = node["references"]
    # As scikit-learn does: the mean of interpolating upwards and downwards is the middle of repeated quantiles.
    fraction = np.interp(row, quantiles, references)
    fraction = 0.5 * (fraction - np.interp(-row, -quantiles[::-1], -references[::-1]))
    if not node["normal"]:
        fraction[row >= quantiles[-1]] = 1
        fraction[row <= quantiles[0]] = 0
        return fraction
    from scipy import special

    fraction[row + EDGE > quantiles[-1]] = 1
    fraction[row - EDGE < quantiles[0]] = 0
    low = EDGE - np.spacing(1)
    return np.clip(special.ndtri(fraction), special.ndtri(low), special.ndtri(1 - low))


def get_quantile(row: Any, quantiles: Any, node: Any) -> Any:
    """Return the value below which each fraction of the training rows was; the inverse of ``get_fraction_below``."""
    if not node["normal"]:
        return np.interp(row, node["references"], quantiles)
    from scipy import special

    fraction = special.ndtr(row)
    value = np.interp(fraction, node["references"], quantiles)
    value[fraction + EDGE > 1] = quantiles[-1]
    value[fraction - EDGE < 0] = quantiles[0]
    return value
