"""Predict with ensembles: run the members one after the other, transform their predictions and add them up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .gaussianize import compute_normal_quantiles
from .inputs import find_positions
from .rank import compute_ranks, get_scope_codes
from .runners import RUNNERS


def standardize_quantiles(values: Any, codes: Any) -> Any:
    """Return normal quantiles with mean 0 and standard deviation 1 within each scope: float64 (rows,)."""
    counts = np.bincount(codes)
    values = values - (np.bincount(codes, weights=values) / counts)[codes]  # not 0 if values tie
    spread = np.sqrt(np.bincount(codes, weights=values**2) / counts)
    spread[spread == 0] = 1.0  # normal quantiles of ranks that are all the same are exactly 0
    return values / spread[codes]


def transform_predictions(member: Any, values: Any, live_features: Any) -> Any:
    """Return a member's predictions as they are added to the sum: float64 (rows,)."""
    if member["transform"] == "rank":
        return compute_ranks(values, live_features, member["scope"], "average")
    if member["transform"] == "gaussian":
        codes = get_scope_codes(live_features, member["scope"])
        return standardize_quantiles(compute_normal_quantiles(values, codes), codes)
    return values


def run_ensemble(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,).

    A member's data are built when it runs and freed before the next member, so that memory does not add up.

    Raises:
        ValueError: A column that a member takes is missing, or ``era`` if a transform uses it.
    """
    # Check all columns first: a large member may run for minutes before the missing one is looked up.
    find_positions(live_features.columns, pd.Index(model["features"]), "live_features")
    by_era = any(member["transform"] != "raw" and member["scope"] == "era" for member in model["members"])
    if by_era and "era" not in live_features.columns:
        raise ValueError("live_features has no column 'era', within which members' predictions are ranked")
    total, weights = np.zeros(len(live_features)), 0.0
    for member in model["members"]:
        values = RUNNERS[member["kind"]](member, live_features, live_benchmark_models)
        total += member["weight"] * transform_predictions(member, values, live_features)
        weights += abs(member["weight"])
    return total / weights


RUNNERS["ensemble"] = run_ensemble
