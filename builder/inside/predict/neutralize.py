"""The post-processing step ``neutralize``: subtract what least squares on some columns and an intercept explain.

The columns are centred and scaled to length 1. The weights of the fit come from the matrix of the columns' products
(the normal equations) and are refined with the residual until it does not change. This takes a fraction of the time of
a pseudo-inverse of the rows (``docs/post-processing.md``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .benchmark_columns import get_benchmark_columns
from .inputs import BLOCK_BYTES, find_positions
from .rank import get_scope_codes
from .runners import STEPS
from .threads import run_with_thread_limit

# A singular value below this fraction of the largest belongs to a column that depends linearly on others.
SAME_DIRECTION = 1e-5
# If the condition number of the matrix of products is at most this, no column depends on others.
GOOD_CONDITION = 1e9
# A residual below this fraction of the values is rounding error. It is set to 0, because its ranks would mean nothing.
ONLY_ROUNDING = 1e-10
# The columns of a scope are kept in memory between passes if they are at most this large.
KEPT_BYTES = 30_000_000

NEUTRALIZE_STEP = {
    "text": "Subtract what least squares on some columns and an intercept explains; give one kind of column.",
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
            "text": "How much of the explained part is subtracted: 1 is all of it.",
        },
        "scope": {"type": "scope", "text": "Within each era, or over the whole frame as in the official example."},
    },
}


def find_neutralizers(options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the source of the columns: the frame, their positions in it, and whether all are numpy numbers.

    Raises:
        ValueError: A column or the benchmark frame is missing.
    """
    names = options.get("benchmarks")
    if names:
        values = get_benchmark_columns(names, live_features, live_benchmark_models)
        return {"frame": pd.DataFrame(values.T), "positions": np.arange(len(names)), "is_numpy": True}
    positions = find_positions(live_features.columns, pd.Index(options["features"]), "live_features")
    dtypes = live_features.dtypes.iloc[positions].unique()
    is_numpy = all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in dtypes)
    return {"frame": live_features, "positions": positions, "is_numpy": is_numpy}


def iter_scopes(codes: Any) -> Any:
    """Yield the rows of each scope in ascending order: intp (rows of the scope,)."""
    order = np.argsort(codes, kind="stable")
    yield from np.split(order, np.cumsum(np.bincount(codes))[:-1])


