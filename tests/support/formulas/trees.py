"""Trees: each row walks down each tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tests.support.formulas import nodes

if TYPE_CHECKING:
    from builder.bundle import model as bundle_model

Array = NDArray[np.float64]


def predict(model: bundle_model.Trees, inputs: Array) -> Array:
    """Return what a forest predicts: float64 (rows,)."""
    return nodes.run_nodes(model.head, outputs(model, nodes.prepared(model.preprocessing, inputs)))[:, 0].copy()


def outputs(model: bundle_model.Trees, inputs: Array) -> Array:
    """Return the sums of the leaves' values, or their means, with the base: float64 (rows, k); ``inputs`` are prepared.

    The order is scikit-learn's, to the last bit, so that rows tie where its own do: a sum begins from the base, a mean
    is divided once all leaves are in it.
    """
    values = inputs.astype(np.float32).astype(np.float64) if model.rounded else inputs.astype(np.float64)
    base = model.base.astype(np.float64)
    sums = np.tile(np.zeros_like(base) if model.averaged else base, (len(values), 1))
    for root, output in zip(model.roots.tolist(), model.output.tolist(), strict=True):
        sums[:, output] += model.value[leaves(model, values, root)]
    if model.averaged:
        return base + sums / np.maximum(np.bincount(model.output, minlength=len(base)), 1)
    return sums


def leaves(model: bundle_model.Trees, values: Array, root: int) -> NDArray[np.intp]:
    """Return the leaf of one tree that each row ends in: intp (rows,)."""
    node = np.full(len(values), root, dtype=np.intp)
    walking = np.flatnonzero(model.feature[node] != -1)
    while walking.size:
        here = node[walking]
        value = values[walking, model.feature[here]]
        left = np.where(np.isnan(value), model.missing_left[here] == 1, value <= model.threshold[here])
        node[walking] = np.where(left, model.left[here], model.right[here])
        walking = walking[model.feature[node[walking]] != -1]
    return node
