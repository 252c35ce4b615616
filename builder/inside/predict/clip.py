"""The post-processing step ``clip``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .runners import STEPS

CLIP_STEP = {
    "text": "Clip predictions to [low, high].",
    "range": ["low", "high"],
    "options": {
        "low": {
            "type": "number",
            "minimum": -1_000_000_000,
            "maximum": 1_000_000_000,
            "default": 0.0,
            "text": "Lower predictions become this.",
        },
        "high": {
            "type": "number",
            "minimum": -1_000_000_000,
            "maximum": 1_000_000_000,
            "default": 1.0,
            "text": "Higher predictions become this.",
        },
    },
}


def clip_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` clipped to [low, high]."""
    return np.clip(values, options["low"], options["high"])


STEPS["clip"] = clip_step
