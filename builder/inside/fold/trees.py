r"""Fold forests: lay out each tree so that predict can walk many rows at once.

A tree is stored in three parts, from the root down:

* *upper levels*, evaluated for all rows at once, one bit per row. Many nodes of a forest have the same split (a feature
  with five values has four thresholds), so each split is evaluated once for a group of trees.
* *full levels*, once a level has too many nodes for that: each row looks up its own node. A level is stored in full,
  with places for nodes that do not exist, so that a child's index is computed and not looked up.
* a *table* of the rest, once the levels are too sparse to be stored in full: it has the index of each left child.

In the folded model ``upper`` are the splits of the upper levels, ``full`` the full levels and ``table`` the rest. For
this tree, with one upper and one full level (leaf 2 has no children, so it is repeated in both places below it):

              0              upper   the split of 0
            /   \
          1       2          full    1, 2
         / \     / \
        3   4   2   2        table   3, 4, 2, 2, 5, 6
           / \
          5   6

A row that goes left at 0 and right at 1 has index 0 below the upper level and index 2 * 0 + 1 below the full level:
node 4. There the table has the index of the left child, 4, to which 1 is added if the row goes right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .nodes import fold_nodes, fold_preprocessing, preprocessing_bytes, row_bytes, to_array

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The dtypes of a bundle's arrays: one value per node, one value per tree.
NODE_ARRAYS: Mapping[str, str] = {
    "feature": "int32",
    "threshold": "float64",
    "left": "int32",
    "right": "int32",
    "missing_left": "uint8",
    "value": "float64",
}
TREE_ARRAYS: Mapping[str, str] = {"roots": "int32", "output": "int32"}

# Time per row in picoseconds (measured): to evaluate a split for all rows, to select a side by the result, to look up
# a node. Only the ratios matter.
_EVALUATE, _SELECT, _LOOK_UP = 170, 40, 4700
_MAX_UPPER_LEVELS = 8  # the index of a node below these levels fits into one byte

# The maximum number of different splits in one group of trees: their results take this many bits per row.
_MAX_SPLITS_PER_GROUP = 16384


def fold_trees(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the forest for ``predict.trees``.

    Sums start from ``begin``. If the trees are averaged, the sums are divided by ``count`` and ``base`` is added;
    otherwise both are None.

    ``groups`` are ranges of consecutive trees, with the different splits of their upper levels, sorted by feature.
    ``trees`` has one row per tree: its output; the number of its upper levels; the number of its upper and full levels;
    the number of steps through its table; the offsets of its parts of ``upper``, ``full``, ``value`` and ``table``; and
    the number of nodes in the last two.

    ``upper`` has, for each node of a tree's upper levels, the index of its split in the group; a node comes before its
    left and then its right subtree. ``full`` has the full levels, each from left to right. ``value`` and ``table`` have
    the nodes below, from left to right; the right child of a node follows its left child, and a leaf is its own left
    child.
    """
    threshold = _convert_thresholds(arrays["threshold"], rounded=header["rounded"])
    forest = _split_bare_roots({**arrays, "threshold": threshold})
    base, averaged = arrays["base"].astype(np.float64), header.get("averaged", False)
    count = np.maximum(np.bincount(arrays["output"], minlength=len(base)), 1)
    finish = fold_nodes(header.get("finish", ()), arrays, "finish.")
    preprocessing = fold_preprocessing(header.get("prepare"), arrays)
    inputs = len(header["features"]) + len(header["benchmarks"])
    dtype = "<f4" if header["rounded"] else "<f8"
    return {
        **_lay_out(forest, dtype),
        "input_dtype": dtype,
        "begin": to_array(np.zeros_like(base) if averaged else base, "<f8"),
        "count": to_array(count, "<f8") if averaged else None,
        "base": to_array(base, "<f8") if averaged else None,
        "prepare": preprocessing,
        "finish": finish,
        "row_bytes": preprocessing_bytes(preprocessing, inputs) + row_bytes(finish, len(base)) + 8 * len(base),
    }


def _split_bare_roots(forest: dict[str, Any]) -> dict[str, Any]:
    """Return the forest with a split above each leaf that is a stored tree; both sides lead to the leaf.

    Adding such trees as constants before the others would be faster, but the sum of the same numbers in another order
    may differ in the last digit.
    """
    bare = np.flatnonzero(forest["feature"][forest["roots"]] < 0)
    if not bare.size:
        return forest
    leaf = forest["roots"][bare]
    node = {"left": leaf, "right": leaf, "value": 0.0, "feature": 0, "threshold": 0.0, "missing_left": 0}
    inner = np.flatnonzero(forest["feature"] >= 0)[:1]
    if inner.size:  # a split that is evaluated anyway
        node |= {name: forest[name][inner] for name in ("feature", "threshold", "missing_left")}
    roots = forest["roots"].copy()
    roots[bare] = len(forest["feature"]) + np.arange(bare.size)
    added = {name: np.broadcast_to(value, bare.shape).astype(forest[name].dtype) for name, value in node.items()}
    return {**forest, "roots": roots, **{name: np.concatenate([forest[name], part]) for name, part in added.items()}}


