"""The post-processing step ``rank``."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .runners import STEPS


def ranked(values: Any, live_features: Any, scope: str, ties: str) -> Any:
    """Return the percent rank of ``values``, in (0, 1], within each era or over the whole frame: float64 (rows,).

    Raises:
        ValueError: there is no ``era`` to rank within.
    """
    series = pd.Series(values)
    if scope == "frame":
        return series.rank(pct=True, method=ties).to_numpy()
    if "era" not in live_features.columns:
        raise ValueError("live_features lacks the column 'era', within which predictions are ranked")
    era = live_features["era"].to_numpy()
    # Rows without an era are ranked among themselves: dropping them would leave holes in the submission.
    return series.groupby(era, dropna=False, sort=False).rank(pct=True, method=ties).to_numpy()


def rank(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` as ranks."""
    return ranked(values, live_features, options["scope"], options["ties"])


STEPS["rank"] = rank
