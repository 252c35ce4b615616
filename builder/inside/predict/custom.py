"""Predict with a custom function that post-processing steps follow; without steps the pickle is the function itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .runners import RUNNERS


def run_custom(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the first column of the function's predictions, in the order of ``live_features``: float64 (rows,).

    Raises:
        ValueError: The predictions are for other rows.
    """
    frames = (live_features, live_benchmark_models)
    predictions = model["function"](*frames[: model["arguments"]])
    if isinstance(predictions, pd.DataFrame):
        predictions = predictions.iloc[:, 0]
    if isinstance(predictions, pd.Series) and not predictions.index.equals(live_features.index):
        if not predictions.index.is_unique or len(predictions.index.symmetric_difference(live_features.index)):
            raise ValueError("predict returned rows for other ids than those of live_features")
        predictions = predictions.reindex(live_features.index)
    values = np.asarray(predictions, dtype=np.float64).reshape(-1)
    if len(values) != len(live_features):
        raise ValueError(f"predict returned {len(values)} values for {len(live_features)} rows of live_features")
    return values


RUNNERS["custom"] = run_custom
