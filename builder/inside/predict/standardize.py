"""The post-processing step ``standardize``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .rank import scope_codes
from .runners import STEPS

STANDARDIZE_STEP = {
    "text": "Bring predictions to mean 0 and standard deviation 1 (divided by the number of rows); equal ones to 0.",
    "range": "any",
    "options": {"scope": {"type": "scope", "text": "Within each era, or over the whole frame."}},
}


def standardized(values: Any, codes: Any) -> Any:
    """Return (value - mean) / standard deviation within each scope: float64 (rows,).

    The deviation is that of all the rows (divided by their number). Equal values become 0.
    """
    counts = np.bincount(codes)
    first = np.empty(len(counts))
    first[codes[::-1]] = values[::-1]  # the last to be written stays: the first row of each scope
    shifted = values - first[codes]  # exactly 0 where all are equal, and no digits lost far from 0
    shifted -= (np.bincount(codes, weights=shifted) / counts)[codes]
    spread = np.sqrt(np.bincount(codes, weights=shifted * shifted) / counts)
    spread[spread == 0] = np.inf
    return shifted / spread[codes]


def standardize_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` with mean 0 and standard deviation 1."""
    return standardized(values, scope_codes(live_features, options["scope"]))


STEPS["standardize"] = standardize_step
