"""Ensembles: members run one after the other, their predictions transformed and added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .inputs import positions
from .rank import ranked
from .runners import RUNNERS


def gaussianised(values: Any, live_features: Any, scope: str) -> Any:
    """Return ``values`` as normal quantiles of their ranks, over their standard deviation in scope: float64 (rows,).

    A rank r of n becomes the quantile at (r - 0.5) / n, ties having the mean of their ranks. Where all values are the
    same, which one row alone is, the result is 0.
    """
    from scipy import special

    series = pd.Series(values)
    groups = np.zeros(len(series), dtype=np.int8) if scope == "frame" else live_features["era"].to_numpy()
    ranks = series.groupby(groups, dropna=False, sort=False).rank(method="average")
    counts = series.groupby(groups, dropna=False, sort=False).transform("size")
    quantiles = pd.Series(special.ndtri((ranks - 0.5) / counts))
    spread = quantiles.groupby(groups, dropna=False, sort=False).transform("std", ddof=0).to_numpy()
    return quantiles.to_numpy() / np.where(spread > 0, spread, 1.0)


def transformed(member: Any, values: Any, live_features: Any) -> Any:
    """Return a member's predictions as they enter the sum: float64 (rows,)."""
    if member["transform"] == "rank":
        return ranked(values, live_features, member["scope"], "average")
    if member["transform"] == "gaussian":
        return gaussianised(values, live_features, member["scope"])
    return values


def run_ensemble(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,).

    What a member needs to run is made for it and gone before the next one's turn.

    Raises:
        ValueError: a column that a member takes is missing, or ``era``, where one goes by it.
    """
    positions(live_features.columns, pd.Index(model["features"]), "live_features")  # before minutes go into a member
    by_era = any(one["transform"] != "raw" and one["scope"] == "era" for one in model["members"])
    if by_era and "era" not in live_features.columns:
        raise ValueError("live_features lacks the column 'era', within which members' predictions are ranked")
    total, weights = np.zeros(len(live_features)), 0.0
    for member in model["members"]:
        values = RUNNERS[member["kind"]](member, live_features, live_benchmark_models)
        total += member["weight"] * transformed(member, values, live_features)
        weights += abs(member["weight"])
    return total / weights


RUNNERS["ensemble"] = run_ensemble
