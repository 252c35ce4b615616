"""Forests, laid out for predict: the levels next to the root by comparisons, the rest as tables to walk in.

Near its root a tree has few nodes, and each is compared with all rows at once: one bit a row. Many nodes of a forest
ask the same (a feature of five values has four questions), so each question is asked once for a group of trees. Once
the tree is too wide for that, rows walk down one by one, through a table of the nodes that are left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .nodes import fold_nodes, fold_prepare, plain, prepare_bytes, row_bytes

if TYPE_CHECKING:
    from pathlib import Path

# What predict takes for a row, in picoseconds (measured): to ask a question, to choose between the answers of two
# nodes, to walk one level down. Only their proportions matter.
_ASK, _CHOOSE, _WALK = 160, 40, 6400
_MOST_LEVELS = 8  # a place among the nodes below them is one byte

# Questions of one group of trees: their answers are this many bits a row.
_QUESTIONS = 16384


def fold_trees(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the forest as ``predict.trees`` takes it.

    ``groups`` are trees, one after the other, with the questions of their upper levels, sorted by feature. ``trees``
    has a row for each tree: its output, its upper levels, the steps to walk below them at most, and where its part of
    ``asked``, ``value`` and the tables begins. ``asked`` are the questions of a tree's upper levels, node before left
    side before right side. Below, its table begins with the nodes under the upper levels, left to right, in ``value``
    as well; the right child of a node is next to its left one, and a leaf is its own left child.
    """
    forest = {**arrays, "threshold": _thresholds(arrays["threshold"], rounded=header["rounded"])}
    base = arrays["base"].astype(np.float64)
    is_leaf = forest["feature"][forest["roots"]] < 0
    for root, output in zip(forest["roots"][is_leaf], forest["output"][is_leaf]):  # noqa: B905 - one length
        base[output] += forest["value"][root]
    forest["roots"], forest["output"] = forest["roots"][~is_leaf], forest["output"][~is_leaf]
    finish = fold_nodes(header.get("finish", ()), arrays, "finish.")
    prepare = fold_prepare(header.get("prepare"), arrays)
    inputs = len(header["features"]) + len(header["benchmarks"])
    kind = "<f4" if header["rounded"] else "<f8"
    return {
        **_laid_out(forest, kind),
        "kind_of_inputs": kind,
        "base": plain(base, "<f8"),
        "prepare": prepare,
        "finish": finish,
        "row_bytes": prepare_bytes(prepare, inputs) + row_bytes(finish, len(base)) + 8 * len(base),
    }


def float32_below(threshold: Any) -> Any:
    """Return the largest float32 that is not above each float64: a float32 is at most the one where it is the other."""
    with np.errstate(over="ignore"):  # beyond float32 is infinity, and then the largest float32
        near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def _thresholds(threshold: Any, *, rounded: bool) -> Any:
    """Return thresholds in the type that inputs are compared in; -0.0, which compares as 0.0, is that."""
    wide = threshold.astype(np.float64)
    return (float32_below(wide) if rounded else wide) + 0.0