def round_down_to_float32(threshold: Any) -> Any:
    """Return the largest float32 that is not above each float64.

    For a float32 x, ``x <= result`` is the same as ``x <= threshold``.
    """
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinity, and then the largest float32
        near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def _convert_thresholds(threshold: Any, *, rounded: bool) -> Any:
    """Return thresholds in the dtype in which inputs are compared."""
    wide = threshold.astype(np.float64)
    # + 0.0 turns -0.0 into 0.0, so that equal thresholds have the same bytes.
    return (round_down_to_float32(wide) if rounded else wide) + 0.0


def _lay_out(forest: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return ``groups``, ``trees``, ``upper``, ``full``, ``value`` and ``table``."""
    split, order = _number_splits(forest)
    upper, stored = _choose_levels(forest, split)
    rows, parts = [], []
    starts = dict.fromkeys(("upper", "full", "value", "table"), 0)
    for index, root in enumerate(forest["roots"]):
        part = _lay_out_tree(forest, split, root, upper=int(upper[index]), stored_levels=int(stored[index]))
        steps, size = part["steps"], len(part["value"])
        rows.append([forest["output"][index], upper[index], stored[index], steps, *starts.values(), size])
        starts["upper"] += len(part["upper"])
        starts["full"] += len(part["full"]["feature"])
        starts["value"] += size
        starts["table"] += size if steps else 0
        parts.append(part)
    groups, split_indices = [], []
    for first, last, group_splits in _group_trees([part["upper"] for part in parts], len(order)):
        groups.append(_make_group(forest, order[group_splits], first, last - first, dtype))
        split_indices += [np.searchsorted(group_splits, part["upper"]) for part in parts[first:last]]
    deep = [part for part in parts if part["steps"]]
    return {
        "groups": groups,
        "trees": to_array(np.array(rows).reshape(-1, 9), "<i4"),
        "upper": _concatenate(split_indices, "<i4"),
        "full": _concatenate_splits([part["full"] for part in parts], dtype),
        "value": _concatenate([part["value"] for part in parts], "<f8"),
        "table": {
            **_concatenate_splits([part["table"] for part in deep], dtype),
            "left": _concatenate([part["left"] for part in deep], "<i4"),
        },
    }


def _number_splits(forest: dict[str, Any]) -> tuple[Any, Any]:
    """Return the number of each node's split, -1 for a leaf, and for each split a node that has it.

    Equal splits have the same number. They are numbered by feature, then by the side for NaN, then by threshold.
    """
    inner = np.flatnonzero(forest["feature"] >= 0)
    keys = [forest[name][inner] for name in ("threshold", "missing_left", "feature")]
    order = np.lexsort(keys)
    sorted_keys = [key[order] for key in keys]
    first = np.ones(len(inner), dtype=bool)
    first[1:] = np.any([key[1:] != key[:-1] for key in sorted_keys], axis=0)
    split = np.full(len(forest["feature"]), -1)
    split[inner[order]] = np.cumsum(first) - 1
    return split, inner[order][first]


def _choose_levels(forest: dict[str, Any], split: Any) -> tuple[Any, Any]:
    """Return for each tree the number of upper levels, and the number of upper and full levels.

    The maximum number of upper levels, the same for all trees, is the one with the lowest estimated time. A tree is
    stored in full if that takes at most four places per leaf. Of any other tree, the levels that have no more places
    than the tree has leaves are stored in full.
    """
    depth, tree = _locate_nodes(forest)
    leaf = np.flatnonzero((forest["feature"] < 0) & (tree >= 0))
    inner = np.flatnonzero(split >= 0)
    deepest, leaves = np.zeros((2, len(forest["roots"])), dtype=np.int64)
    np.maximum.at(deepest, tree[leaf], depth[leaf])
    np.add.at(leaves, tree[leaf], 1)
    filled = np.array([int(number).bit_length() for number in leaves], dtype=np.int64)
    stored = np.where(deepest <= filled + 1, deepest, filled - 1)
    best, lowest_cost = stored, None
    for limit in range(1, _MAX_UPPER_LEVELS + 1):
        upper = np.minimum(np.minimum(stored, filled), limit)
        splits = len(np.unique(split[inner[depth[inner] < upper[tree[inner]]]]))
        cost = _EVALUATE * splits + _SELECT * int((1 << upper).sum()) + _LOOK_UP * int((stored - upper).sum())
        if lowest_cost is None or cost < lowest_cost:
            best, lowest_cost = upper, cost
    return best, stored


def _locate_nodes(forest: dict[str, Any]) -> tuple[Any, Any]:
    """Return the depth of each node below its root, and the index of its tree; -1 for nodes that no tree has."""
    depth = np.full(len(forest["feature"]), -1)
    tree = depth.copy()
    nodes, trees = forest["roots"], np.arange(len(forest["roots"]))
    level = 0
    while nodes.size:
        depth[nodes], tree[nodes] = level, trees
        inner = forest["feature"][nodes] >= 0
        nodes, trees = _get_children(forest, nodes[inner]), np.repeat(trees[inner], 2)
        level += 1
    return depth, tree


def _get_children(forest: dict[str, Any], nodes: Any) -> Any:
    """Return the children of inner nodes, the left child of each before its right one."""
    return np.stack([forest["left"][nodes], forest["right"][nodes]], axis=1).reshape(-1)


def _lay_out_tree(forest: dict[str, Any], split: Any, root: Any, *, upper: int, stored_levels: int) -> dict[str, Any]:
    """Return ``upper``, ``full``, ``value``, ``table``, ``left`` and ``steps`` of one tree.

    A leaf above the last full level is repeated on the levels below, with any split.
    """
    levels = [np.array([root])]
    for _ in range(stored_levels):
        nodes = levels[-1]
        inner = forest["feature"][nodes] >= 0
        sides = [np.where(inner, forest[side][nodes], nodes) for side in ("left", "right")]
        levels.append(np.stack(sides, axis=1).reshape(-1))
    top, middle = (np.concatenate([levels[0][:0], *part]) for part in (levels[:upper], levels[upper:-1]))
    splits = np.where(split[top] >= 0, split[top], split[root])
    nodes, left_children, steps = _make_table(forest, levels[-1])
    return {
        "upper": splits[_order_depth_first(upper)],
        "full": _get_splits(forest, middle),
        "value": np.where(forest["feature"][nodes] < 0, forest["value"][nodes], 0.0),
        "table": _get_splits(forest, nodes),
        "left": left_children,
        "steps": steps,
    }


def _get_splits(forest: dict[str, Any], nodes: Any) -> dict[str, Any]:
    """Return the feature and threshold of each node, and whether NaN goes right; at a leaf nothing goes right."""
    is_leaf = forest["feature"][nodes] < 0
    return {
        "feature": np.where(is_leaf, 0, forest["feature"][nodes]),
        "threshold": np.where(is_leaf, np.inf, forest["threshold"][nodes]),
        "missing": np.where(is_leaf, 0, 1 - forest["missing_left"][nodes]),
    }


def _order_depth_first(levels: int) -> Any:
    """Return the indices, counted level by level, of a full tree's nodes with each node before its two subtrees."""
    order = np.empty(0, dtype=np.int64)
    for _ in range(levels):  # a tree with one more level: both subtrees are this tree, their nodes one level deeper
        level = np.frexp(order + 1.0)[1] - 1  # floor(log2), exact for integers
        width = 1 << level
        order = np.concatenate([[0], order + width, order + 2 * width])
    return order


def _make_table(forest: dict[str, Any], bottom: Any) -> tuple[Any, Any, int]:
    """Return the nodes from ``bottom`` down, level by level, their left children, and the steps to the deepest leaf."""
    nodes, count, levels, left_children = bottom, 0, [bottom], []
    while True:
        inner = forest["feature"][nodes] >= 0
        own_indices = count + np.arange(len(nodes))
        count += len(nodes)
        left_children.append(np.where(inner, count + 2 * (np.cumsum(inner) - 1), own_indices))
        if not inner.any():
            return np.concatenate(levels), np.concatenate(left_children), len(levels) - 1
        nodes = _get_children(forest, nodes[inner])
        levels.append(nodes)


def _group_trees(tree_splits: list[Any], count: int) -> list[tuple[int, int, Any]]:
    """Return ranges of trees with few enough different splits, as (first, last + 1, sorted splits).

    Args:
        tree_splits: The splits of each tree's upper levels.
        count: The number of different splits in the forest.
    """
    groups = []
    in_group, first = np.zeros(count, dtype=bool), 0
    for index, splits in enumerate(tree_splits):
        different = np.unique(splits)
        if np.count_nonzero(in_group) + np.count_nonzero(~in_group[different]) > _MAX_SPLITS_PER_GROUP:
            groups.append((first, index, np.flatnonzero(in_group)))
            in_group, first = np.zeros(count, dtype=bool), index
        in_group[different] = True
    if tree_splits:
        groups.append((first, len(tree_splits), np.flatnonzero(in_group)))
    return groups


def _make_group(forest: dict[str, Any], nodes: Any, first: int, count: int, dtype: str) -> dict[str, Any]:
    """Return the splits of these nodes, and the range of trees that use them."""
    return {
        "feature": to_array(forest["feature"][nodes], "<i4"),
        "missing_left": to_array(forest["missing_left"][nodes], "|u1"),
        "threshold": to_array(forest["threshold"][nodes], dtype),
        "first": first,
        "count": count,
    }


def _concatenate_splits(parts: list[dict[str, Any]], dtype: str) -> dict[str, Any]:
    """Return the splits of many trees; ``missing`` is None if NaN never goes right."""
    dtypes = {"feature": "<i4", "threshold": dtype, "missing": "|u1"}
    splits = {name: _concatenate([part[name] for part in parts], dtypes[name]) for name in dtypes}
    return {**splits, "missing": splits["missing"] if splits["missing"].any() else None}


def _concatenate(parts: list[Any], dtype: str) -> Any:
    return to_array(np.concatenate(parts) if parts else [], dtype)
