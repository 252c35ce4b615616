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
from builder.reference import activations, ensemble, lightgbm_text, network, nodes, trees

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "FLOOR_ULP",
    "RELATIVE_BOUND",
    "Array",
    "activations",
    "bound",
    "compare",
    "has",
    "network",
    "nodes",
    "predict",
    "predict_within",
]

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


def predict(model: bundle_model.Model, inputs: Array, *, eras: NDArray[Any] | None = None) -> Array:
    """Predict before post-processing.

    Args:
        model: The model, its arrays float32 or float64.
        inputs: float64 (rows, n): features, then benchmark columns, in their own units; NaN where missing.
        eras: Which era each row is of (rows,), for ensembles that go by it; None: all are one.

    Returns:
        float64 (rows,). Not finite where the numbers leave float64's range: the caller judges that.

    Raises:
        ValueError: The inputs are not (rows, n).
        KeyError: There is no reference for this kind (``has`` tells).
    """
    if isinstance(model, bundle_model.Ensemble):
        return ensemble.combine(model, _members(model, inputs), eras)
    # An overflow shows in the result as infinity or NaN; a warning on top would be about this file's line.
    with np.errstate(over="ignore", invalid="ignore"):
        return _KINDS[type(model)](model, inputs)


def predict_within(
    model: bundle_model.Model, inputs: Array, *, eras: NDArray[Any] | None = None
) -> tuple[Array, Array]:
    """Predict before post-processing, and say how far float32 predictions may be away in each row.

    It is ``bound`` for every row, but for ensembles that rank: there it is more in rows whose rank the bounds of the
    members leave open.

    Args:
        model: As of ``predict``, which see for what is raised.
        inputs: As of ``predict``.
        eras: As of ``predict``.

    Returns:
        Two of float64 (rows,): predictions, and the largest differences; NaN where predictions are not finite.
    """
    if not isinstance(model, bundle_model.Ensemble):
        expected = predict(model, inputs)
        return expected, np.full(len(expected), bound(expected))
    predictions = _members(model, inputs)
    expected = ensemble.combine(model, predictions, eras)
    weights = np.array([abs(member.weight) for member in model.members])
    weights /= weights.sum()
    raw, moved = 0.0, np.zeros(len(expected))
    for member, values, weight in zip(model.members, predictions, weights, strict=True):
        own = bound(values)
        raw += weight * own if member.transform == "raw" else 0.0
        moved += weight * ensemble.reach(member, values, eras, own)
    # Members that cancel leave a sum whose range is smaller than what each may be away by.
    return expected, max(raw, bound(expected)) + moved


def has(model: bundle_model.Model) -> bool:
    """Whether there is a reference for this model: for its kind, at its size."""
    if isinstance(model, bundle_model.Ensemble):
        return all(has(member.model) for member in model.members)
    fits = _FITS.get(type(model))
    return type(model) in _KINDS and (fits is None or fits(model))


def _members(model: bundle_model.Ensemble, inputs: Array) -> list[Array]:
    """Return what each member predicts: float64 (rows,)."""
    return [predict(member.model, ensemble.inputs_of(member, model, inputs)) for member in model.members]


def bound(expected: Array) -> float:
    """Return the largest difference that float32 predictions may have from these.

    It is 1e-5 of the range of ``expected``, but not below 8 float32 steps at its largest magnitude: rows that are
    (nearly) alike have no range to speak of, and float32 cannot come closer than its own steps.

    Args:
        expected: float64 (rows,), at least one: this module's predictions.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite has NaN for a bound, which nothing meets
        step = float(np.spacing(np.float32(np.abs(expected).max())))
        return max(FLOOR_ULP * step, RELATIVE_BOUND * float(np.ptp(expected)))


def compare(got: Array, expected: Array, bounds: Array) -> tuple[float, float]:
    """Return the difference in the row that is nearest to its bound, or farthest beyond it, and that bound.

    All is well where the first is at most the second; a difference that is NaN, which is no number, never is.

    Args:
        got: float64 (rows,), at least one.
        expected: float64 (rows,).
        bounds: float64 (rows,): the largest differences that are allowed.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # too far is too far
        differences = np.abs(got - expected)
        parts = np.nan_to_num(differences / bounds, nan=np.inf)
    worst = int(np.lexsort((bounds, -parts))[0])  # of rows without any difference, the one with the least bound
    return float(differences[worst]), float(bounds[worst])
