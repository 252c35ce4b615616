"""A network of dense layers, scaling already folded into the first one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import ACTIVATIONS
from .inputs import blocks


def forward(model: Any, block: Any) -> Any:
    """Return the network's output for float32 (inputs, rows): float32 (rows,).

    Rows run along the second axis from the first array to the last, so nothing is ever transposed.
    """
    hidden = block
    for layer in model["layers"]:
        hidden = layer["weights"] @ hidden
        hidden += layer["bias"][:, None]
        hidden = ACTIVATIONS[layer["activation"]](hidden, layer["constants"])
    return hidden[0]


def run_model(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    raw = np.empty(len(live_features))
    widest = 2 * max(len(layer["bias"]) for layer in model["layers"])
    for start, stop, block in blocks(model, live_features, live_benchmark_models, widest):
        raw[start:stop] = forward(model, block)
    return raw
