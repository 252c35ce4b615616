"""The post-processing step ``gaussianize``."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .rank import get_scope_codes
from .runners import STEPS

GAUSSIANIZE_STEP = {
    "text": "Replace predictions by normal quantiles of their ranks: (rank - 1/2) / rows; ties get the mean rank.",
    "range": "any",
    "options": {"scope": {"type": "scope", "text": "Within each era, or over the whole frame."}},
}


def compute_normal_quantiles(values: Any, codes: Any) -> Any:
    """Return the normal quantile of (rank - 1/2) / rows within each scope: float64 (rows,).

    NaN stays NaN. Ties get the mean of their ranks. A scope with one row, or with equal values only, becomes 0.
    """
    from scipy import special

    grouped = pd.Series(values).groupby(codes, sort=False)
    return special.ndtri(((grouped.rank() - 0.5) / grouped.transform("count")).to_numpy())


def gaussianize_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` in the same order, normally distributed."""
    return compute_normal_quantiles(values, get_scope_codes(live_features, options["scope"]))


STEPS["gaussianize"] = gaussianize_step
