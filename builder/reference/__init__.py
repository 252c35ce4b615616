"""What a model predicts, in plain float64: what every faster or smaller computation of it is measured by.

Written as the formulas are printed, one step after the other: nothing is folded, no float32, no blocks. A kind is a
module here and a line in ``_KINDS``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from builder.bundle import model as bundle_model
from builder.reference import activations, lightgbm_text, network, nodes, trees

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FLOOR_ULP", "RELATIVE_BOUND", "Array", "activations", "bound", "has", "network", "nodes", "predict"]

Array = NDArray[np.float64]

RELATIVE_BOUND = 1e-5  # of the range of the predictions
FLOOR_ULP = 8  # float32 sums of a wide layer end a few units in the last place away even when done well

_KINDS: Mapping[type, Callable[[Any, Array], Array]] = MappingProxyType(
    {
        bundle_model.Mlp: network.predict,
        bundle_model.Linear: network.predict_linear,
        bundle_model.Trees: trees.predict,
        bundle_model.LightGbm: lightgbm_text.predict,
    }
)

# Of kinds whose models may be too large for it.
_FITS: Mapping[type, Callable[[Any], bool]] = MappingProxyType({bundle_model.LightGbm: lightgbm_text.fits})


def predict(model: bundle_model.Model, inputs: Array) -> Array:
    """Predict before post-processing.

    Args:
        model: The model, its arrays float32 or float64.
        inputs: float64 (rows, n): features, then benchmark columns, in their own units; NaN where missing.

    Returns:
        float64 (rows,). Not finite where the numbers leave float64's range: the caller judges that.

    Raises:
        ValueError: The inputs are not (rows, n).
        KeyError: There is no reference for this kind (``has`` tells).
    """
    # An overflow shows in the result as infinity or NaN; a warning on top would be about this file's line.
    with np.errstate(over="ignore", invalid="ignore"):
        return _KINDS[type(model)](model, inputs)


def has(model: bundle_model.Model) -> bool:
    """Whether there is a reference for this model: for its kind, at its size."""
    fits = _FITS.get(type(model))
    return type(model) in _KINDS and (fits is None or fits(model))


def bound(expected: Array) -> float:
    """Return the largest difference that float32 predictions may have from these.

    It is 1e-5 of the range of ``expected``, but not below 8 float32 steps at its largest magnitude: rows that are
    (nearly) alike have no range to speak of, and float32 cannot come closer than its own steps.

    Args:
        expected: float64 (rows,), at least one, finite: this module's predictions.
    """
    step = float(np.spacing(np.float32(np.abs(expected).max())))
    return max(RELATIVE_BOUND * float(np.ptp(expected)), FLOOR_ULP * step)
