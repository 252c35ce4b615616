"""A forest, a part of the rows at a time: questions asked of all of them at once, then walks through tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import blocks
from .nodes import preprocess, run_nodes
from .runners import RUNNERS

PART = 8192  # rows at a time: with fewer, the calls take longer than what they do; with more, caches are too small


def ask(group: Any, values: Any, words: int) -> Any:
    """Return the answers to a group's questions, a bit a row, 1 where it goes right: uint64 (questions, words)."""
    rows = values.shape[1]
    used = -(-rows // 8)
    answers = np.zeros((len(group["feature"]), words * 8), dtype=np.uint8)
    feature, missing_left, threshold = group["feature"], group["missing_left"], group["threshold"][:, None]
    turns = np.flatnonzero((feature[1:] != feature[:-1]) | (missing_left[1:] != missing_left[:-1])) + 1
    for first, last in zip([0, *turns.tolist()], [*turns.tolist(), len(feature)], strict=True):
        value = values[feature[first]]
        if missing_left[first]:
            answers[first:last, :used] = np.packbits(value > threshold[first:last], axis=1)
        else:  # a NaN is not below anything: so it goes right
            np.invert(np.packbits(value <= threshold[first:last], axis=1), out=answers[first:last, :used])
    return answers.view(np.uint64)


def choose(answers: Any, asked: Any, levels: int, room: Any) -> Any:
    """Return the place of each row among the nodes below a tree's upper levels: uint8 (64 * words,).

    ``room`` is three arrays to work in. The answer at the root decides between the left and the right side of the tree,
    for all rows and all nodes of the side at once; what remains is a tree one level lower, and so on.
    """
    tree, other, bits = room
    tree = answers.take(asked, axis=0, out=tree[: len(asked)], mode="clip")
    for level in range(levels):
        root, half = tree[0], len(tree) // 2
        bits[level] = root
        left, right, change = tree[1 : 1 + half], tree[1 + half :], other[:half]
        np.bitwise_xor(left, right, out=change)
        np.bitwise_and(change, root, out=change)
        np.bitwise_xor(left, change, out=left)
        tree = left
    planes = np.unpackbits(bits[:levels].view(np.uint8), axis=1)
    place = planes[0]
    for plane in planes[1:]:
        np.add(place, place, out=place)
        np.bitwise_or(place, plane, out=place)
    return place


def part_of(table: Any, first: int, last: int, rows: int) -> Any:
    """Return a part of a table of splits: where a feature's rows begin, threshold, whether a NaN goes right."""
    missing = table["missing"]
    feature = np.multiply(table["feature"][first:last], rows, dtype=np.intp)
    return feature, table["threshold"][first:last], None if missing is None else missing[first:last].view(np.bool_)


def goes_right(splits: Any, rows: Any, node: Any) -> Any:
    """Return whether each row goes right at its node: bool (rows,), good until the next call.

    ``rows`` are the inputs, feature by feature, the rows' numbers, and room for what is computed on the way.
    """
    (feature, threshold, missing), (flat, row, *room) = splits, rows
    at, value, against, right = [one[: len(node)] for one in room]
    feature.take(node, out=at, mode="clip")
    np.add(at, row, out=at)
    flat.take(at, out=value, mode="clip")
    threshold.take(node, out=against, mode="clip")
    np.greater(value, against, out=right)
    if missing is not None:
        right |= np.isnan(value) & missing[node]
    return right


def descend(splits: Any, rows: Any, node: Any, levels: Any) -> None:
    """Take each row from its place in the first of some full levels to its place below the last one, in ``node``."""
    first = 0
    for level in levels:
        part = [None if one is None else one[first : first + (1 << level)] for one in splits]
        right = goes_right(part, rows, node)
        np.add(node, node, out=node)
        np.add(node, right, out=node)
        first += 1 << level


def walk(splits: Any, left: Any, rows: Any, node: Any, steps: int) -> Any:
    """Return the leaf of each row, from its node in a table: intp (rows,). Those that have arrived are left behind."""
    flat, row, *room = rows
    leaf = node.copy()
    for step in range(steps):
        below = left.take(node, mode="clip")
        below += goes_right(splits, (flat, row, *room), node)
        moved = below != node
        going = np.count_nonzero(moved)
        node = below
        if step + 1 == steps or going < 0.8 * len(row):
            leaf[row] = node
            row, node = row[moved], node[moved]
        if going == 0:
            break
    return leaf


def add_trees(model: Any, values: Any, sums: Any) -> None:
    """Add the trees' leaves to ``sums`` (outputs, rows); ``values`` (inputs, rows) is contiguous."""
    rows = values.shape[1]
    words = -(-rows // 64)
    room = [np.empty(rows, dtype=kind) for kind in (np.intp, values.dtype, values.dtype, np.bool_)]
    walking = (values.reshape(-1), np.arange(rows), *room)
    most = 1 << int(model["trees"][:, 1].max(initial=0))
    wide = [np.empty((count, words), dtype=np.uint64) for count in (most, most // 2, 8)]
    place, leaf = np.empty(rows, dtype=np.intp), np.empty(rows)
    full, table = model["full"], model["table"]
    if not np.isnan(values).any():
        full, table = {**full, "missing": None}, {**table, "missing": None}
    for group in model["groups"]:
        answers = ask(group, values, words)
        for tree in model["trees"][group["first"] : group["first"] + group["count"]].tolist():
            output, upper, whole, steps, asked, middle, value, below, size = tree
            place[:] = choose(answers, model["asked"][asked : asked + (1 << upper) - 1], upper, wide)[:rows]
            splits = part_of(full, middle, middle + (1 << whole) - (1 << upper), rows)
            descend(splits, walking, place, range(upper, whole))
            node = place
            if steps:
                left = table["left"][below : below + size].astype(np.intp)
                node = walk(part_of(table, below, below + size, rows), left, walking, place, steps)
            model["value"][value : value + size].take(node, out=leaf, mode="clip")
            sums[output] += leaf


def run_trees(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    raw = np.empty(len(live_features))
    prepare, count = model["prepare"], len(model["features"]) + len(model["benchmarks"])
    like = np.empty((0, count), dtype=model["kind_of_inputs"] if prepare is None else np.float64)
    as_they_are = {**model, "imputation": np.full(count, np.nan), "far": []}
    for start, stop, block in blocks(as_they_are, live_features, live_benchmark_models, like, model["row_bytes"]):
        values = preprocess(prepare, block).astype(model["kind_of_inputs"], copy=False)
        sums = np.repeat(model["begin"][:, None], stop - start, axis=1)
        parts = -(-(stop - start) // PART)
        step = -(-(stop - start) // (64 * parts)) * 64
        for begin in range(0, stop - start, step):
            part = slice(begin, begin + step)
            add_trees(model, np.ascontiguousarray(values[:, part]), sums[:, part])
        if model["count"] is not None:  # divided last: of leaves divided first, equal sums end some bits apart
            sums /= model["count"][:, None]
            sums += model["base"][:, None]
        raw[start:stop] = run_nodes(model["finish"], sums)[0]
    return raw


RUNNERS["trees"] = run_trees
