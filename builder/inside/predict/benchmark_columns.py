"""Benchmark columns for post-processing steps, aligned by id."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import align_benchmarks, format_names


def get_benchmark_columns(names: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return benchmark columns for the ids of ``live_features``: float64 (names, rows), NaN for a missing value.

    Infinite values count as missing. The number of missing values is printed, because the log is all that a user of the
    tournament sees of a run.

    Raises:
        ValueError: There is no frame, a column is missing or has no value for any of the ids, or an id is repeated.
    """
    values = align_benchmarks({"benchmarks": names}, live_benchmark_models, live_features.index)
    values = np.where(np.isfinite(values), values, np.nan)
    missing = np.isnan(values).sum(axis=1)
    empty = [name for name, count in zip(names, missing, strict=True) if count == len(live_features)]
    if empty:
        raise ValueError(f"live_benchmark_models has no {format_names(empty)} for any of the {len(live_features)} ids")
    for name, count in zip(names, missing, strict=True):
        if count:
            print(f"numerai-builder: {count} of {len(live_features)} rows have no {name}; using the mean of the others")
    return values
