"""The function that the tournament calls."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .runners import RUNNERS, STEPS
from .threads import run_with_thread_limit

MODEL: Any = None  # the folded model; set while building, before the function is pickled


def run_model(live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    return RUNNERS[MODEL["kind"]](MODEL, live_features, live_benchmark_models)


def predict_raw(live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    return run_with_thread_limit(run_model, live_features, live_benchmark_models)


def predict(live_features: Any, live_benchmark_models: Any) -> Any:
    """Return one column ``prediction`` on the index of ``live_features``; neither frame is changed."""
    values = predict_raw(live_features, live_benchmark_models)
    for name, options in MODEL["post"]:
        values = STEPS[name](values, options, live_features, live_benchmark_models)
    return pd.DataFrame({"prediction": values}, index=live_features.index)
