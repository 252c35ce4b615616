"""Predict with networks and linear models, whose layers include the scaling of the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import iter_blocks
from .nodes import run_nodes
from .runners import RUNNERS


def run_network(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,).

    All arrays are (values, rows), so that none is transposed. Layers that take the inputs have their bias as a column
    of the weights: the block has ones there (``inside.fold.network``).
    """
    raw = np.empty(len(live_features))
    like = np.empty((0, model["block"]), model["imputation"].dtype)
    for start, stop, block in iter_blocks(model, live_features, live_benchmark_models, like, model["row_bytes"]):
        raw[start:stop] = run_nodes(model["layers"], block)[0]
    return raw


RUNNERS["mlp"] = run_network
RUNNERS["linear"] = run_network
