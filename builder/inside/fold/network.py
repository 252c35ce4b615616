"""Networks: scaling folded into the first layer, rounded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

# With a centre this many scales away from zero, centre * weight cancels so much that float32 would show it.
_FAR = 4.0

# The first layer's columns are filled up to a multiple of this many: the product is some 3 % faster (measured).
_STEP = 16

# A layer with so few weights is computed in float64: it costs next to nothing beside the rest, and whatever cancels in
# it, the last layer's sum above all, does so without loss.
_FEW_WEIGHTS = 32768


def fold_mlp(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return imputation, far inputs and layers; x -> (x - centre) / scale is inside the first layer.

    Of an input whose centre is far away, only the scale is: predict takes the centre off it first, in float64. ``far``
    lists those, each as [place, imputation, centre]. Weights are (units, inputs); those of the first layer have its
    bias as a further column, then columns of zeros, and ``bias`` is None.
    """
    imputation, centre, scale = (arrays[name].astype(np.float64) for name in ("imputation", "centre", "scale"))
    is_far = np.abs(centre) > _FAR * scale
    near_centre = np.where(is_far, 0.0, centre)
    folded = []
    for place, layer in enumerate(header["layers"]):
        weights, bias = (arrays[f"{letter}{place}"].astype(np.float64) for letter in "wb")
        if place == 0:
            weights = weights / scale[:, None]
            bias = bias - (near_centre[:, None] * weights).sum(axis=0)
        kind = number_type(weights, bias)
        joined = with_bias(weights, bias) if place == 0 else weights
        folded.append(
            {
                "weights": plain(joined.T, kind),
                "bias": None if place == 0 else plain(bias, kind),
                "activation": layer["activation"],
                "constants": {name: float(layer[name]) for name in sorted(layer) if name != "activation"},
            }
        )
    return {
        "imputation": plain(imputation, folded[0]["weights"].dtype),
        "far": [[int(place), float(imputation[place]), float(centre[place])] for place in np.flatnonzero(is_far)],
        "layers": folded,
    }


def with_bias(weights: Any, bias: Any) -> Any:
    """Return (inputs, units) with the bias as one more row, and rows of zeros up to a round number."""
    joined = np.zeros((-(-(len(weights) + 1) // _STEP) * _STEP, len(bias)))
    joined[: len(weights)], joined[len(weights)] = weights, bias
    return joined


def number_type(weights: Any, bias: Any) -> str:
    """Return what a layer is computed in: float64 where that is cheap, or where float32 cannot hold its numbers."""
    largest = max(float(np.abs(weights).max()), float(np.abs(bias).max()))
    return "<f8" if weights.size <= _FEW_WEIGHTS or largest > float(np.finfo(np.float32).max) else "<f4"


def plain(values: Any, kind: Any) -> Any:
    """Return the values in that type, contiguous, owned, writeable, little-endian."""
    return np.array(values, dtype=kind, order="C")
