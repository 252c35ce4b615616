"""The post-processing step ``rank``, and within what rows are ranked."""

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


def scope_codes(live_features: Any, scope: str) -> Any:
    """Return a number for each row, the same for rows of one scope: intp (rows,), from 0 on in order of appearance.

    Rows without an era are a scope of their own: to drop them would leave holes in the submission.

    Raises:
        ValueError: there is no ``era`` to go by.
    """
    if scope == "frame":
        return np.zeros(len(live_features), dtype=np.intp)
    if "era" not in live_features.columns:
        raise ValueError("live_features lacks the column 'era', by which a step of the post-processing goes")
    era = pd.Series(live_features["era"].to_numpy())
    return era.groupby(era, dropna=False, sort=False).ngroup().to_numpy()


def ranked(values: Any, live_features: Any, scope: str, ties: str) -> Any:
    """Return the percent rank of ``values``, in (0, 1], within each era or over the whole frame: float64 (rows,).

    Raises:
        ValueError: there is no ``era`` to rank within.
    """
    series = pd.Series(values)
    if scope == "frame":
        return series.rank(pct=True, method=ties).to_numpy()
    return series.groupby(scope_codes(live_features, scope), sort=False).rank(pct=True, method=ties).to_numpy()


def rank(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` as ranks."""
    return ranked(values, live_features, options["scope"], options["ties"])


STEPS["rank"] = rank
