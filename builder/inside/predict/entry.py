"""The function that the tournament calls."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .mlp import run_model
from .post import apply_post
from .threads import with_few_threads

MODEL: Any = None  # put here, in the image, before the function is pickled


def predict_raw(live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    return with_few_threads(run_model, MODEL, live_features, live_benchmark_models)


def predict(live_features: Any, live_benchmark_models: Any) -> Any:
    """Return one column ``prediction`` on the index of ``live_features``; changes neither frame."""
    values = apply_post(MODEL["post"], predict_raw(live_features, live_benchmark_models), live_features)
    return pd.DataFrame({"prediction": values}, index=live_features.index)
