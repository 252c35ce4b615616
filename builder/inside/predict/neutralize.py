"""The post-processing step ``neutralize``: what least squares on some columns and an intercept explain is taken off.

The columns are centred and brought to length 1; from the matrix of their products come the weights of the fit, and from
what is left more of them, until nothing is. This costs a fraction of a pseudo-inverse of all the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .benchmark_columns import benchmark_columns
from .inputs import BLOCK_BYTES, positions
from .rank import scope_codes
from .runners import STEPS
from .threads import with_few_threads

# A singular value below this part of the largest is that of a column that follows from others.
SAME_DIRECTION = 1e-5
# A matrix of products with a better condition than this has no such column.
GOOD_CONDITION = 1e9
# What is left of values that follow from the columns, as a part of them: rounding, whose ranks would mean nothing.
ONLY_ROUNDING = 1e-10
KEPT_BYTES = 30_000_000

NEUTRALIZE_STEP = {
    "text": "Take off a part of what least squares with an intercept explains by some columns; name one sort of them.",
    "range": "any",
    "one_of": ["features", "group", "benchmarks"],
    "options": {
        "features": {"type": "features", "text": "Feature columns."},
        "group": {
            "type": "group",
            "text": "A feature set of the tournament's features.json, such as medium; its names go into the pickle.",
        },
        "benchmarks": {"type": "benchmarks", "text": "Benchmark columns."},
        "proportion": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 1.0,
            "text": "How much of the explained part is taken off: 1 is all of it.",
        },
        "scope": {"type": "scope", "text": "Within each era, or over the whole frame as in the official example."},
    },
}


def neutralizers(options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return where the columns are: the frame, their places in it, and whether all of them are plain numbers.

    Raises:
        ValueError: a column or the benchmark frame is missing.
    """
    names = options.get("benchmarks")
    if names:
        values = benchmark_columns(names, live_features, live_benchmark_models)
        return {"frame": pd.DataFrame(values.T), "place": np.arange(len(names)), "plain": True}
    place = positions(live_features.columns, pd.Index(options["features"]), "live_features")
    types = live_features.dtypes.iloc[place].unique()
    plain = all(isinstance(one, np.dtype) and one.kind in "iuf" for one in types)
    return {"frame": live_features, "place": place, "plain": plain}


def scope_rows(codes: Any) -> Any:
    """Yield the rows of each scope, in their order: intp (rows of the scope,)."""
    order = np.argsort(codes, kind="stable")
    yield from np.split(order, np.cumsum(np.bincount(codes))[:-1])


