"""A forest, a part of the rows at a time: questions asked of all of them at once, then walks through tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import blocks
from .nodes import prepared, run_nodes
from .runners import RUNNERS

PART = 4096  # rows whose answers to a tree's questions stay in the processor's second cache


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
    tree = np.take(answers, asked, axis=0, out=tree[: len(asked)], mode="clip")
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


def walk(table: Any, flat: Any, node: Any, steps: int) -> Any:
    """Return the leaf of each row, from the node where it stands: intp (rows,).

    ``table`` is feature (times rows), threshold, left child and, where a NaN may go right, whether it does; ``flat``
    the inputs, feature by feature. Rows that have arrived are left behind when they are many.
    """
    feature, threshold, left, missing = table
    row, leaf = np.arange(len(node)), None
    at, value, against = np.empty_like(node), np.empty(len(node), flat.dtype), np.empty(len(node), flat.dtype)
    other = np.empty_like(node)
    for step in range(steps):
        count = len(node)
        np.take(feature, node, out=at[:count], mode="clip")
        np.add(at[:count], row, out=at[:count])
        np.take(flat, at[:count], out=value[:count], mode="clip")
        np.take(threshold, node, out=against[:count], mode="clip")
        right = value[:count] > against[:count]
        if missing is not None:
            right |= np.isnan(value[:count]) & missing[node]
        below = np.take(left, node, out=other[:count], mode="clip")
        below += right
        going = count
        if step + 1 < steps:
            moved = below != node
            going = np.count_nonzero(moved)
        node, other = below, node
        if going == 0:
            break
        if going < 0.7 * count:
            if leaf is None:
                leaf = node.copy()
            else:
                leaf[row] = node
            row, node, other = row[moved], node[moved], other[:going]
    if leaf is None:
        return node
    leaf[row] = node
    return leaf


def add_trees(model: Any, values: Any, sums: Any) -> None:
    """Add the trees' leaves to ``sums`` (outputs, rows); ``values`` (inputs, rows) is contiguous."""
    rows = values.shape[1]
    words = -(-rows // 64)
    flat = values.reshape(-1)
    most = 1 << int(model["trees"][:, 1].max(initial=0))
    room = [np.empty((count, words), dtype=np.uint64) for count in (most, most // 2, 8)]
    place, leaf = np.empty(rows, dtype=np.intp), np.empty(rows)
    missing = model["missing"] if model["missing"] is not None and np.isnan(values).any() else None
    for group in model["groups"]:
        answers = ask(group, values, words)
        for tree in model["trees"][group["first"] : group["first"] + group["count"]].tolist():
            output, levels, steps, asked, value, table, size = tree
            place[:] = choose(answers, model["asked"][asked : asked + (1 << levels) - 1], levels, room)[:rows]
            node = place
            if steps:
                part = slice(table, table + size)
                tables = (
                    model["feature"][part].astype(np.intp) * rows,
                    model["threshold"][part],
                    model["left"][part].astype(np.intp),
                    None if missing is None else missing[part].view(np.bool_),
                )
                node = walk(tables, flat, place.copy(), steps)
            np.take(model["value"][value : value + size], node, out=leaf, mode="clip")
            sums[output] += leaf


def run_trees(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    raw = np.empty(len(live_features))
    prepare, count = model["prepare"], len(model["features"]) + len(model["benchmarks"])
    like = np.empty((0, count), dtype=model["kind_of_inputs"] if prepare is None else np.float64)
    as_they_are = {**model, "imputation": np.full(count, np.nan), "far": []}
    for start, stop, block in blocks(as_they_are, live_features, live_benchmark_models, like, model["row_bytes"]):
        values = prepared(prepare, block).astype(model["kind_of_inputs"], copy=False)
        sums = np.repeat(model["base"][:, None], stop - start, axis=1)
        parts = -(-(stop - start) // PART)
        step = -(-(stop - start) // (64 * parts)) * 64
        for begin in range(0, stop - start, step):
            part = slice(begin, begin + step)
            add_trees(model, np.ascontiguousarray(values[:, part]), sums[:, part])
        raw[start:stop] = run_nodes(model["finish"], sums)[0]
    return raw


RUNNERS["trees"] = run_trees
