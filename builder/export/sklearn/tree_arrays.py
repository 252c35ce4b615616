"""Convert scikit-learn's trees to the flat arrays of ``builder.bundle.model.Trees``.

The trees in ``tree_`` (of DecisionTree, and so of RandomForest, ExtraTrees and GradientBoosting) compare inputs rounded
to float32: ``rounded=True``. Those of HistGradientBoosting compare float64: ``rounded=False``. See
``sklearn/tree/_tree.pyx`` and ``sklearn/ensemble/_hist_gradient_boosting/_predictor.pyx`` of scikit-learn 1.9.

The mean of a forest, for instance::

    arrays = tree_arrays.from_sklearn_trees([member.tree_ for member in forest.estimators_])
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


def read_leaf_values(tree: Any) -> NDArray[np.float64]:
    """Return a tree's value at each node: float64 (nodes,). Of a classifier it is the share of the last class."""
    values: NDArray[np.float64] = np.asarray(tree.value, dtype=np.float64)[:, 0, :]
    return values[:, 0] if values.shape[1] == 1 else read_class_shares(tree)[:, -1]


def read_class_shares(tree: Any) -> NDArray[np.float64]:
    """Return the share of each class at each node of a classifier: float64 (nodes, classes).

    Before scikit-learn 1.3, nodes have counts instead of shares. Shares are not divided by their sum again: with a sum
    of 0.9999999999999999, rows that tie in scikit-learn would differ.
    """
    values: NDArray[np.float64] = np.asarray(tree.value, dtype=np.float64)[:, 0, :]
    total = values.sum(axis=1, keepdims=True)
    return values if np.abs(total - 1).max() < 1e-9 else values / total


def from_sklearn_trees(
    trees: Iterable[Any],
    *,
    read_values: Callable[[Any], NDArray[np.float64]] = read_leaf_values,
    values: Sequence[NDArray[np.float64]] | None = None,
    weight: float = 1.0,
    outputs: Sequence[int] | None = None,
) -> Arrays:
    """Return the arrays of scikit-learn's own trees.

    Args:
        trees: ``tree_`` objects, in the order in which they are summed.
        read_values: Returns a tree's value at each node: float64 (nodes,).
        values: The same for each tree, instead of ``read_values``.
        weight: Factor of all values: the learning rate of a boosted model.
        outputs: The index of the output that each tree adds to; 0 for all by default.

    Returns:
        All arrays of ``model.Trees`` except ``base``, by name. NaN takes the same branch as in scikit-learn, which
        refuses NaN for trees trained without it.
    """
    trees = list(trees)
    values = list(map(read_values, trees)) if values is None else values
    parts = [_read_tree(tree, item * weight) for tree, item in zip(trees, values, strict=True)]
    return _concatenate(parts, outputs)


def from_hist_predictors(predictors: Iterable[Any], *, outputs: Sequence[int] | None = None) -> Arrays:
    """Return the arrays of HistGradientBoosting's trees (``TreePredictor``), whose leaves include the learning rate.

    Args:
        predictors: In the order in which they are summed: ``model._predictors`` has a list for each iteration, with a
            tree for each output.
        outputs: As for ``from_sklearn_trees``.

    Returns:
        As ``from_sklearn_trees``.

    Raises:
        errors.ExportError: A split is on a categorical feature.
    """
    return _concatenate(
        [_read_hist_tree(predictor.nodes, index) for index, predictor in enumerate(predictors)], outputs
    )


def _read_tree(tree: Any, values: NDArray[np.float64]) -> Arrays:
    leaf = np.asarray(tree.children_left) == -1
    missing = getattr(tree, "missing_go_to_left", None)  # since scikit-learn 1.3
    return {
        "feature": np.where(leaf, -1, tree.feature).astype(np.int32),
        "threshold": np.where(leaf, 0.0, tree.threshold).astype(np.float64),
        "left": np.asarray(tree.children_left, dtype=np.int32),
        "right": np.asarray(tree.children_right, dtype=np.int32),
        "missing_left": np.where(leaf, 0, 0 if missing is None else missing).astype(np.uint8),
        "value": np.where(leaf, values, 0.0),
    }


def _read_hist_tree(nodes: NDArray[Any], index: int) -> Arrays:
    leaf = nodes["is_leaf"].astype(bool)
    if (nodes["is_categorical"].astype(bool) & ~leaf).any():
        feature = int(nodes["feature_idx"][nodes["is_categorical"].astype(bool) & ~leaf][0])
        raise errors.ExportError(
            f"HistGradientBoosting: tree {index} splits feature {feature} by categories; train it on numbers "
            "(categorical_features=None), or see docs/export/predict-function.md"
        )
    return {
        "feature": np.where(leaf, -1, nodes["feature_idx"]).astype(np.int32),
        "threshold": np.where(leaf, 0.0, nodes["num_threshold"]).astype(np.float64),
        "left": np.where(leaf, -1, nodes["left"]).astype(np.int32),
        "right": np.where(leaf, -1, nodes["right"]).astype(np.int32),
        "missing_left": np.where(leaf, 0, nodes["missing_go_to_left"]).astype(np.uint8),
        "value": np.where(leaf, nodes["value"], 0.0).astype(np.float64),
    }


def _concatenate(trees: Sequence[Arrays], outputs: Sequence[int] | None) -> Arrays:
    """Concatenate trees, whose children then count from the first node of all."""
    sizes = [len(tree["feature"]) for tree in trees]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    arrays = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    shift = np.repeat(starts, sizes)
    for name in ("left", "right"):
        arrays[name] = np.where(arrays[name] == -1, -1, arrays[name] + shift).astype(np.int32)
    arrays["roots"] = starts
    arrays["output"] = np.zeros(len(trees), np.int32) if outputs is None else np.asarray(outputs, dtype=np.int32)
    return arrays