def _laid_out(forest: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return ``groups``, ``trees``, ``asked``, ``value`` and the tables."""
    question, order = _questions(forest)
    levels = _upper_levels(forest, question)
    groups: list[dict[str, Any]] = []
    rows, parts = [], []
    starts = dict.fromkeys(("asked", "value", "table"), 0)
    open_group, begins = np.zeros(len(order), dtype=bool), 0
    for place, (root, upper) in enumerate(zip(forest["roots"], levels.tolist())):  # noqa: B905 - one length
        asked, bottom = _upper(forest, question, root, upper)
        new = np.unique(asked)
        if open_group.sum() + (~open_group[new]).sum() > _QUESTIONS:
            groups.append(_group(forest, order, open_group, parts[begins:], begins, kind))
            open_group, begins = np.zeros(len(order), dtype=bool), place
        open_group[new] = True
        part = {"asked": asked, **_table(forest, bottom)}
        steps, size = part["steps"], len(part["value"])
        rows.append([forest["output"][place], upper, steps, *starts.values(), size])
        starts["asked"] += len(asked)
        starts["value"] += size
        starts["table"] += size if steps else 0
        parts.append(part)
    if parts:
        groups.append(_group(forest, order, open_group, parts[begins:], begins, kind))
    deep = [part for part in parts if part["steps"]]
    missing = _joined(deep, "missing", "|u1")
    return {
        "groups": groups,
        "trees": plain(np.array(rows).reshape(-1, 7), "<i4"),
        "asked": _joined(parts, "asked", "<i4"),
        "value": _joined(parts, "value", "<f8"),
        "feature": _joined(deep, "feature", "<i4"),
        "threshold": _joined(deep, "threshold", kind),
        "left": _joined(deep, "left", "<i4"),
        "missing": missing if missing.any() else None,
    }


def _questions(forest: dict[str, Any]) -> tuple[Any, Any]:
    """Return the number of each node's question, -1 at a leaf, and for each question a node that asks it.

    Questions are numbered by feature, then by where a NaN goes, then by threshold.
    """
    inner = np.flatnonzero(forest["feature"] >= 0)
    keys = [forest[name][inner] for name in ("threshold", "missing_left", "feature")]
    order = np.lexsort(keys)
    sorted_keys = [key[order] for key in keys]
    first = np.ones(len(inner), dtype=bool)
    first[1:] = np.any([key[1:] != key[:-1] for key in sorted_keys], axis=0)
    question = np.full(len(forest["feature"]), -1)
    question[inner[order]] = np.cumsum(first) - 1
    return question, inner[order][first]


def _upper_levels(forest: dict[str, Any], question: Any) -> Any:
    """Return for each tree how many of its levels are asked at once: as many as make predict fastest, by all trees."""
    depth, tree = _places(forest)
    leaf = np.flatnonzero((forest["feature"] < 0) & (tree >= 0))
    count = len(forest["roots"])
    deepest = np.zeros(count, dtype=np.int64)
    np.maximum.at(deepest, tree[leaf], depth[leaf])
    total, leaves = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    np.add.at(total, tree[leaf], depth[leaf])
    np.add.at(leaves, tree[leaf], 1)
    usual = -(-total // np.maximum(leaves, 1))
    # Levels that are mostly empty would make more of a tree than there is.
    filled = np.array([int(number).bit_length() for number in leaves], dtype=np.int64)
    inner = np.flatnonzero(question >= 0)
    best, least = np.ones(count, dtype=np.int64), None
    for most in range(1, _MOST_LEVELS + 1):
        levels = np.minimum(np.minimum(deepest, filled), most)
        asked = len(np.unique(question[inner[depth[inner] < levels[tree[inner]]]]))
        below = np.where(deepest > levels, np.maximum(usual - levels, 1), 0)
        cost = _ASK * asked + _CHOOSE * int((1 << levels).sum()) + _WALK * int(below.sum())
        if least is None or cost < least:
            best, least = levels, cost
    return best


def _places(forest: dict[str, Any]) -> tuple[Any, Any]:
    """Return how far below its root each node is, and the number of its tree; -1 where no tree has it."""
    depth = np.full(len(forest["feature"]), -1)
    tree = depth.copy()
    here, at = forest["roots"], np.arange(len(forest["roots"]))
    level = 0
    while here.size:
        depth[here], tree[here] = level, at
        inner = forest["feature"][here] >= 0
        here, at = _children(forest, here[inner]), np.repeat(at[inner], 2)
        level += 1
    return depth, tree


def _children(forest: dict[str, Any], nodes: Any) -> Any:
    """Return the children of inner nodes, the left one of each before the right one."""
    return np.stack([forest["left"][nodes], forest["right"][nodes]], axis=1).reshape(-1)


def _upper(forest: dict[str, Any], question: Any, root: Any, levels: int) -> tuple[Any, Any]:
    """Return the questions of a tree's upper levels, a node before its sides, and the nodes below them, left to right.

    A leaf above has itself for both children, and any question.
    """
    here = np.array([root])
    asked = []
    for _ in range(levels):
        inner = forest["feature"][here] >= 0
        asked.append(np.where(inner, question[here], question[root]))
        sides = [np.where(inner, forest[side][here], here) for side in ("left", "right")]
        here = np.stack(sides, axis=1).reshape(-1)
    return np.concatenate(asked)[_node_before_sides(levels)], here


def _node_before_sides(levels: int) -> Any:
    """Return the places, level by level, of a full tree's nodes when each comes before its left and then right side."""
    order = np.empty(0, dtype=np.int64)
    for _ in range(levels):  # the tree one level higher: its sides are this one, their levels one further down
        level = np.frexp(order + 1.0)[1] - 1  # exact: of whole numbers
        width = 1 << level
        order = np.concatenate([[0], order + width, order + 2 * width])
    return order


def _table(forest: dict[str, Any], bottom: Any) -> dict[str, Any]:
    """Return the nodes from ``bottom`` down, level by level, and the steps from there to the deepest leaf."""
    here, count, levels, left = bottom, 0, [bottom], []
    while True:
        inner = forest["feature"][here] >= 0
        itself = count + np.arange(len(here))
        count += len(here)
        left.append(np.where(inner, count + 2 * (np.cumsum(inner) - 1), itself))
        if not inner.any():
            break
        here = _children(forest, here[inner])
        levels.append(here)
    nodes = np.concatenate(levels)
    is_leaf = forest["feature"][nodes] < 0
    return {
        "steps": len(levels) - 1,
        "value": np.where(is_leaf, forest["value"][nodes], 0.0),
        "feature": np.where(is_leaf, 0, forest["feature"][nodes]),
        "threshold": np.where(is_leaf, np.inf, forest["threshold"][nodes]),
        "left": np.concatenate(left),
        "missing": np.where(is_leaf, 0, 1 - forest["missing_left"][nodes]),
    }


def _group(
    forest: dict[str, Any], order: Any, questions: Any, parts: list[dict[str, Any]], begins: int, kind: str
) -> dict[str, Any]:
    """Return a group of trees, whose ``asked`` are counted among its own questions from now on."""
    own = np.flatnonzero(questions)
    local = np.cumsum(questions) - 1
    for part in parts:
        part["asked"] = local[part["asked"]]
    nodes = order[own]
    return {
        "feature": plain(forest["feature"][nodes], "<i4"),
        "missing_left": plain(forest["missing_left"][nodes], "|u1"),
        "threshold": plain(forest["threshold"][nodes], kind),
        "first": begins,
        "count": len(parts),
    }


def _joined(parts: list[dict[str, Any]], name: str, kind: str) -> Any:
    return plain(np.concatenate([part[name] for part in parts]) if parts else [], kind)
