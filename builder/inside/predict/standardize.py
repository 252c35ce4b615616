"""The post-processing step ``standardize``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .rank import get_scope_codes
from .runners import STEPS

STANDARDIZE_STEP = {
    "text": "Scale predictions to mean 0 and standard deviation 1 (dividing by the row count); equal ones become 0.",
    "range": "any",
    "options": {"scope": {"type": "scope", "text": "Within each era, or over the whole frame."}},
}


def standardize(values: Any, codes: Any) -> Any:
    """Return (value - mean) / standard deviation within each scope: float64 (rows,).

    The standard deviation divides by the number of rows. Equal values become 0.
    """
    counts = np.bincount(codes)
    first = np.empty(len(counts))
    first[codes[::-1]] = values[::-1]  # the last write wins: the first row of each scope
    shifted = values - first[codes]  # exactly 0 if all are equal, and no digits are lost far from 0
    shifted -= (np.bincount(codes, weights=shifted) / counts)[codes]
    spread = np.sqrt(np.bincount(codes, weights=shifted * shifted) / counts)
    spread[spread == 0] = np.inf
    return shifted / spread[codes]


def standardize_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` with mean 0 and standard deviation 1."""
    return standardize(values, get_scope_codes(live_features, options["scope"]))


STEPS["standardize"] = standardize_step
