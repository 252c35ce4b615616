"""The function that the tournament calls."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .runners import RUNNERS, STEPS
from .threads import with_few_threads

MODEL: Any = None  # put here, in the image, before the function is pickled


def run_model(live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    return RUNNERS[MODEL["kind"]](MODEL, live_features, live_benchmark_models)


def predict_raw(live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    return with_few_threads(run_model, live_features, live_benchmark_models)


def predict(live_features: Any, live_benchmark_models: Any) -> Any:
    """Return one column ``prediction`` on the index of ``live_features``; changes neither frame."""
    values = predict_raw(live_features, live_benchmark_models)
    for name, options in MODEL["post"]:
        values = STEPS[name](values, options, live_features, live_benchmark_models)
    return pd.DataFrame({"prediction": values}, index=live_features.index)