def row_blocks(source: Any) -> Any:
    """Yield (start, stop) of blocks of the scope's rows, so that memory does not grow with them."""
    rows = len(source["rows"])
    step = max(64, BLOCK_BYTES // (16 * len(source["place"])))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def taken(source: Any, start: int, stop: int) -> Any:
    """Return the columns in some of the scope's rows, in whatever numeric type the frame has them: (columns, rows)."""
    if source["kept"] is not None:
        return source["kept"][:, start:stop]
    rows = source["rows"][start:stop]
    together = rows[-1] - rows[0] == len(rows) - 1  # they ascend
    part = source["frame"].iloc[slice(rows[0], rows[-1] + 1) if together else rows].take(source["place"], axis=1)
    return (part.to_numpy() if source["plain"] else part.to_numpy(dtype=np.float64, na_value=np.nan)).T


def in_scope(source: Any, rows: Any) -> Any:
    """Return the columns of one scope; kept, not taken again in each pass, where they are few."""
    source = {**source, "rows": rows, "kept": None}
    if len(rows) * len(source["place"]) * taken(source, 0, 1).itemsize <= KEPT_BYTES:
        source["kept"] = taken(source, 0, len(rows))
    return source


def only_some(source: Any, chosen: Any) -> Any:
    """Return some of the columns of a scope."""
    kept = source["kept"]
    return {**source, "place": source["place"][chosen], "kept": None if kept is None else kept[chosen]}


def centred(source: Any, start: int, stop: int, centre: Any) -> Any:
    """Return the columns less their centre, 0 where there is no value: (columns, rows) in the centre's type."""
    found = taken(source, start, stop)
    values = found.astype(centre.dtype)
    values -= centre[:, None]
    if found.dtype.kind == "f":
        values[~np.isfinite(values)] = 0
    return values


def column_means(source: Any) -> Any:
    """Return mean, lowest and highest of each column's values, and whether all rows have whole ones: (columns,) each.

    A column without a value has the mean 0, and infinity for the lowest.
    """
    sums, counts = np.zeros(len(source["place"])), np.zeros(len(source["place"]))
    low, high = np.full(len(sums), np.inf), np.full(len(sums), -np.inf)
    whole = np.ones(len(sums), dtype=bool)
    for start, stop in row_blocks(source):
        values = taken(source, start, stop)
        if values.dtype.kind == "f":
            present = np.isfinite(values)
            whole &= present.all(axis=1) & (np.rint(values) == values).all(axis=1)
            low = np.minimum(low, values.min(axis=1, where=present, initial=np.inf))
            high = np.maximum(high, values.max(axis=1, where=present, initial=-np.inf))
            sums += values.sum(axis=1, where=present, dtype=np.float64)
            counts += present.sum(axis=1)
        else:
            low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
            sums += values.sum(axis=1, dtype=np.float64)
            counts += stop - start
    return sums / np.maximum(counts, 1), low, high, whole


def column_products(source: Any, means: Any, reach: Any, values: Any) -> Any:
    """Return the centred columns' products with one another, (columns, columns), and with ``values``: (columns,).

    ``reach``: how far whole numbers go from their rounded means, None where the columns are not whole. As long as no
    sum of a block leaves the whole numbers that float32 has, it is exact in float32, in half of the time. The products
    with ``values`` are as good as the type, for a first fit.
    """
    matrix, sums = np.zeros((len(means), len(means))), np.zeros(len(means))
    centre, parts = means, list(row_blocks(source))
    if reach is not None and reach * reach * parts[0][1] < 1 << 24:
        centre = np.round(means).astype(np.float32)
    for start, stop in parts:
        block = centred(source, start, stop, centre)
        matrix += block @ block.T
        sums += block @ values[start:stop].astype(block.dtype)
    off = means - centre
    matrix -= len(source["rows"]) * np.outer(off, off)
    return matrix, sums


def inverse_root(squares: Any) -> Any:
    """Return 1 / sqrt(x), 0 for 0."""
    return np.where(squares > 0, 1 / np.sqrt(np.where(squares > 0, squares, 1)), 0)


def lower_inverse(lower: Any) -> Any:
    """Return the inverse of a lower triangular matrix, halves first: far cheaper than that of any matrix."""
    size = len(lower)
    if size <= 64:
        return np.linalg.inv(lower)
    half = size // 2
    found = np.zeros_like(lower)
    found[:half, :half] = lower_inverse(lower[:half, :half])
    found[half:, half:] = lower_inverse(lower[half:, half:])
    found[half:, :half] = -found[half:, half:] @ (lower[half:, :half] @ found[:half, :half])
    return found


def inverse_factor(products: Any) -> Any:
    """Return F such that F.T @ F inverts a matrix of products, without the directions that are the same as others."""
    try:
        found = lower_inverse(np.linalg.cholesky(products))
        # Both bounds are from above: the largest row for the largest eigenvalue, the trace for the inverse's.
        if np.abs(products).sum(axis=0).max() * np.square(found).sum() <= GOOD_CONDITION:
            return found
    except np.linalg.LinAlgError:
        pass
    sizes, vectors = np.linalg.eigh(products)
    used = sizes > SAME_DIRECTION**2 * sizes[-1]
    return (vectors[:, used] / np.sqrt(sizes[used])).T


def less_than_rows(source: Any, means: Any, reach: Any, values: Any) -> Any:
    """Return centred ``values`` without their projection on fewer columns than there are rows: float64 (rows,)."""
    matrix, sums = column_products(source, means, reach, values)
    scale = inverse_root(np.diagonal(matrix))
    factor = inverse_factor(matrix * np.outer(scale, scale)) * scale
    left, first = values.copy(), 0.0
    for turn in range(6):
        fit = factor @ sums  # in directions at right angles: its size is that of what it explains
        weights, sums = fit @ factor, np.zeros(len(means))
        for start, stop in row_blocks(source):
            block = centred(source, start, stop, means)
            left[start:stop] -= weights @ block
            sums += block @ left[start:stop]
        left -= left.mean()
        size = np.abs(fit).max()
        first = max(first, size)
        if turn and size <= 1e-5 * first and np.abs(factor @ sums).max() <= 1e-12 * first:
            break
    return left


def as_many_as_rows(source: Any, means: Any, values: Any) -> Any:
    """Return centred ``values`` without their projection on as many columns as rows, or more: float64 (rows,)."""
    block = centred(source, 0, len(values), means)
    block *= inverse_root((block * block).sum(axis=1))[:, None]
    _, sizes, vectors = np.linalg.svd(block, full_matrices=False)
    vectors = vectors[sizes > SAME_DIRECTION * sizes[0]]
    left = values - (vectors @ values) @ vectors
    return left - (vectors @ left) @ vectors


def unexplained(source: Any, values: Any) -> Any:
    """Return ``values`` less their least-squares fit on a scope's columns and an intercept: float64 (rows,)."""
    values = values - values[0]  # equal values: exactly 0
    values -= values.mean()
    means, low, high, whole = column_means(source)
    varied = high > low  # a column without values is none either
    if not varied.any():
        return values
    if not varied.all():
        source, means, low, high, whole = only_some(source, varied), *(one[varied] for one in (means, low, high, whole))
    if len(values) <= len(means):
        left = as_many_as_rows(source, means, values)
    else:
        near = np.round(means)
        reach = max((high - near).max(), (near - low).max()) if whole.all() else None
        if reach is not None and source["kept"] is not None and low.min() >= -128 and high.max() <= 127:
            source["kept"] = source["kept"].astype(np.int8)  # floats, because some other column has none in places
        left = less_than_rows(source, means, reach, values)
    return np.zeros(len(values)) if np.abs(left).max() <= ONLY_ROUNDING * np.abs(values).max() else left


def neutralized(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` less ``proportion`` of their projection on the columns and an intercept."""
    source = neutralizers(options, live_features, live_benchmark_models)
    result = np.empty(len(values))
    for rows in scope_rows(scope_codes(live_features, options["scope"])):
        left = unexplained(in_scope(source, rows), values[rows])
        result[rows] = left + (1 - options["proportion"]) * (values[rows] - left)
    return result


def neutralize_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` neutralised; the products are BLAS's."""
    return with_few_threads(neutralized, values, options, live_features, live_benchmark_models)


STEPS["neutralize"] = neutralize_step
