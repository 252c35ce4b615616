"""Forests, laid out for predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .network import plain

if TYPE_CHECKING:
    from pathlib import Path


def fold_trees(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the arrays; thresholds in the type that inputs are compared in."""
    threshold = arrays["threshold"].astype(np.float64)
    kinds = {"feature": "<i4", "left": "<i4", "right": "<i4", "missing_left": "|u1", "value": "<f8"}
    return {
        **{name: plain(arrays[name], kind) for name, kind in kinds.items()},
        "threshold": plain(float32_below(threshold), "<f4") if header["rounded"] else plain(threshold, "<f8"),
        "roots": [int(root) for root in arrays["roots"]],
        "output": [int(output) for output in arrays["output"]],
        "base": plain(arrays["base"], "<f8"),
    }


def float32_below(threshold: Any) -> Any:
    """Return the largest float32 that is not above each float64: a float32 is at most the one where it is the other."""
    with np.errstate(over="ignore"):  # beyond float32 is infinity, and then the largest float32
        near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
