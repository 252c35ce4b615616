"""Models of the user's own: a function that comes with the model. Only where steps follow it; else it stands alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .runners import RUNNERS


def run_custom(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the first column of what the user's function predicts, in the order of ``live_features``.

    Raises:
        ValueError: it has other rows.
    """
    frames = (live_features, live_benchmark_models)
    predicted = model["function"](*frames[: model["arguments"]])
    if isinstance(predicted, pd.DataFrame):
        predicted = predicted.iloc[:, 0]
    if isinstance(predicted, pd.Series) and not predicted.index.equals(live_features.index):
        if not predicted.index.is_unique or len(predicted.index.symmetric_difference(live_features.index)):
            raise ValueError("predict returned rows for other ids than those of live_features")
        predicted = predicted.reindex(live_features.index)
    values = np.asarray(predicted, dtype=np.float64).reshape(-1)
    if len(values) != len(live_features):
        raise ValueError(f"predict returned {len(values)} values for {len(live_features)} rows of live_features")
    return values


RUNNERS["custom"] = run_custom
