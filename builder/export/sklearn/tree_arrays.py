"""scikit-learn's trees as the flat arrays of ``builder.bundle.model.Trees``.

Its own trees (``tree_`` of DecisionTree, and so of RandomForest, ExtraTrees and GradientBoosting) compare inputs that
are rounded to float32: ``rounded=True``. Those of HistGradientBoosting compare float64: ``rounded=False``. So it is in
``sklearn/tree/_tree.pyx`` and ``sklearn/ensemble/_hist_gradient_boosting/_predictor.pyx`` of 1.9.

A forest's mean, for instance::

    arrays = tree_arrays.from_sklearn_trees([one.tree_ for one in forest.estimators_])
    model = bundle_model.Trees(**arrays, base=np.zeros(1), rounded=True, averaged=True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

Arrays = dict[str, Any]


def leaf_values(tree: Any) -> NDArray[np.float64]:
    """Return what a tree predicts at each node: float64 (nodes,). A classifier predicts the share of its last class."""
    values: NDArray[np.float64] = np.asarray(tree.value, dtype=np.float64)[:, 0, :]
    return values[:, 0] if values.shape[1] == 1 else class_shares(tree)[:, -1]


def class_shares(tree: Any) -> NDArray[np.float64]:
    """Return the share of each class at each node of a classifier: float64 (nodes, classes).

    Before scikit-learn 1.3 its nodes hold counts. Shares are kept to the bit: what is divided by a sum of
    0.9999999999999999 ties no more.
    """
    values: NDArray[np.float64] = np.asarray(tree.value, dtype=np.float64)[:, 0, :]
    total = values.sum(axis=1, keepdims=True)
    return values if np.abs(total - 1).max() < 1e-9 else values / total


def from_sklearn_trees(
    trees: Iterable[Any],
    *,
    values: Callable[[Any], NDArray[np.float64]] = leaf_values,
    weight: float = 1.0,
    outputs: Sequence[int] | None = None,
) -> Arrays:
    """Return the arrays of scikit-learn's own trees.

    Args:
        trees: ``tree_`` objects, in the order in which they are summed.
        values: From a tree to what each of its nodes predicts: float64 (nodes,).
        weight: What each value is multiplied by: the learning rate of a boosting.
        outputs: Which output each tree adds to; 0 for all where left out.

    Returns:
        All arrays of ``model.Trees`` but ``base``, by name. A NaN goes where the tree sends it; what was trained
        without any, scikit-learn gives none to.
    """
    return _joined([_own_tree(tree, values(tree) * weight) for tree in trees], outputs)


def from_hist_predictors(predictors: Iterable[Any], *, outputs: Sequence[int] | None = None) -> Arrays:
    """Return the arrays of HistGradientBoosting's trees (``TreePredictor``); the learning rate is in their leaves.

    Args:
        predictors: In the order in which they are summed: of ``model._predictors``, a list for each iteration with a
            tree for each output.
        outputs: As of ``from_sklearn_trees``.

    Returns:
        As of ``from_sklearn_trees``.

    Raises:
        errors.ExportError: A split is on a categorical feature.
    """
    return _joined([_hist_tree(predictor.nodes, place) for place, predictor in enumerate(predictors)], outputs)


def _own_tree(tree: Any, values: NDArray[np.float64]) -> Arrays:
    leaf = np.asarray(tree.children_left) == -1
    missing = getattr(tree, "missing_go_to_left", None)  # since 1.3
    return {
        "feature": np.where(leaf, -1, tree.feature).astype(np.int32),
        "threshold": np.where(leaf, 0.0, tree.threshold).astype(np.float64),
        "left": np.asarray(tree.children_left, dtype=np.int32),
        "right": np.asarray(tree.children_right, dtype=np.int32),
        "missing_left": np.where(leaf, 0, 0 if missing is None else missing).astype(np.uint8),
        "value": np.where(leaf, values, 0.0),
    }


def _hist_tree(nodes: NDArray[Any], place: int) -> Arrays:
    leaf = nodes["is_leaf"].astype(bool)
    if (nodes["is_categorical"].astype(bool) & ~leaf).any():
        feature = int(nodes["feature_idx"][nodes["is_categorical"].astype(bool) & ~leaf][0])
        raise errors.ExportError(
            f"HistGradientBoosting: tree {place} splits feature {feature} by categories; train it on numbers "
            "(categorical_features=None), or export a function that predicts with it (docs/export/custom.md)"
        )
    return {
        "feature": np.where(leaf, -1, nodes["feature_idx"]).astype(np.int32),
        "threshold": np.where(leaf, 0.0, nodes["num_threshold"]).astype(np.float64),
        "left": np.where(leaf, -1, nodes["left"]).astype(np.int32),
        "right": np.where(leaf, -1, nodes["right"]).astype(np.int32),
        "missing_left": np.where(leaf, 0, nodes["missing_go_to_left"]).astype(np.uint8),
        "value": np.where(leaf, nodes["value"], 0.0).astype(np.float64),
    }


def _joined(trees: Sequence[Arrays], outputs: Sequence[int] | None) -> Arrays:
    """Return trees end to end, their children counted from the first node of all."""
    sizes = [len(tree["feature"]) for tree in trees]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    found = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    shift = np.repeat(starts, sizes)
    for name in ("left", "right"):
        found[name] = np.where(found[name] == -1, -1, found[name] + shift).astype(np.int32)
    found["roots"] = starts
    found["output"] = np.zeros(len(trees), np.int32) if outputs is None else np.asarray(outputs, dtype=np.int32)
    return found
