"""A network of dense layers, scaling already folded into the first one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import ACTIVATIONS
from .inputs import blocks

KEPT = 4  # arrays of a layer's size that live at once, at most: what goes in, what comes out, an activation's own


def forward(model: Any, block: Any) -> Any:
    """Return the network's output for (inputs + 1, rows): (rows,), each layer computed in the type of its weights.

    Rows run along the second axis from the first array to the last, so nothing is ever transposed. The first layer's
    bias is the last column of its weights: the block's last row is ones.
    """
    hidden = block
    for layer in model["layers"]:
        hidden = layer["weights"] @ hidden.astype(layer["weights"].dtype, copy=False)
        if layer["bias"] is not None:
            hidden += layer["bias"][:, None]
        hidden = ACTIVATIONS[layer["activation"]](hidden, layer["constants"])
    return hidden[0]


def run_model(model: Any, live_features: Any, live_benchmark_models: Any) -> Any:
    """Return the predictions before post-processing: float64 (rows,)."""
    raw = np.empty(len(live_features))
    row_bytes = KEPT * max(layer["weights"][:, :1].nbytes for layer in model["layers"])
    kind = model["layers"][0]["weights"].dtype
    for start, stop, block in blocks(model, live_features, live_benchmark_models, kind, row_bytes):
        raw[start:stop] = forward(model, block)
    return raw
