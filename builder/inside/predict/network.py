"""A network of dense layers, scaling already folded into the first one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import ACTIVATIONS
from .inputs import blocks
from .runners import RUNNERS

IN_PLACE = ("identity", "relu", "tanh")  # activations that need no array beside the one they are given


def forward(model: Any, block: Any) -> Any:
    """Return the network's output for a block: (rows,), each layer computed in the type of its weights.

    Rows run along the second axis from the first array to the last, so nothing is ever transposed. The first layer's
    bias is a column of its weights, to which the block has ones; the columns after it are zero (``inside.fold``).
    """
    hidden = block
    for layer in model["layers"]:
        hidden = layer["weights"] @ hidden.astype(layer["weights"].dtype, copy=False)
        if layer["bias"] is not None:
            hidden += layer["bias"][:, None]
        hidden = ACTIVATIONS[layer["activation"]](hidden, layer["constants"])
    return hidden[0]


def kept_bytes(layers: Any) -> int:
    """Return the bytes that the layers keep for a row, at most: what goes in, what comes out, an activation's own."""
    most = before = 0
    for layer in layers:
        out = layer["weights"][:, :1].nbytes
        own = 0 if layer["activation"] in IN_PLACE else 2 * out
        most, before = max(most, before + out + own), out
    return most


def run_network(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    raw = np.empty(len(live_features))
    layers = model["layers"]
    first, kept = layers[0]["weights"], kept_bytes(layers)
    for start, stop, block in blocks(model, live_features, live_benchmark_models, first, kept):
        raw[start:stop] = forward(model, block)
    return raw


RUNNERS["mlp"] = run_network
