"""Predict with XGBoost boosters."""

from __future__ import annotations

from typing import Any

import numpy as np

from .boosters import run_booster
from .runners import RUNNERS


def open_xgboost(model: Any) -> Any:
    """Load the booster from a model's UBJSON."""
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(model["content"]))
    return booster


def predict_xgboost(booster: Any, model: Any, threads: int, block: Any) -> Any:
    """Return a booster's predictions for a block (rows, n): float32 (rows,) or (rows, outputs)."""
    import xgboost

    booster.set_param("nthread", threads)
    margins = None if model["margins"] is None else np.tile(model["margins"], (len(block), 1))
    if model["linear"]:  # inplace_predict does not support it
        data = xgboost.DMatrix(block, missing=model["missing"], base_margin=margins, nthread=threads)
        return booster.predict(data)
    # Without the copy of the block that a DMatrix is.
    return booster.inplace_predict(block, missing=model["missing"], base_margin=margins)


def run_xgboost(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    return run_booster(model, open_xgboost, predict_xgboost, live_features, live_benchmark_models)


RUNNERS["xgboost"] = run_xgboost
