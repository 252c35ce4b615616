"""Forests, laid out for predict: a tree's upper levels as questions, its middle as full levels, the rest as a table.

Near its root a tree has few nodes, and each is asked of all rows at once: one bit a row. Many nodes of a forest ask the
same (a feature of five values has four questions), so each question is asked once for a group of trees. Once a level
has too many nodes for that, each row looks up its own node. As long as the levels are not too empty they are stored in
full, where the children of a node need no looking up; below, a table has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .nodes import fold_nodes, fold_preprocessing, plain, prepare_bytes, row_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The types of the arrays of a bundle: a value for each node, a value for each tree.
NODE_ARRAYS: Mapping[str, str] = {
    "feature": "int32",
    "threshold": "float64",
    "left": "int32",
    "right": "int32",
    "missing_left": "uint8",
    "value": "float64",
}
TREE_ARRAYS: Mapping[str, str] = {"roots": "int32", "output": "int32"}

# What predict takes for a row, in picoseconds (measured): to ask a question, to choose between the answers of two
# nodes, to look up a node. Only their proportions matter.
_ASK, _CHOOSE, _LOOK_UP = 170, 40, 4700
_MOST_ASKED = 8  # a place among the nodes below these levels is one byte

# Questions of one group of trees: their answers are this many bits a row.
_QUESTIONS = 16384


def fold_trees(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the forest as ``predict.trees`` takes it.

    ``begin`` is what the sums begin from, ``count`` what they are divided by and ``base`` what is added then; the last
    two are None where the trees are not averaged.

    ``groups`` are trees, one after the other, with the questions of their upper levels, sorted by feature. ``trees``
    has a row for each tree: its output, its upper levels, its full levels (those included), the steps through its table
    at most; then where its part of ``asked``, ``full``, ``value`` and ``table`` begins, and how long the last two are.

    ``asked`` are the questions of a tree's upper levels, a node before its left and then its right side. ``full`` has
    the levels after them, each from left to right. Then come the nodes below, left to right, in ``value`` as in
    ``table``; there the right child of a node is next to its left one, and a leaf is its own left child.
    """
    forest = _without_bare_roots({**arrays, "threshold": _thresholds(arrays["threshold"], rounded=header["rounded"])})
    base, averaged = arrays["base"].astype(np.float64), header.get("averaged", False)
    count = np.maximum(np.bincount(arrays["output"], minlength=len(base)), 1)
    finish = fold_nodes(header.get("finish", ()), arrays, "finish.")
    prepare = fold_preprocessing(header.get("prepare"), arrays)
    inputs = len(header["features"]) + len(header["benchmarks"])
    kind = "<f4" if header["rounded"] else "<f8"
    return {
        **_laid_out(forest, kind),
        "kind_of_inputs": kind,
        "begin": plain(np.zeros_like(base) if averaged else base, "<f8"),
        "count": plain(count, "<f8") if averaged else None,
        "base": plain(base, "<f8") if averaged else None,
        "prepare": prepare,
        "finish": finish,
        "row_bytes": prepare_bytes(prepare, inputs) + row_bytes(finish, len(base)) + 8 * len(base),
    }


