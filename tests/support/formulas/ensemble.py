"""Ensembles: what they make of their members' predictions."""

from __future__ import annotations

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
    columns = {name: index for index, name in enumerate((*model.features, *model.benchmarks))}
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
        total += member.weight * _transform(member, values, eras)
    return total / sum(abs(member.weight) for member in model.members)


def _transform(member: bundle_model.Member, values: Array, eras: NDArray[np.generic] | None) -> Array:
    """Return a member's predictions as they enter the sum: float64 (rows,)."""
    if member.transform == "raw":
        return values
    result = np.empty_like(values)
    for rows in _groups(member, len(values), eras):
        result[rows] = _percent_ranks(values[rows]) if member.transform == "rank" else _gaussian(values[rows])
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


def _gaussian(values: Array) -> Array:
    normal = statistics.NormalDist()
    quantiles = np.array([normal.inv_cdf(share) for share in (_ranks(values) - 0.5) / len(values)])
    spread = float(np.std(quantiles))
    return (quantiles - quantiles.mean()) / spread if np.ptp(values) > 0 else np.zeros_like(values)
