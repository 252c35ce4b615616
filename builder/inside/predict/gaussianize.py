"""The post-processing step ``gaussianize``."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .rank import scope_codes
from .runners import STEPS

GAUSSIANIZE_STEP = {
    "text": "Replace predictions by normal quantiles of their ranks: (rank - 1/2) / rows, ties sharing the mean rank.",
    "range": "any",
    "options": {"scope": {"type": "scope", "text": "Within each era, or over the whole frame."}},
}


def gaussianized(values: Any, codes: Any) -> Any:
    """Return the normal quantile of (rank - 1/2) / rows within each scope: float64 (rows,), NaN where ``values`` is.

    Ties share the mean of their ranks; a scope of one row, or of equal ones, is 0.
    """
    from scipy import special

    grouped = pd.Series(values).groupby(codes, sort=False)
    return special.ndtri(((grouped.rank() - 0.5) / grouped.transform("count")).to_numpy())


def gaussianize_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` with the ranks that they have and the shape of a normal distribution."""
    return gaussianized(values, scope_codes(live_features, options["scope"]))


STEPS["gaussianize"] = gaussianize_step
