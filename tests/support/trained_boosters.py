"""Train small models of XGBoost and CatBoost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

ROWS = 300
XGBOOST: dict[str, Any] = {"n_estimators": 6, "max_depth": 3, "n_jobs": 1}
CATBOOST: dict[str, Any] = {
    "iterations": 6,
    "depth": 3,
    "thread_count": 1,
    "verbose": 0,
    "allow_writing_files": False,
}


def make_rows(count: int = ROWS, features: int = 5) -> tuple[pd.DataFrame, pd.Series]:
    """Return rows like live features, and a target."""
    random = np.random.default_rng(3)
    names = [f"feature_{index}" for index in range(features)]
    x = pd.DataFrame(random.integers(0, 5, size=(count, features)).astype(np.int8), columns=names)
    return x, x["feature_0"] * x["feature_1"] + random.normal(size=count)


def with_missing(x: pd.DataFrame) -> pd.DataFrame:
    """Return rows of which some values are missing."""
    random = np.random.default_rng(4)
    return x.astype(np.float64).mask(random.random(x.shape) < 0.1)
