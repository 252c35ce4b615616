"""Nodes of a network on (values, rows): each computes in the type of its own numbers (``inside.fold.nodes``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import activations  # noqa: F401 - it enters them into ACTIVATION_FUNCTIONS
from .definitions import ACTIVATION_FUNCTIONS, OPERATOR_FUNCTIONS, Array, Number, OperatorDefinition, always, as_given

EDGE = 1e-7  # nearer the lowest or highest quantile than this is that quantile, where normal ones come out


def run_nodes(nodes: Any, values: Any) -> Any:
    """Return the last node's result: (values, rows); what is given where there is no node.

    A node's ``from`` are the places of those that it takes, -1 being what is given, and its ``free`` those that nothing
    takes any more after it. What is given is not written to.
    """
    kept = {-1: values}
    for place, node in enumerate(nodes):
        given = [kept[source] for source in node["from"]]
        for gone in node["free"]:
            del kept[gone]
        kept[place] = OPERATOR_FUNCTIONS[node["op"]](node, given)
        del given
        # Put back at once: the activation may be the same array, and what it was made of is not needed.
        kept[place] = ACTIVATION_FUNCTIONS[node["activation"]](kept[place], node["constants"])
    return kept[len(nodes) - 1]


def preprocess(prepare: Any, values: Any) -> Any:
    """Return inputs as trees or a booster see them: float64 (n_out, rows); a missing one may stay NaN.

    Args:
        prepare: What ``inside.fold.nodes.fold_prepare`` gave; None for the inputs as they are.
        values: float64 (n, rows); written over.
    """
    if prepare is None:
        return values
    if prepare["imputation"] is not None:
        for row, imputation in zip(values, prepare["imputation"], strict=True):  # one row's mask at a time
            row[np.isnan(row)] = imputation
    if prepare["centre"] is not None:
        values -= prepare["centre"][:, None]
    if prepare["scale"] is not None:
        values /= prepare["scale"][:, None]
    return run_nodes(prepare["layers"], values)


@OperatorDefinition(
    name="dense",
    formula="x @ weights + bias",
    arrays=(Array(name="weights", stem="w", shape=("in", "out")), Array(name="bias", stem="b", shape=("out",))),
    has_activation=True,
    is_trained=True,
    casts=True,
)
def dense_node(node: Any, given: Any) -> Any:
    """Return the weighted sums; a bias of None is a column of the weights, to which what is given has ones."""
    weights = node["weights"]
    hidden = weights @ given[0].astype(weights.dtype, copy=False)
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
def affine_node(node: Any, given: Any) -> Any:
    """Return each value times its gain, plus its shift."""
    hidden = given[0] * node["gain"][:, None]
    hidden += node["shift"][:, None]
    return hidden


@OperatorDefinition(
    name="scale", formula="(x - centre) / scale", arrays=(Array(name="centre"), Array(name="scale", is_divisor=True))
)
def scale_node(node: Any, given: Any) -> Any:
    """Return each value less its centre, by its scale: no product instead, whose last bit may be another."""
    hidden = given[0] - node["centre"][:, None]
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
def norm_node(node: Any, given: Any) -> Any:
    """Return the values less their mean, by their standard deviation; sums of squares in float64."""
    kind = given[0].dtype
    hidden = given[0] - given[0].mean(axis=0, dtype=np.float64).astype(kind)
    spread = np.sqrt(np.square(hidden).mean(axis=0, dtype=np.float64) + node["epsilon"])
    hidden *= (1 / spread).astype(kind)
    hidden = hidden.astype(node["gain"].dtype, copy=False)
    hidden *= node["gain"][:, None]
    hidden += node["shift"][:, None]
    return hidden


@OperatorDefinition(name="sum", formula="a + b + ...", arity="same_width", has_activation=True)
def sum_node(node: Any, given: Any) -> Any:
    """Return the sum of two or more."""
    hidden = given[0] + given[1]
    for more in given[2:]:
        hidden = hidden + more  # which may be of the wider type
    return hidden


@OperatorDefinition(
    name="concat",
    formula="the values of a, b and so on, one after the other",
    arity="concatenated",
    has_activation=True,
    is_bounded=as_given,
)
def concat_node(node: Any, given: Any) -> Any:
    """Return the values of two or more, one after the other."""
    return np.concatenate(given)


@OperatorDefinition(
    name="select",
    formula="x[places]",
    arrays=(Array(name="places", shape=("out",), is_index=True),),
    is_bounded=as_given,
)
def select_node(node: Any, given: Any) -> Any:
    """Return some of the values."""
    return given[0][node["places"]]


def clips_to_shares(node: Any, given: list[bool]) -> bool:
    """Tell whether all bounds lie in [0, 1]."""
    return bool(min(node["low"].min(), node["high"].min()) >= 0 and max(node["low"].max(), node["high"].max()) <= 1)


@OperatorDefinition(
    name="clip",
    formula="x held to [low, high]",
    arrays=(Array(name="low"), Array(name="high")),
    is_bounded=clips_to_shares,
)
def clip_node(node: Any, given: Any) -> Any:
    """Return each value held to its range."""
    return np.clip(given[0], node["low"][:, None], node["high"][:, None])


@OperatorDefinition(
    name="softmax", formula="exp(x) / sum(exp(x)), over the values of each row", more_arrays=1, is_bounded=always
)
def softmax_node(node: Any, given: Any) -> Any:
    """Return the exponentials, by their sum."""
    hidden = np.exp(given[0] - given[0].max(axis=0))
    hidden /= hidden.sum(axis=0)
    return hidden


def quantiles_are_shares(node: Any, given: list[bool]) -> bool:
    """Tell whether the result is a share, or a quantile that lies in [0, 1]."""
    if node["inverse"]:
        return bool(node["quantiles"].min() >= 0 and node["quantiles"].max() <= 1)
    return not node["normal"]


@OperatorDefinition(
    name="quantiles",
    formula="scikit-learn's QuantileTransformer: the share of quantiles below x; with inverse the way back",
    arrays=(
        Array(name="quantiles", shape=("quantiles", "in"), is_sorted=True),
        Array(name="references", shape=("quantiles",), is_fraction=True, is_sorted=True),
    ),
    options={"normal": False, "inverse": False},
    exact=True,
    is_bounded=quantiles_are_shares,
)
def quantiles_node(node: Any, given: Any) -> Any:
    """Return each value's place among quantiles, or the value at its place: float64, as scikit-learn has it."""
    hidden = np.empty(given[0].shape)
    turn = value_at if node["inverse"] else share_below
    for place, row in enumerate(given[0]):
        hidden[place] = turn(row.astype(np.float64, copy=False), node["quantiles"][place], node)
    return hidden


def share_below(row: Any, quantiles: Any, node: Any) -> Any:
    """Return what share of the training rows was below each value; the middle where several quantiles are alike."""
    references = node["references"]
    share = np.interp(row, quantiles, references)
    share = 0.5 * (share - np.interp(-row, -quantiles[::-1], -references[::-1]))
    if not node["normal"]:
        share[row >= quantiles[-1]] = 1
        share[row <= quantiles[0]] = 0
        return share
    from scipy import special

    share[row + EDGE > quantiles[-1]] = 1
    share[row - EDGE < quantiles[0]] = 0
    return np.clip(special.ndtri(share), special.ndtri(EDGE - np.spacing(1)), special.ndtri(1 - (EDGE - np.spacing(1))))


def value_at(row: Any, quantiles: Any, node: Any) -> Any:
    """Return the value below which each share of the training rows was."""
    if not node["normal"]:
        return np.interp(row, node["references"], quantiles)
    from scipy import special

    share = special.ndtr(row)
    value = np.interp(share, node["references"], quantiles)
    value[share + EDGE > 1] = quantiles[-1]
    value[share - EDGE < 0] = quantiles[0]
    return value
