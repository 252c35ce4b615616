"""The post-processing step ``clip``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .runners import STEPS


def clip_step(values: Any, options: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return ``values`` held to [low, high]."""
    return np.clip(values, options["low"], options["high"])


STEPS["clip"] = clip_step
