"""From a bundle's numbers to the model that the predict source takes: scaling folded in, rounded once.

No BLAS and no transcendental function here: their results differ between CPUs, and these numbers go into the pickle.
Elementwise products and ``sum(axis=0)`` do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# With centres this many scales away from zero, centre * weight cancels so much that float32 loses the difference.
_FAR = 64.0


def fold(header: dict[str, Any], arrays: dict[str, Any], post: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the model of a checked bundle.

    Args:
        header: ``bundle.json``.
        arrays: ``arrays.npz``; ``w0`` float (inputs, units), ``b0`` (units,), ..., ``imputation``, ``centre`` and
            ``scale`` (inputs,).
        post: the post-processing steps in force, each a mapping of one name to its options.

    Returns:
        A tree of dicts, lists, strings and float32 arrays, each contiguous and owned; weights are (units, inputs).
    """
    return {
        "features": list(header["features"]),
        "benchmarks": list(header["benchmarks"]),
        **fold_mlp(header["layers"], arrays),
        "post": [[name, options] for step in post for name, options in step.items()],
    }


def fold_mlp(layers: list[dict[str, Any]], arrays: dict[str, Any]) -> dict[str, Any]:
    """Return imputation, shift and layers; x -> (x - centre) / scale is inside the first layer."""
    imputation, centre, scale = (arrays[name].astype(np.float64) for name in ("imputation", "centre", "scale"))
    shift = centre if bool((np.abs(centre) > _FAR * scale).any()) else None
    offset = np.zeros_like(centre) if shift is not None else centre
    folded = []
    for place, layer in enumerate(layers):
        weights, bias = (arrays[f"{letter}{place}"].astype(np.float64) for letter in "wb")
        if place == 0:
            weights = weights / scale[:, None]
            bias = bias - (offset[:, None] * weights).sum(axis=0)
        folded.append(
            {
                "weights": single(weights.T),
                "bias": single(bias),
                "activation": layer["activation"],
                "constants": {name: float(layer[name]) for name in sorted(layer) if name != "activation"},
            }
        )
    return {"imputation": imputation if shift is not None else single(imputation), "shift": shift, "layers": folded}


def single(values: Any) -> Any:
    """Return float32, contiguous, owned, little-endian."""
    return np.ascontiguousarray(values, dtype="<f4")
