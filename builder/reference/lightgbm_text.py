"""LightGBM boosters, walked through by numpy as ``Tree::Predict`` is written; the library takes no part."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from builder.bundle.kinds import lightgbm_text, lightgbm_trees
from builder.reference import nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.bundle import model as bundle_model

Array = NDArray[np.float64]

MOST_LEAVES = 3_000_000
"""Beyond these there is no reference: some ten seconds for 2,000 rows."""

_ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: what is this near zero is zero."""
_AT_ONCE = 1 << 19
"""Pairs of a row and a tree that are walked at once."""


def fits(model: bundle_model.LightGbm) -> bool:
    """Whether the model is small enough."""
    return model.leaves <= MOST_LEAVES


def predict(model: bundle_model.LightGbm, inputs: Array) -> Array:
    """Return what a booster predicts: float64 (rows,)."""
    values = encoded(model, nodes.prepared(model.prepare, inputs))
    with lightgbm_text.opened(model.text) as stream:
        header = lightgbm_text.read_header(stream)
        if values.ndim != 2 or values.shape[1] != len(header.features):
            raise ValueError(f"inputs are {values.shape}, the model takes (rows, {len(header.features)})")
        # LightGBM reads only what is not zero, and takes the rest for zero itself.
        values = np.where(np.abs(values) <= _ZERO, 0.0, values)
        total = np.zeros((len(values), header.outputs))
        tree = 0
        for batch in lightgbm_trees.read(stream, header):
            step = max(1, _AT_ONCE // len(values))
            for start in range(0, len(batch.roots), step):
                added = _walk(batch, batch.roots[start : start + step], values)
                for place in range(added.shape[1]):
                    total[:, (tree + place) % header.outputs] += added[:, place]
                tree += added.shape[1]
    if header.averaged:
        total /= len(header.sizes) // header.outputs
    outputs = nodes.run_nodes(model.finish, _converted(total, header.objective))
    return outputs[:, 0].copy()


def encoded(model: bundle_model.LightGbm, inputs: Array) -> Array:
    """Return the inputs with categories as the places of their values in the lists: float64 (rows, n)."""
    if not model.categories:
        return inputs
    values = inputs.copy()
    for categories in model.categories:
        for column in categories.inputs:
            values[:, column] = np.nan
            for place, value in enumerate(categories.values):
                values[inputs[:, column] == value, column] = place
    return values


def _walk(batch: lightgbm_trees.Batch, roots: lightgbm_trees.Whole, values: Array) -> Array:
    """Return what each of some trees adds to each row: float64 (rows, trees)."""
    at = np.repeat(roots[None, :], len(values), axis=0).reshape(-1)
    row = np.repeat(np.arange(len(values)), len(roots))
    going = np.flatnonzero(at >= 0)
    while going.size:
        split = at[going]
        left = _goes_left(batch, split, values[row[going], batch.feature[split]])
        at[going] = np.where(left, batch.left[split], batch.right[split])
        going = going[at[going] >= 0]
    leaf = -1 - at
    return _leaf_values(batch, leaf, row, values).reshape(len(values), len(roots))


def _goes_left(batch: lightgbm_trees.Batch, split: lightgbm_trees.Whole, x: Array) -> NDArray[np.bool_]:
    decision = batch.decision[split]
    missing = decision >> 2
    is_nan = np.isnan(x)
    number = np.where(is_nan & (missing != lightgbm_trees.MISSING_NAN), 0.0, x)
    by_default = (missing == lightgbm_trees.MISSING_ZERO) & (np.abs(number) <= _ZERO)
    by_default |= (missing == lightgbm_trees.MISSING_NAN) & is_nan
    left = np.where(by_default, decision & lightgbm_trees.DEFAULT_LEFT != 0, number <= batch.threshold[split])
    is_category = decision & lightgbm_trees.CATEGORICAL != 0
    if is_category.any():
        left[is_category] = _is_among(batch, split[is_category], x[is_category])
    return left


def _is_among(batch: lightgbm_trees.Batch, split: lightgbm_trees.Whole, x: Array) -> NDArray[np.bool_]:
    """Return whether the bit of a category is set; one that is missing, negative or beyond the last bit has none."""
    words = batch.words[split]
    category = np.trunc(x)
    has = (category >= 0) & (category < words * 32)  # False for NaN
    code = np.where(has, category, 0).astype(np.int64)
    word = batch.bits[np.where(has, batch.first_bits[split] + code // 32, 0)]
    among: NDArray[np.bool_] = has & (word >> code % 32 & 1 != 0)
    return among


def _leaf_values(
    batch: lightgbm_trees.Batch, leaf: lightgbm_trees.Whole, row: lightgbm_trees.Whole, values: Array
) -> Array:
    if batch.linear is None:
        return batch.value[leaf]
    linear = batch.linear
    result = linear.constant[leaf]
    begins = np.searchsorted(linear.leaf, leaf)
    ends = np.searchsorted(linear.leaf, leaf, side="right")
    for place in range(int((ends - begins).max(initial=0))):
        having = np.flatnonzero(begins + place < ends)
        one = begins[having] + place
        result[having] += linear.coefficient[one] * values[row[having], linear.feature[one]]
    value: Array = np.where(np.isnan(result), batch.value[leaf], result)
    return value


def _converted(raw: Array, objective: str) -> Array:
    """Return what the objective makes of the sums: float64 (rows, outputs)."""
    name, *words = objective.split() or [""]
    constants = dict(word.split(":", 1) for word in words if ":" in word)
    if "sqrt" in words:  # of regression, and of those of its kind: l1, fair, quantile, mape
        return np.sign(raw) * raw * raw
    return _CONVERSIONS.get(name, _as_it_is)(raw, float(constants.get("sigmoid", 1)))


def _as_it_is(raw: Array, sigmoid: float) -> Array:  # noqa: ARG001 - as the others
    return raw


def _sigmoid(raw: Array, sigmoid: float) -> Array:
    small = np.exp(-np.abs(sigmoid * raw))
    return np.where(raw >= 0, 1.0, small) / (1.0 + small)


def _softmax(raw: Array, sigmoid: float) -> Array:  # noqa: ARG001 - as the others
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _exponential(raw: Array, sigmoid: float) -> Array:  # noqa: ARG001 - as the others
    return np.exp(raw)


def _log_one_plus(raw: Array, sigmoid: float) -> Array:  # noqa: ARG001 - as the others
    return np.log1p(np.exp(raw))  # infinite where LightGBM's is


_CONVERSIONS: Mapping[str, Callable[[Array, float], Array]] = MappingProxyType(
    {
        "binary": _sigmoid,
        "cross_entropy": _sigmoid,
        "cross_entropy_lambda": _log_one_plus,
        "gamma": _exponential,
        "multiclass": _softmax,
        "multiclassova": _sigmoid,
        "poisson": _exponential,
        "tweedie": _exponential,
    }
)
