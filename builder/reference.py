"""What a model predicts, in plain float64: what every faster or smaller computation of it is measured by.

Written as the formulas are printed, one step after the other: nothing is folded, no float32, no blocks.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.bundle import activations
    from builder.bundle import model as bundle_model

Array = NDArray[np.float64]

RELATIVE_BOUND = 1e-5  # of the range of the predictions
FLOOR_ULP = 8  # float32 sums of a wide layer end a few units in the last place away even when done well

# Klambauer et al., Self-Normalizing Neural Networks, 2017, appendix A.1, to float64.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def predict(model: bundle_model.Model, inputs: Array) -> Array:
    """Predict before post-processing.

    Args:
        model: The model, its arrays float32 or float64.
        inputs: float64 (rows, n): features, then benchmark columns, in their own units; NaN where missing.

    Returns:
        float64 (rows,). Not finite where the numbers leave float64's range: the caller judges that.

    Raises:
        ValueError: The inputs are not (rows, n).
    """
    wanted = model.imputation.shape[0]
    if inputs.ndim != 2 or inputs.shape[1] != wanted:
        raise ValueError(f"inputs are {inputs.shape}, the model takes (rows, {wanted})")
    # An overflow shows in the result as infinity or NaN; a warning on top would be about this file's line.
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.where(np.isnan(inputs), model.imputation.astype(np.float64), inputs.astype(np.float64))
        values = (values - model.centre.astype(np.float64)) / model.scale.astype(np.float64)
        for layer in model.layers:
            values = values @ layer.weights.astype(np.float64) + layer.bias.astype(np.float64)
            values = activate(layer.activation, values)
    return values[:, 0].copy()


def activate(activation: activations.Activation, values: Array) -> Array:
    """Return the activation of each value, float64 of the same shape."""
    return _ACTIVATIONS[activation.name](values, **activation.constants)


def bound(expected: Array) -> float:
    """Return the largest difference that float32 predictions may have from these.

    It is 1e-5 of the range of ``expected``, but not below 8 float32 steps at its largest magnitude: rows that are
    (nearly) alike have no range to speak of, and float32 cannot come closer than its own steps.

    Args:
        expected: float64 (rows,), at least one, finite: this module's predictions.
    """
    step = float(np.spacing(np.float32(np.abs(expected).max())))
    return max(RELATIVE_BOUND * float(np.ptp(expected)), FLOOR_ULP * step)


def _identity(x: Array) -> Array:
    return x


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def _leaky_relu(x: Array, *, slope: float) -> Array:
    return np.where(x >= 0, x, slope * x)


def _elu(x: Array, *, alpha: float) -> Array:
    # minimum: the branch that is not taken must not overflow.
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _selu(x: Array) -> Array:
    return _SELU_SCALE * _elu(x, alpha=_SELU_ALPHA)


def _gelu(x: Array) -> Array:
    # erfc keeps the digits of the lower tail, where 1 + erf has lost them.
    from scipy import special  # noqa: PLC0415 - 0.5 s that only this activation need pay

    twice_the_share_below: Array = special.erfc(-x / math.sqrt(2.0))
    return 0.5 * x * twice_the_share_below


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


def _sigmoid(x: Array) -> Array:
    # exp of a negative number alone, so that neither side overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def _silu(x: Array) -> Array:
    return x * _sigmoid(x)


def _mish(x: Array) -> Array:
    return x * np.tanh(np.logaddexp(0.0, x))


def _tanh(x: Array) -> Array:
    return np.tanh(x)


def _softplus(x: Array, *, beta: float, threshold: float) -> Array:
    return np.where(beta * x > threshold, x, np.logaddexp(0.0, beta * x) / beta)


_ACTIVATIONS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "identity": _identity,
        "relu": _relu,
        "leaky_relu": _leaky_relu,
        "elu": _elu,
        "selu": _selu,
        "gelu": _gelu,
        "gelu_tanh": _gelu_tanh,
        "silu": _silu,
        "mish": _mish,
        "tanh": _tanh,
        "sigmoid": _sigmoid,
        "softplus": _softplus,
    }
)
