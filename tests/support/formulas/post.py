"""Post-processing, one scope after the other and one formula after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from builder.bundle import post

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

Array = NDArray[np.float64]

SAME_DIRECTION = 1e-5
"""Columns that differ from a combination of the others by less than this part of the largest singular value follow from
them. The official function cuts at 1e-6 of a singular value that the columns' means make some forty times larger."""
ONLY_ROUNDING = 1e-10
"""Where less than this part of the predictions' spread is left, the columns explain all of it."""


def apply_steps(
    steps: Sequence[post.Step], values: Array, live: pd.DataFrame, benchmarks: pd.DataFrame | None
) -> Array:
    """Return the predictions after post-processing.

    Args:
        steps: What is done, in order; feature groups are names already.
        values: float64 (rows,), finite: the model's predictions.
        live: A row each: the features that steps name, as numbers, NaN where missing; ``era`` where one goes by it.
        benchmarks: The columns that steps name, by the ids of ``live``; ids may be missing, or more of them there.

    Returns:
        float64 (rows,).

    Raises:
        KeyError: A column is missing.
    """
    for step in steps:
        values = _apply(step, values, live, benchmarks)
    return values


def _apply(step: post.Step, values: Array, live: pd.DataFrame, benchmarks: pd.DataFrame | None) -> Array:
    name = post.get_step_name(step)
    if name == "clip":
        held: Array = np.minimum(np.maximum(values, step.low), step.high)
        return held
    result = np.empty(len(values))
    for rows in _scopes(step.scope, live):
        match name:
            case "rank":
                ties = "average" if step.ties == "average" else "ordinal"
                result[rows] = stats.rankdata(values[rows], ties) / len(rows)
            case "gaussianize":
                result[rows] = _gaussianized(values[rows])
            case "standardize":
                result[rows] = _standardized(values[rows])
            case "neutralize":
                columns = (
                    _columns(step.benchmarks, live, benchmarks) if step.benchmarks else live[list(step.features or ())]
                )
                fitted = values[rows] - _unexplained(
                    columns.to_numpy(dtype=np.float64, na_value=np.nan)[rows], values[rows]
                )
                result[rows] = values[rows] - step.proportion * fitted
            case "blend":
                other = _columns((step.benchmark,), live, benchmarks).to_numpy(dtype=np.float64, na_value=np.nan)[:, 0]
                result[rows] = (1 - step.weight) * _transformed(step, values[rows])
                result[rows] += step.weight * _transformed_other(step, other, rows, live)
    return result


def _scopes(scope: str, live: pd.DataFrame) -> Iterator[NDArray[np.intp]]:
    """Yield the places of the rows of each scope; those without an era are one."""
    if scope == "frame":
        yield np.arange(len(live))
        return
    era = live["era"]
    for value in era.dropna().unique():
        yield np.flatnonzero((era == value).to_numpy(dtype=bool, na_value=False))
    if era.isna().any():
        yield np.flatnonzero(era.isna())


def _columns(names: Sequence[str], live: pd.DataFrame, benchmarks: pd.DataFrame | None) -> pd.DataFrame:
    if benchmarks is None:
        raise KeyError(f"no frame to take {', '.join(names)} from")
    return benchmarks[list(names)].reindex(live.index)


def _gaussianized(values: Array) -> Array:
    actual: Array = special.ndtri((stats.rankdata(values) - 0.5) / len(values))
    return actual


def _standardized(values: Array) -> Array:
    if np.ptp(values) == 0:
        return np.zeros(len(values))
    shifted = values - values[0]
    actual: Array = (shifted - shifted.mean()) / shifted.std()
    return actual


def _unexplained(columns: Array, values: Array) -> Array:
    """Return what a least-squares fit on the columns and an intercept leaves of the values.

    A value that is missing or infinite is its column's mean; a column without values, or of equal ones, says nothing.
    """
    columns = np.where(np.isfinite(columns), columns, np.nan)
    columns = columns[:, [len(np.unique(column[~np.isnan(column)])) > 1 for column in columns.T]]
    centred: Array = values - values.mean()
    if np.ptp(values) == 0:
        return np.zeros(len(values))
    if columns.shape[1] == 0:
        return centred
    columns = np.nan_to_num(columns - np.nanmean(columns, axis=0))
    columns = columns / np.sqrt((columns**2).sum(axis=0))
    inverse = np.linalg.pinv(columns, rcond=SAME_DIRECTION)
    left: Array = centred - columns @ (inverse @ centred)
    left -= columns @ (inverse @ left)  # once more, for the last digits
    if np.abs(left).max() <= ONLY_ROUNDING * np.abs(centred).max():
        return np.zeros(len(values))
    return left


def _transformed(step: post.Step, values: Array) -> Array:
    if step.transform == "rank":
        ranks: Array = stats.rankdata(values) / len(values)
        return ranks
    return _gaussianized(values) if step.transform == "gaussian" else values


def _transformed_other(step: post.Step, other: Array, rows: NDArray[np.intp], live: pd.DataFrame) -> Array:
    """Return the benchmark of one scope, its values that are missing replaced by the mean of the others.

    Where a scope has none, it is the mean over all the scopes.
    """
    known = np.isfinite(other)
    result = np.full(len(rows), np.nan)
    here = known[rows]
    if here.any():
        result[here] = _transformed(step, other[rows][here])
        result[~here] = result[here].mean()
        return result
    all_of_them = [_transformed(step, other[item][known[item]]) for item in _scopes(step.scope, live)]
    return np.full(len(rows), np.concatenate(all_of_them).mean())
