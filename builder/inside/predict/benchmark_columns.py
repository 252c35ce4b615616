"""Benchmark columns that a step of the post-processing takes, by id."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import benchmark_rows, list_some


def benchmark_columns(names: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return benchmark columns for the ids of ``live_features``: float64 (names, rows), NaN where one has no value.

    A value that is infinite is none. How many rows go without is printed: the run's log is all that anybody sees.

    Raises:
        ValueError: there is no frame, a column is missing or has a value for none of the ids, or an id is there twice.
    """
    values = benchmark_rows({"benchmarks": names}, live_benchmark_models, live_features.index)
    values = np.where(np.isfinite(values), values, np.nan)
    missing = np.isnan(values).sum(axis=1)
    empty = [name for name, count in zip(names, missing, strict=True) if count == len(live_features)]
    if empty:
        raise ValueError(f"live_benchmark_models has none of the {len(live_features)} ids with {list_some(empty)}")
    for name, count in zip(names, missing, strict=True):
        if count:
            print(f"numerai-builder: {count} of {len(live_features)} rows have no {name}; the others' mean stands in")
    return values
