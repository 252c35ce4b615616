"""Ensembles: members run one after the other, their predictions transformed and added up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .gaussianize import gaussianized
from .inputs import positions
from .rank import ranked, scope_codes
from .runners import RUNNERS


def of_one_spread(values: Any, codes: Any) -> Any:
    """Return normal quantiles less their mean, over their standard deviation, within each scope: float64 (rows,)."""
    counts = np.bincount(codes)
    values = values - (np.bincount(codes, weights=values) / counts)[codes]  # not 0 where values tie
    spread = np.sqrt(np.bincount(codes, weights=values**2) / counts)
    spread[spread == 0] = 1.0  # normal quantiles of ranks that are all the same are exactly 0
    return values / spread[codes]


def transformed(member: Any, values: Any, live_features: Any) -> Any:
    """Return a member's predictions as they enter the sum: float64 (rows,)."""
    if member["transform"] == "rank":
        return ranked(values, live_features, member["scope"], "average")
    if member["transform"] == "gaussian":
        codes = scope_codes(live_features, member["scope"])
        return of_one_spread(gaussianized(values, codes), codes)
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
