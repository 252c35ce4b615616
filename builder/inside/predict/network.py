"""A network, scaling already folded into it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .inputs import blocks
from .nodes import run_nodes
from .runners import RUNNERS


def run_network(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,).

    Rows run along the second axis from the first array to the last, so nothing is ever transposed. The bias of layers
    that take the inputs is a column of their weights, to which the block has ones; the columns after it are zero
    (``inside.fold``).
    """
    raw = np.empty(len(live_features))
    like = np.empty((0, model["block"]), model["imputation"].dtype)
    for start, stop, block in blocks(model, live_features, live_benchmark_models, like, model["row_bytes"]):
        raw[start:stop] = run_nodes(model["layers"], block)[0]
    return raw


RUNNERS["mlp"] = run_network
RUNNERS["linear"] = run_network