def iter_row_blocks(source: Any) -> Any:
    """Yield (start, stop) for blocks of the scope's rows, so that memory does not grow with their number."""
    rows = len(source["rows"])
    step = max(64, BLOCK_BYTES // (16 * len(source["positions"])))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def get_columns(source: Any, start: int, stop: int) -> Any:
    """Return the columns for some of the scope's rows in the numeric dtype of the frame: (columns, rows)."""
    if source["kept"] is not None:
        return source["kept"][:, start:stop]
    rows = source["rows"][start:stop]
    consecutive = rows[-1] - rows[0] == len(rows) - 1  # rows are in ascending order; a slice needs no copy
    part = source["frame"].iloc[slice(rows[0], rows[-1] + 1) if consecutive else rows].take(source["positions"], axis=1)
    return (part.to_numpy() if source["is_numpy"] else part.to_numpy(dtype=np.float64, na_value=np.nan)).T


def select_scope(source: Any, rows: Any) -> Any:
    """Return the source of one scope's columns, which are kept in memory if they are small."""
    source = {**source, "rows": rows, "kept": None}
    if len(rows) * len(source["positions"]) * get_columns(source, 0, 1).itemsize <= KEPT_BYTES:
        source["kept"] = get_columns(source, 0, len(rows))
    return source


def select_columns(source: Any, mask: Any) -> Any:
    """Return the source of some of the columns of a scope."""
    columns = source["kept"]
    return {**source, "positions": source["positions"][mask], "kept": None if columns is None else columns[mask]}


def centre_columns(source: Any, start: int, stop: int, centre: Any) -> Any:
    """Return the columns minus their centre, 0 for missing values: (columns, rows) in the dtype of ``centre``."""
    columns = get_columns(source, start, stop)
    values = columns.astype(centre.dtype)
    values -= centre[:, None]
    if columns.dtype.kind == "f":
        values[~np.isfinite(values)] = 0
    return values


def compute_statistics(source: Any) -> Any:
    """Return the mean, minimum and maximum of each column, and whether it has an integer in all rows: (columns,) each.

    A column without values has mean 0, minimum infinity and maximum -infinity.
    """
    sums, counts = np.zeros(len(source["positions"])), np.zeros(len(source["positions"]))
    low, high = np.full(len(sums), np.inf), np.full(len(sums), -np.inf)
    is_integer = np.ones(len(sums), dtype=bool)
    for start, stop in iter_row_blocks(source):
        values = get_columns(source, start, stop)
        if values.dtype.kind == "f":
            present = np.isfinite(values)
            is_integer &= present.all(axis=1) & (np.rint(values) == values).all(axis=1)
            low = np.minimum(low, values.min(axis=1, where=present, initial=np.inf))
            high = np.maximum(high, values.max(axis=1, where=present, initial=-np.inf))
            sums += values.sum(axis=1, where=present, dtype=np.float64)
            counts += present.sum(axis=1)
        else:
            low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
            sums += values.sum(axis=1, dtype=np.float64)
            counts += stop - start
    return sums / np.maximum(counts, 1), low, high, is_integer


def compute_products(source: Any, means: Any, reach: Any, values: Any) -> Any:
    """Return the centred columns' products with one another, (columns, columns), and with ``values``: (columns,).

    ``reach`` is the largest distance of integers from their rounded means; None if the columns are not integers. As
    long as all sums of a block are integers that float32 represents (up to 2^24), float32 gives the exact result in
    half the time. The products with ``values`` are only used for a first fit, so float32 is enough for them.
    """
    matrix, sums = np.zeros((len(means), len(means))), np.zeros(len(means))
    centre, blocks = means, list(iter_row_blocks(source))
    if reach is not None and reach * reach * blocks[0][1] < 1 << 24:
        centre = np.round(means).astype(np.float32)
    for start, stop in blocks:
        block = centre_columns(source, start, stop, centre)
        matrix += block @ block.T
        sums += block @ values[start:stop].astype(block.dtype)
    offset = means - centre  # correct for centring by the rounded means
    matrix -= len(source["rows"]) * np.outer(offset, offset)
    return matrix, sums


def invert_roots(squares: Any) -> Any:
    """Return 1 / sqrt(x), and 0 for 0."""
    return np.where(squares > 0, 1 / np.sqrt(np.where(squares > 0, squares, 1)), 0)


def invert_lower(lower: Any) -> Any:
    """Return the inverse of a lower triangular matrix, by halves: much faster than ``np.linalg.inv``."""
    size = len(lower)
    if size <= 64:
        return np.linalg.inv(lower)
    half = size // 2
    inverse = np.zeros_like(lower)
    inverse[:half, :half] = invert_lower(lower[:half, :half])
    inverse[half:, half:] = invert_lower(lower[half:, half:])
    inverse[half:, :half] = -inverse[half:, half:] @ (lower[half:, :half] @ inverse[:half, :half])
    return inverse


def compute_inverse_factor(products: Any) -> Any:
    """Return F such that F.T @ F is the pseudo-inverse of a matrix of products; dependent directions are left out."""
    try:
        factor = invert_lower(np.linalg.cholesky(products))
        # An upper bound of the condition number: the largest row sum is at least the largest eigenvalue, and the trace
        # of the inverse is at least its largest eigenvalue.
        if np.abs(products).sum(axis=0).max() * np.square(factor).sum() <= GOOD_CONDITION:
            return factor
    except np.linalg.LinAlgError:  # not positive definite
        pass
    eigenvalues, vectors = np.linalg.eigh(products)
    used = eigenvalues > SAME_DIRECTION**2 * eigenvalues[-1]
    return (vectors[:, used] / np.sqrt(eigenvalues[used])).T


def project_out_few(source: Any, means: Any, reach: Any, values: Any) -> Any:
    """Return centred ``values`` minus their projection on the columns, fewer than rows: float64 (rows,)."""
    matrix, sums = compute_products(source, means, reach, values)
    scale = invert_roots(np.diagonal(matrix))
    factor = compute_inverse_factor(matrix * np.outer(scale, scale)) * scale
    residual, first_size = values.copy(), 0.0
    for iteration in range(6):
        fit = factor @ sums  # in orthonormal directions, so its size is the size of the projection
        weights, sums = fit @ factor, np.zeros(len(means))
        for start, stop in iter_row_blocks(source):
            block = centre_columns(source, start, stop, means)
            residual[start:stop] -= weights @ block
            sums += block @ residual[start:stop]
        residual -= residual.mean()
        size = np.abs(fit).max()
        first_size = max(first_size, size)
        if iteration and size <= 1e-5 * first_size and np.abs(factor @ sums).max() <= 1e-12 * first_size:
            break
    return residual


def project_out_many(source: Any, means: Any, values: Any) -> Any:
    """Return centred ``values`` minus their projection on the columns, at least as many as rows: float64 (rows,)."""
    block = centre_columns(source, 0, len(values), means)
    block *= invert_roots((block * block).sum(axis=1))[:, None]
    _, singular_values, vectors = np.linalg.svd(block, full_matrices=False)
    vectors = vectors[singular_values > SAME_DIRECTION * singular_values[0]]
    residual = values - (vectors @ values) @ vectors
    return residual - (vectors @ residual) @ vectors  # a second time, for what rounding left of the projection


def compute_residual(source: Any, values: Any) -> Any:
    """Return ``values`` minus their least-squares fit on a scope's columns and an intercept: float64 (rows,)."""
    values = values - values[0]  # exactly 0 if all values are equal
    values -= values.mean()
    means, low, high, is_integer = compute_statistics(source)
    varies = high > low  # false for a column without values too
    if not varies.any():
        return values
    if not varies.all():
        source = select_columns(source, varies)
        means, low, high, is_integer = means[varies], low[varies], high[varies], is_integer[varies]
    if len(values) <= len(means):
        residual = project_out_many(source, means, values)
    else:
        rounded = np.round(means)
        reach = max((high - rounded).max(), (rounded - low).max()) if is_integer.all() else None
        if reach is not None and source["kept"] is not None and low.min() >= -128 and high.max() <= 127:
            # Integers come as floats if a column outside this scope or selection has missing values.
            source["kept"] = source["kept"].astype(np.int8)
        residual = project_out_few(source, means, reach, values)
    return np.zeros(len(values)) if np.abs(residual).max() <= ONLY_ROUNDING * np.abs(values).max() else residual


def neutralize(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` minus ``proportion`` of their projection on the columns and an intercept."""
    source = find_neutralizers(options, live_features, live_benchmark_models)
    result = np.empty(len(values))
    for rows in iter_scopes(get_scope_codes(live_features, options["scope"])):
        residual = compute_residual(select_scope(source, rows), values[rows])
        result[rows] = residual + (1 - options["proportion"]) * (values[rows] - residual)
    return result


def neutralize_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` neutralized; the matrix products use BLAS, so its threads are limited."""
    return run_with_thread_limit(neutralize, values, options, live_features, live_benchmark_models)


STEPS["neutralize"] = neutralize_step
