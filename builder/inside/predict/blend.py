"""The post-processing step ``blend``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .benchmark_columns import benchmark_columns
from .gaussianize import gaussianized
from .rank import ranked, scope_codes
from .runners import STEPS

BLEND_STEP = {
    "text": "Mix predictions with a benchmark model's: (1 - weight) * predictions + weight * benchmark.",
    "range": {"transform": {"rank": "unit", "gaussian": "any", "raw": "kept"}},
    "options": {
        "benchmark": {"type": "benchmark", "text": "The benchmark's column."},
        "weight": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5, "text": "The benchmark's part."},
        "transform": {
            "type": "choice",
            "choices": ["rank", "gaussian", "raw"],
            "default": "rank",
            "text": "Done to both first: rank (percent ranks), gaussian (normal quantiles of them), raw (nothing).",
        },
        "scope": {
            "type": "scope",
            "text": "Within what they are ranked, and whose mean stands in for a benchmark that a row lacks.",
        },
    },
}


def with_means(values: Any, codes: Any) -> Any:
    """Return ``values`` with NaN replaced by the mean of its scope, or of all where the scope has none."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    known, number = values[~missing], len(np.bincount(codes))
    counts = np.bincount(codes[~missing], minlength=number)
    sums = np.bincount(codes[~missing], weights=known, minlength=number)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), known.mean())
    return np.where(missing, means[codes], values)


def blend_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return (1 - weight) * values + weight * benchmark, both transformed alike first."""
    (other,) = benchmark_columns([options["benchmark"]], live_features, live_benchmark_models)
    codes = scope_codes(live_features, options["scope"])
    if options["transform"] == "rank":
        values, other = (ranked(one, live_features, options["scope"], "average") for one in (values, other))
    elif options["transform"] == "gaussian":
        values, other = gaussianized(values, codes), gaussianized(other, codes)
    return (1 - options["weight"]) * values + options["weight"] * with_means(other, codes)


STEPS["blend"] = blend_step
