"""Whether the numbers of a model predict what the framework does: the bundle's reference, run where it was trained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from builder import errors, reference
from builder.bundle import model as bundle_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.export.translated import Array

CHECKED_ROWS = 2_000
"""Rows of the sample that the reference is run on at once."""


def checked(model: bundle_model.Model, sample: Array) -> Array:
    """Return the rows of a sample that are compared, spread over it: float64 (rows, n)."""
    kept = sample[~is_blurred(model, sample)]
    chosen = kept if len(kept) else sample
    return chosen[:: math.ceil(len(chosen) / CHECKED_ROWS)]


def is_blurred(model: bundle_model.Model, inputs: Array) -> NDArray[np.bool_]:
    """Tell in which rows the last digits of a float64 decide what no float32 can.

    Quantiles repeat at what missing inputs become. The one training row whose input is that very number is among them
    for the framework, and only if its digits go beyond a float32's, so that the bundle has another number there.

    Returns:
        bool (rows,).
    """
    if not (
        isinstance(model, bundle_model.Mlp) and any(isinstance(one, bundle_model.Quantiles) for one in model.layers)
    ):
        return np.zeros(len(inputs), dtype=np.bool_)
    short = inputs.astype(np.float32)
    near: NDArray[np.bool_] = (short == model.imputation.astype(np.float32)) & (short != inputs)
    told: NDArray[np.bool_] = np.any(near, axis=1)
    return told


def compare(model: bundle_model.Model, inputs: Array, framework_says: Array) -> tuple[float, float | None]:
    """Return the largest difference between the framework and the reference, and its bound.

    Args:
        model: What the framework's object was translated to.
        inputs: float64 (rows, n).
        framework_says: float64 (rows,): what the framework predicts for them.

    Returns:
        0 and None where the kind has no reference.

    Raises:
        errors.ExportError: The difference is beyond the bound.
    """
    if not reference.has(model):
        return 0.0, None
    expected, bounds = reference.predict_within(model, inputs)
    difference, bound = reference.compare(framework_says, expected, bounds)
    if not difference <= bound:
        raise errors.ExportError(
            f"export: the bundle would predict up to {difference:.2g} away from the framework, {bound:.2g} is allowed; "
            "this is a bug of the exporter: please report it, and export a function meanwhile (docs/export/custom.md)"
        )
    return difference, bound
