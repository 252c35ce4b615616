"""The post-processing step ``rank``, and the scopes within which steps work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .runners import STEPS

RANK_STEP = {
    "text": "Replace predictions by their percent ranks in (0, 1].",
    "range": "unit",
    "options": {
        "scope": {"type": "scope", "text": "Rank the rows of each era by themselves, or the whole frame at once."},
        "ties": {
            "type": "choice",
            "choices": ["average", "first"],
            "default": "average",
            "text": "Equal predictions get the mean of their ranks, or ranks in the order of the rows.",
        },
    },
}


def get_scope_codes(live_features: Any, scope: str) -> Any:
    """Return the number of each row's scope: intp (rows,), counted from 0 in order of appearance.

    Rows without an era are a scope of their own, because the submission must have a prediction for them too.

    Raises:
        ValueError: The scope is ``era``, and there is no column ``era``.
    """
    if scope == "frame":
        return np.zeros(len(live_features), dtype=np.intp)
    if "era" not in live_features.columns:
        raise ValueError("live_features has no column 'era', which a post-processing step uses")
    era = pd.Series(live_features["era"].to_numpy())
    return era.groupby(era, dropna=False, sort=False).ngroup().to_numpy()


def compute_ranks(values: Any, live_features: Any, scope: str, ties: str) -> Any:
    """Return the percent ranks of ``values`` within their scope: float64 (rows,), in (0, 1].

    Raises:
        ValueError: The scope is ``era``, and there is no column ``era``.
    """
    series = pd.Series(values)
    if scope == "frame":
        return series.rank(pct=True, method=ties).to_numpy()
    return series.groupby(get_scope_codes(live_features, scope), sort=False).rank(pct=True, method=ties).to_numpy()


def rank_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the percent ranks of ``values``."""
    return compute_ranks(values, live_features, options["scope"], options["ties"])


STEPS["rank"] = rank_step
