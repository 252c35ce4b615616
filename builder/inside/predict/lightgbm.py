"""Predict with LightGBM boosters."""

from __future__ import annotations

from typing import Any

from .boosters import run_booster
from .runners import RUNNERS


def open_lightgbm(model: Any) -> Any:
    """Load the booster from a model's text."""
    import zlib

    import lightgbm

    return lightgbm.Booster(model_str=zlib.decompress(model["content"], 31).decode())


def predict_lightgbm(booster: Any, model: Any, threads: int, block: Any) -> Any:
    """Return a booster's predictions for a block (rows, n): float64 (rows,) or (rows, outputs).

    If the model's step is not 0, the predictions of that many iterations at a time are summed
    (``inside.fold.lightgbm``).
    """
    step = model["step"]
    if not step:
        return booster.predict(block, num_threads=threads)
    total = 0.0
    for first in range(0, booster.current_iteration(), step):
        total = total + booster.predict(
            block, num_threads=threads, raw_score=True, start_iteration=first, num_iteration=step
        )
    return total


def run_lightgbm(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    return run_booster(model, open_lightgbm, predict_lightgbm, live_features, live_benchmark_models)


RUNNERS["lightgbm"] = run_lightgbm
