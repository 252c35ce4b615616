"""The post-processing step ``blend``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .benchmark_columns import get_benchmark_columns
from .gaussianize import compute_normal_quantiles
from .rank import compute_ranks, get_scope_codes
from .runners import STEPS

BLEND_STEP = {
    "text": "Mix predictions with a benchmark model's: (1 - weight) * predictions + weight * benchmark.",
    "range": {"transform": {"rank": "unit", "gaussian": "any", "raw": "kept"}},
    "options": {
        "benchmark": {"type": "benchmark", "text": "The benchmark's column."},
        "weight": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5, "text": "The benchmark's weight."},
        "transform": {
            "type": "choice",
            "choices": ["rank", "gaussian", "raw"],
            "default": "rank",
            "text": "Applied to both first: rank (percent ranks), gaussian (normal quantiles of them), raw (nothing).",
        },
        "scope": {
            "type": "scope",
            "text": "Within what they are ranked, and whose mean replaces a missing benchmark value.",
        },
    },
}


def fill_with_means(values: Any, codes: Any) -> Any:
    """Return ``values`` with NaN replaced by the mean of its scope, or of all rows if the scope has no value."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    present, number = values[~missing], len(np.bincount(codes))
    counts = np.bincount(codes[~missing], minlength=number)
    sums = np.bincount(codes[~missing], weights=present, minlength=number)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), present.mean())
    return np.where(missing, means[codes], values)


def blend_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return (1 - weight) * values + weight * benchmark, after the same transform of both."""
    (benchmark,) = get_benchmark_columns([options["benchmark"]], live_features, live_benchmark_models)
    codes = get_scope_codes(live_features, options["scope"])
    if options["transform"] == "rank":
        values, benchmark = (
            compute_ranks(column, live_features, options["scope"], "average") for column in (values, benchmark)
        )
    elif options["transform"] == "gaussian":
        values, benchmark = compute_normal_quantiles(values, codes), compute_normal_quantiles(benchmark, codes)
    # After the transform: the rank of a missing value would mean nothing.
    return (1 - options["weight"]) * values + options["weight"] * fill_with_means(benchmark, codes)


STEPS["blend"] = blend_step
