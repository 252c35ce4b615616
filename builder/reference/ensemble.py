"""Ensembles: what they predict, and how far a prediction may move when its members' do.

A rank turns a difference in the last digit into a whole step where two rows are (nearly) alike. So the bound of an
ensemble is one for each row: what its members' bounds can make of that row's rank, and nothing where they cannot.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.bundle import model as bundle_model

Array = NDArray[np.float64]


def inputs_of(member: bundle_model.Member, model: bundle_model.Ensemble, inputs: Array) -> Array:
    """Return the columns that a member takes, in its order: float64 (rows, its inputs)."""
    columns = {name: place for place, name in enumerate((*model.features, *model.benchmarks))}
    if inputs.ndim != 2 or inputs.shape[1] != len(columns):
        raise ValueError(f"inputs are {inputs.shape}, the model takes (rows, {len(columns)})")
    return inputs[:, [columns[name] for name in (*member.features, *member.benchmarks)]]


def combine(model: bundle_model.Ensemble, predictions: Sequence[Array], eras: NDArray[np.generic] | None) -> Array:
    """Return what an ensemble makes of its members' predictions.

    Args:
        model: The ensemble.
        predictions: For each member, float64 (rows,).
        eras: Which era each row is of (rows,); None: all are one.

    Returns:
        float64 (rows,).
    """
    total = np.zeros_like(predictions[0])
    for member, values in zip(model.members, predictions, strict=True):
        total += member.weight * transform(member, values, eras)
    return total / sum(abs(member.weight) for member in model.members)


def transform(member: bundle_model.Member, values: Array, eras: NDArray[np.generic] | None) -> Array:
    """Return a member's predictions as they enter the sum: float64 (rows,)."""
    if member.transform == "raw":
        return values
    result = np.empty_like(values)
    for rows in _groups(member, len(values), eras):
        result[rows] = _percent_ranks(values[rows]) if member.transform == "rank" else _gaussian(values[rows])
    return result


def reach(member: bundle_model.Member, values: Array, eras: NDArray[np.generic] | None, bound: float) -> Array:
    """Return how far a member's part may be away in each row, its predictions being right to ``bound``.

    Two rows may change places where they are within two bounds of one another.

    Returns:
        float64 (rows,): of ranks and gaussianised ranks alone; 0 where no row is near.
    """
    result = np.zeros_like(values)
    if member.transform == "raw":
        return result
    for rows in _groups(member, len(values), eras):
        own = values[rows]
        ordered = np.sort(own)
        count = len(own)
        lowest = np.searchsorted(ordered, own - 2 * bound, side="left") + 1
        highest = np.searchsorted(ordered, own + 2 * bound, side="right")
        middle, (low, high) = _ranks(own), (lowest.astype(np.float64), highest.astype(np.float64))
        if member.transform == "rank":
            result[rows] = np.maximum(high - middle, middle - low) / count
        else:
            at, below, above = (_quantiles(ranks, count) for ranks in (middle, low, high))
            mean, spread = float(np.mean(at)), float(np.std(at)) or 1.0
            moved = np.maximum(above - at, at - below)
            # The mean and the deviation of all rows move with them.
            of_all = np.mean(moved) + np.abs(at - mean) / spread * math.sqrt(np.mean(moved**2))
            result[rows] = (moved + of_all) / spread
    return result


def _groups(member: bundle_model.Member, count: int, eras: NDArray[np.generic] | None) -> list[NDArray[np.intp]]:
    """Return the rows that are ranked together."""
    if eras is None or member.scope == "frame":
        return [np.arange(count)]
    return [np.flatnonzero(eras == era) for era in np.unique(eras)]


def _ranks(values: Array) -> Array:
    """Return ranks from 1, ties having the mean of theirs."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    upto = np.searchsorted(ordered, values, side="right")
    return (below + 1 + upto) / 2.0


def _percent_ranks(values: Array) -> Array:
    return _ranks(values) / len(values)


def _quantiles(ranks: Array, count: int) -> Array:
    normal = statistics.NormalDist()
    return np.array([normal.inv_cdf(share) for share in (ranks - 0.5) / count])


def _gaussian(values: Array) -> Array:
    quantiles = _quantiles(_ranks(values), len(values))
    spread = float(np.std(quantiles))
    return (quantiles - quantiles.mean()) / spread if np.ptp(values) > 0 else np.zeros_like(values)