def _without_bare_roots(forest: dict[str, Any]) -> dict[str, Any]:
    """Return the forest with a question before each leaf that is a whole tree, whose answer changes nothing.

    So it is added in its turn: in another order the same numbers have other sums.
    """
    bare = np.flatnonzero(forest["feature"][forest["roots"]] < 0)
    if not bare.size:
        return forest
    leaf = forest["roots"][bare]
    inner = np.flatnonzero(forest["feature"] >= 0)[:1]  # its question is asked anyway
    own = {"left": leaf, "right": leaf, "value": 0.0, "feature": 0, "threshold": 0.0, "missing_left": 0}
    if inner.size:
        own |= {name: forest[name][inner] for name in ("feature", "threshold", "missing_left")}
    roots = forest["roots"].copy()
    roots[bare] = len(forest["feature"]) + np.arange(bare.size)
    more = {name: np.broadcast_to(value, bare.shape).astype(forest[name].dtype) for name, value in own.items()}
    return {**forest, "roots": roots, **{name: np.concatenate([forest[name], part]) for name, part in more.items()}}


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
    """Return ``groups``, ``trees``, ``asked``, ``full``, ``value`` and ``table``."""
    question, order = _questions(forest)
    upper, whole = _levels(forest, question)
    rows, parts = [], []
    starts = dict.fromkeys(("asked", "full", "value", "table"), 0)
    for place, root in enumerate(forest["roots"]):
        part = _part(forest, question, root, upper=int(upper[place]), whole=int(whole[place]))
        steps, size = part["steps"], len(part["value"])
        rows.append([forest["output"][place], upper[place], whole[place], steps, *starts.values(), size])
        starts["asked"] += len(part["asked"])
        starts["full"] += len(part["full"]["feature"])
        starts["value"] += size
        starts["table"] += size if steps else 0
        parts.append(part)
    groups, asked = [], []
    for first, last, own in _groups([part["asked"] for part in parts], len(order)):
        groups.append(_group(forest, order[own], first, last - first, kind))
        asked += [np.searchsorted(own, part["asked"]) for part in parts[first:last]]
    deep = [part for part in parts if part["steps"]]
    return {
        "groups": groups,
        "trees": plain(np.array(rows).reshape(-1, 9), "<i4"),
        "asked": _joined(asked, "<i4"),
        "full": _tests([part["full"] for part in parts], kind),
        "value": _joined([part["value"] for part in parts], "<f8"),
        "table": {
            **_tests([part["table"] for part in deep], kind),
            "left": _joined([part["left"] for part in deep], "<i4"),
        },
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


def _levels(forest: dict[str, Any], question: Any) -> tuple[Any, Any]:
    """Return for each tree how many of its levels are asked at once, and how many are not left to its table.

    As many are asked as make predict fastest, by all trees together. A tree is stored in full where that makes no more
    than four places of a leaf; of any other, as many levels as have no more places than the tree has leaves.
    """
    depth, tree = _places(forest)
    leaf = np.flatnonzero((forest["feature"] < 0) & (tree >= 0))
    inner = np.flatnonzero(question >= 0)
    deepest, leaves = np.zeros((2, len(forest["roots"])), dtype=np.int64)
    np.maximum.at(deepest, tree[leaf], depth[leaf])
    np.add.at(leaves, tree[leaf], 1)
    filled = np.array([int(number).bit_length() for number in leaves], dtype=np.int64)
    whole = np.where(deepest <= filled + 1, deepest, filled - 1)
    best, least = whole, None
    for most in range(1, _MOST_ASKED + 1):
        upper = np.minimum(np.minimum(whole, filled), most)
        asked = len(np.unique(question[inner[depth[inner] < upper[tree[inner]]]]))
        cost = _ASK * asked + _CHOOSE * int((1 << upper).sum()) + _LOOK_UP * int((whole - upper).sum())
        if least is None or cost < least:
            best, least = upper, cost
    return best, whole


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


def _part(forest: dict[str, Any], question: Any, root: Any, *, upper: int, whole: int) -> dict[str, Any]:
    """Return one tree laid out: ``asked``, ``full``, ``value``, ``table``, ``left`` and ``steps``.

    A leaf above the last full level has itself for both children there, and any question.
    """
    levels = [np.array([root])]
    for _ in range(whole):
        here = levels[-1]
        inner = forest["feature"][here] >= 0
        sides = [np.where(inner, forest[side][here], here) for side in ("left", "right")]
        levels.append(np.stack(sides, axis=1).reshape(-1))
    top, middle = (np.concatenate([levels[0][:0], *some]) for some in (levels[:upper], levels[upper:-1]))
    asked = np.where(question[top] >= 0, question[top], question[root])
    nodes, left, steps = _table(forest, levels[-1])
    return {
        "asked": asked[_node_before_sides(upper)],
        "full": _test(forest, middle),
        "value": np.where(forest["feature"][nodes] < 0, forest["value"][nodes], 0.0),
        "table": _test(forest, nodes),
        "left": left,
        "steps": steps,
    }


def _test(forest: dict[str, Any], nodes: Any) -> dict[str, Any]:
    """Return what each node compares, and whether a NaN goes right; at a leaf nothing does."""
    is_leaf = forest["feature"][nodes] < 0
    return {
        "feature": np.where(is_leaf, 0, forest["feature"][nodes]),
        "threshold": np.where(is_leaf, np.inf, forest["threshold"][nodes]),
        "missing": np.where(is_leaf, 0, 1 - forest["missing_left"][nodes]),
    }


def _node_before_sides(levels: int) -> Any:
    """Return the places, level by level, of a full tree's nodes when each comes before its left and then right side."""
    order = np.empty(0, dtype=np.int64)
    for _ in range(levels):  # the tree one level higher: its sides are this one, their levels one further down
        level = np.frexp(order + 1.0)[1] - 1  # exact: of whole numbers
        width = 1 << level
        order = np.concatenate([[0], order + width, order + 2 * width])
    return order


def _table(forest: dict[str, Any], bottom: Any) -> tuple[Any, Any, int]:
    """Return the nodes from ``bottom`` down, level by level, their left children, and the steps to the deepest leaf."""
    here, count, levels, left = bottom, 0, [bottom], []
    while True:
        inner = forest["feature"][here] >= 0
        itself = count + np.arange(len(here))
        count += len(here)
        left.append(np.where(inner, count + 2 * (np.cumsum(inner) - 1), itself))
        if not inner.any():
            return np.concatenate(levels), np.concatenate(left), len(levels) - 1
        here = _children(forest, here[inner])
        levels.append(here)


def _groups(asked: list[Any], count: int) -> list[tuple[int, int, Any]]:
    """Return runs of trees that ask no more than a group's questions, as (first, last + 1, questions sorted)."""
    found = []
    taken, first = np.zeros(count, dtype=bool), 0
    for place, one in enumerate(asked):
        own = np.unique(one)
        if np.count_nonzero(taken) + np.count_nonzero(~taken[own]) > _QUESTIONS:
            found.append((first, place, np.flatnonzero(taken)))
            taken, first = np.zeros(count, dtype=bool), place
        taken[own] = True
    if asked:
        found.append((first, len(asked), np.flatnonzero(taken)))
    return found


def _group(forest: dict[str, Any], nodes: Any, begins: int, count: int, kind: str) -> dict[str, Any]:
    """Return the questions that these nodes ask, and the trees that ask them."""
    return {
        "feature": plain(forest["feature"][nodes], "<i4"),
        "missing_left": plain(forest["missing_left"][nodes], "|u1"),
        "threshold": plain(forest["threshold"][nodes], kind),
        "first": begins,
        "count": count,
    }


def _tests(parts: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the tests of many trees end to end; ``missing`` is None where no NaN goes right."""
    kinds = {"feature": "<i4", "threshold": kind, "missing": "|u1"}
    joined = {name: _joined([part[name] for part in parts], one) for name, one in kinds.items()}
    return {**joined, "missing": joined["missing"] if joined["missing"].any() else None}


def _joined(parts: list[Any], kind: str) -> Any:
    return plain(np.concatenate(parts) if parts else [], kind)
