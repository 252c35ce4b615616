"""Predict with forests, for a part of the rows at a time. ``inside.fold.trees`` describes how a tree is stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import iter_blocks
from .nodes import preprocess, run_nodes
from .runners import RUNNERS

# Rows at a time (measured): with fewer, the calls take most of the time; with more, the arrays leave the cache.
PART_ROWS = 8192


def evaluate_splits(group: Any, values: Any, words: int) -> Any:
    """Return the results of a group's splits, one bit per row, 1 if the row goes right: uint64 (splits, words)."""
    rows = values.shape[1]
    used_bytes = -(-rows // 8)
    results = np.zeros((len(group["feature"]), words * 8), dtype=np.uint8)
    feature, missing_left, threshold = group["feature"], group["missing_left"], group["threshold"][:, None]
    # Splits are sorted by feature and by the side for NaN: evaluate those that have both in common at once.
    changes = np.flatnonzero((feature[1:] != feature[:-1]) | (missing_left[1:] != missing_left[:-1])) + 1
    for first, last in zip([0, *changes.tolist()], [*changes.tolist(), len(feature)], strict=True):
        value = values[feature[first]]
        if missing_left[first]:
            results[first:last, :used_bytes] = np.packbits(value > threshold[first:last], axis=1)
        else:  # comparing NaN is false, so it goes right
            np.invert(np.packbits(value <= threshold[first:last], axis=1), out=results[first:last, :used_bytes])
    return results.view(np.uint64)


def select_nodes(results: Any, splits: Any, levels: int, buffers: Any) -> Any:
    """Return the index of each row's node below a tree's upper levels: uint8 (64 * words,).

    The result at the root selects the left or the right subtree, for all rows and all nodes of the subtree at once.
    What remains is a tree with one level less, and so on. ``buffers`` are three arrays to work in.
    """
    tree, other, bits = buffers
    tree = results.take(splits, axis=0, out=tree[: len(splits)], mode="clip")
    for level in range(levels):
        root, half = tree[0], len(tree) // 2
        bits[level] = root
        # left ^ ((left ^ right) & root) is right where root is 1 and left where it is 0, without a temporary array.
        left_tree, right_tree, change = tree[1 : 1 + half], tree[1 + half :], other[:half]
        np.bitwise_xor(left_tree, right_tree, out=change)
        np.bitwise_and(change, root, out=change)
        np.bitwise_xor(left_tree, change, out=left_tree)
        tree = left_tree
    planes = np.unpackbits(bits[:levels].view(np.uint8), axis=1)
    index = planes[0]
    for plane in planes[1:]:
        np.add(index, index, out=index)
        np.bitwise_or(index, plane, out=index)
    return index


def slice_splits(table: Any, first: int, last: int, rows: int) -> Any:
    """Return a part of a table of splits: the offset of the feature's values, the threshold, whether NaN goes right."""
    missing = table["missing"]
    feature = np.multiply(table["feature"][first:last], rows, dtype=np.intp)
    return feature, table["threshold"][first:last], None if missing is None else missing[first:last].view(np.bool_)


def goes_right(splits: Any, rows: Any, node: Any) -> Any:
    """Return whether each row goes right at its node: bool (rows,), overwritten by the next call.

    ``rows`` are the inputs, feature by feature, the numbers of the rows, and buffers.
    """
    (feature, threshold, missing), (flat, row, *buffers) = splits, rows
    position, value, limit, right = [buffer[: len(node)] for buffer in buffers]
    feature.take(node, out=position, mode="clip")
    np.add(position, row, out=position)
    flat.take(position, out=value, mode="clip")
    threshold.take(node, out=limit, mode="clip")
    np.greater(value, limit, out=right)
    if missing is not None:
        right |= np.isnan(value) & missing[node]
    return right


def descend(splits: Any, rows: Any, node: Any, levels: Any) -> None:
    """Update ``node`` from each row's index in the first of some full levels to its index below the last one."""
    first = 0
    for level in levels:
        part = [None if column is None else column[first : first + (1 << level)] for column in splits]
        right = goes_right(part, rows, node)
        np.add(node, node, out=node)
        np.add(node, right, out=node)
        first += 1 << level


def walk_table(splits: Any, left_children: Any, rows: Any, node: Any, steps: int) -> Any:
    """Return the leaf of each row, from its node in a table: intp (rows,).

    Rows that have reached their leaf are dropped from time to time, so that later steps are faster.
    """
    flat, row, *buffers = rows
    leaf = node.copy()
    for step in range(steps):
        child = left_children.take(node, mode="clip")
        child += goes_right(splits, (flat, row, *buffers), node)
        moved = child != node
        moving = np.count_nonzero(moved)
        node = child
        if step + 1 == steps or moving < 0.8 * len(row):
            leaf[row] = node
            row, node = row[moved], node[moved]
        if moving == 0:
            break
    return leaf


def add_trees(model: Any, values: Any, sums: Any) -> None:
    """Add the trees' leaf values to ``sums`` (outputs, rows); ``values`` (inputs, rows) must be contiguous."""
    rows = values.shape[1]
    words = -(-rows // 64)
    row_buffers = [np.empty(rows, dtype=dtype) for dtype in (np.intp, values.dtype, values.dtype, np.bool_)]
    row_data = (values.reshape(-1), np.arange(rows), *row_buffers)
    max_nodes = 1 << int(model["trees"][:, 1].max(initial=0))
    bit_buffers = [np.empty((count, words), dtype=np.uint64) for count in (max_nodes, max_nodes // 2, 8)]
    node, leaf = np.empty(rows, dtype=np.intp), np.empty(rows)
    full, table = model["full"], model["table"]
    if not np.isnan(values).any():  # no side for NaN to look up: faster
        full, table = {**full, "missing": None}, {**table, "missing": None}
    for group in model["groups"]:
        results = evaluate_splits(group, values, words)
        for tree in model["trees"][group["first"] : group["first"] + group["count"]].tolist():
            output, upper, stored_levels, steps, upper_start, full_start, value_start, table_start, size = tree
            # From the root down: the upper levels by bits, the full levels by index, the rest by the table.
            splits = model["upper"][upper_start : upper_start + (1 << upper) - 1]
            node[:] = select_nodes(results, splits, upper, bit_buffers)[:rows]
            splits = slice_splits(full, full_start, full_start + (1 << stored_levels) - (1 << upper), rows)
            descend(splits, row_data, node, range(upper, stored_levels))
            last_node = node
            if steps:
                left_children = table["left"][table_start : table_start + size].astype(np.intp)
                splits = slice_splits(table, table_start, table_start + size, rows)
                last_node = walk_table(splits, left_children, row_data, node, steps)
            model["value"][value_start : value_start + size].take(last_node, out=leaf, mode="clip")
            sums[output] += leaf


def run_trees(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    raw = np.empty(len(live_features))
    preprocessing, count = model["prepare"], len(model["features"]) + len(model["benchmarks"])
    like = np.empty((0, count), dtype=model["input_dtype"] if preprocessing is None else np.float64)
    unscaled = {**model, "imputation": np.full(count, np.nan), "far": []}
    for start, stop, block in iter_blocks(unscaled, live_features, live_benchmark_models, like, model["row_bytes"]):
        values = preprocess(preprocessing, block).astype(model["input_dtype"], copy=False)
        sums = np.repeat(model["begin"][:, None], stop - start, axis=1)
        parts = -(-(stop - start) // PART_ROWS)
        step = -(-(stop - start) // (64 * parts)) * 64
        for begin in range(0, stop - start, step):
            part = slice(begin, begin + step)
            add_trees(model, np.ascontiguousarray(values[:, part]), sums[:, part])
        if model["count"] is not None:
            # Divided last: dividing each leaf value would make rows with equal sums differ in the last digits.
            sums /= model["count"][:, None]
            sums += model["base"][:, None]
        raw[start:stop] = run_nodes(model["finish"], sums)[0]
    return raw


RUNNERS["trees"] = run_trees
