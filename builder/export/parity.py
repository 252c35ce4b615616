"""Whether a bundle predicts what the framework does: the predict source in float64, run where the model was trained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.export import conversion

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.export.conversion import Array

CHECKED_ROWS = 2_000
"""Rows of the sample that are compared."""


def checked(sample: Array) -> Array:
    """Return the rows of a sample that are compared, spread over it: float64 (rows, n)."""
    return sample[:: math.ceil(len(sample) / CHECKED_ROWS)]


def compare(
    model: bundle_model.Model, inputs: Array, framework_says: Array, predict: Callable[[Array], Array]
) -> conversion.ParityResult | None:
    """Return how near the bundle is to the framework; None for a custom model, which is compared in its own way.

    Args:
        model: What the framework's object was translated to.
        inputs: float64 (rows, n).
        framework_says: float64 (rows,): what the framework predicts for them.
        predict: The framework, to ask it again.

    Raises:
        errors.ExportError: The difference is beyond the bound.
        errors.LibraryError: A library that the model takes to predict is not installed.
    """
    if isinstance(model, bundle_model.Custom):
        return None
    expected, bounds = prediction.predict_with_tolerances(model, inputs)
    difference, bound = prediction.find_worst_difference(framework_says, expected, bounds)
    if not difference <= bound:
        _check_steady(model, inputs, framework_says, predict, bound)
        raise errors.ExportError(
            f"export: the bundle would predict up to {difference:.2g} away from the framework, {bound:.2g} is allowed; "
            "this is a bug of the exporter: please report it, and export a function meanwhile (docs/export/custom.md)"
        )
    return conversion.ParityResult(rows=len(inputs), difference=difference, bound=bound)


def _check_steady(
    model: bundle_model.Model, inputs: Array, framework_says: Array, predict: Callable[[Array], Array], bound: float
) -> None:
    """Make sure that it is not the framework that differs from itself.

    Raises:
        errors.ExportError: It does, asked again or for half of the rows.
    """
    asked = [("the same rows again", inputs, framework_says)]
    if not isinstance(model, bundle_model.Ensemble):  # whose ranks are among all the rows
        half = slice(0, -(-len(inputs) // 2))
        asked.append(("some of the rows alone", inputs[half], framework_says[half]))
    for what, rows, said in asked:
        away = float(np.abs(predict(rows) - said).max())
        if away > bound:
            raise errors.ExportError(
                f"export: the model itself, asked for {what}, predicts up to {away:.2g} away from what it predicted "
                "first; it draws random numbers, or a prediction depends on other rows than its own: a bundle holds "
                "neither"
            )
