"""Compare the bundle's predictions, which the predict source computes in float64 here, with the framework's."""

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

MAX_ROWS = 2_000
"""Rows of the sample that are compared."""


def select_rows(sample: Array) -> Array:
    """Return at most ``MAX_ROWS`` rows, spread evenly over the sample: float64 (rows, n)."""
    return sample[:: math.ceil(len(sample) / MAX_ROWS)]


def compare(
    model: bundle_model.Model, inputs: Array, framework_predictions: Array, predict: Callable[[Array], Array]
) -> conversion.ParityResult | None:
    """Compare the bundle with the framework; return None for a custom model, which ``functions`` compares itself.

    Args:
        model: The converted model.
        inputs: float64 (rows, n).
        framework_predictions: float64 (rows,): the framework's predictions for ``inputs``.
        predict: The framework's prediction, to find out whether it is deterministic.

    Raises:
        errors.ExportError: The difference is beyond the bound.
        errors.LibraryError: A library that the model needs to predict is not installed.
    """
    if isinstance(model, bundle_model.Custom):
        return None
    bundle_predictions, bounds = prediction.predict_with_tolerances(model, inputs)
    difference, bound = prediction.find_worst_difference(framework_predictions, bundle_predictions, bounds)
    if not difference <= bound:
        _check_deterministic(model, inputs, framework_predictions, predict, bound)
        raise errors.ExportError(
            f"export: internal error: the bundle's predictions differ by up to {difference:.2g} from the framework's; "
            f"at most {bound:.2g} is allowed; report it, and use a function instead "
            "(docs/export/predict-function.md)"
        )
    return conversion.ParityResult(rows=len(inputs), difference=difference, bound=bound)


def _check_deterministic(
    model: bundle_model.Model, inputs: Array, predictions: Array, predict: Callable[[Array], Array], bound: float
) -> None:
    """Make sure that the framework repeats its predictions, for the same rows and for half of them.

    Raises:
        errors.ExportError: It does not, so that the difference is not the exporter's.
    """
    repetitions = [("the same rows again", inputs, predictions)]
    if not isinstance(model, bundle_model.Ensemble):  # its members may be ranked among all rows
        half = slice(0, -(-len(inputs) // 2))  # rounded up, so that a single row is left
        repetitions.append(("some of the rows alone", inputs[half], predictions[half]))
    for description, rows, expected in repetitions:
        difference = float(np.abs(predict(rows) - expected).max())
        if difference > bound:
            raise errors.ExportError(
                f"export: the model's own predictions for {description} differ by up to {difference:.2g} from its "
                "first ones: it draws random numbers, or a row's prediction depends on other rows; a bundle supports "
                "neither"
            )
