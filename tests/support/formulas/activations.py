"""Activations, as their formulas are printed."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.bundle import activations

Array = NDArray[np.float64]

# Klambauer et al., Self-Normalizing Neural Networks, 2017, appendix A.1, to float64.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805

# Not scipy's: PyTorch models are exported where there may be none.
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def activate(activation: activations.Activation, values: Array) -> Array:
    """Return the activation of each value, float64 of the same shape."""
    return _ACTIVATIONS[activation.name](values, **activation.constants)


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
    twice_the_share_below: Array = _erfc(-x / math.sqrt(2.0))
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


def _relu6(x: Array) -> Array:
    return np.minimum(np.maximum(x, 0.0), 6.0)


def _hardtanh(x: Array, *, low: float, high: float) -> Array:
    return np.minimum(np.maximum(x, low), high)


def _hardsigmoid(x: Array) -> Array:
    return _relu6(x + 3.0) / 6.0


def _hardswish(x: Array) -> Array:
    return x * _hardsigmoid(x)


def _celu(x: Array, *, alpha: float) -> Array:
    return np.maximum(x, 0.0) + alpha * np.expm1(np.minimum(x, 0.0) / alpha)


def _logsigmoid(x: Array) -> Array:
    return -np.logaddexp(0.0, -x)


def _softsign(x: Array) -> Array:
    return x / (1.0 + np.abs(x))


def _tanhshrink(x: Array) -> Array:
    return x - np.tanh(x)


def _exp(x: Array) -> Array:
    return np.exp(x)


def _expm1(x: Array) -> Array:
    return np.expm1(x)


def _square(x: Array) -> Array:
    return x * x


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
        "relu6": _relu6,
        "hardtanh": _hardtanh,
        "hardsigmoid": _hardsigmoid,
        "hardswish": _hardswish,
        "celu": _celu,
        "logsigmoid": _logsigmoid,
        "softsign": _softsign,
        "tanhshrink": _tanhshrink,
        "exp": _exp,
        "expm1": _expm1,
        "square": _square,
        "absolute": lambda x: np.where(x < 0, -x, x),
        "sqrt": lambda x: x**0.5,
        "cbrt": lambda x: np.sign(x) * np.abs(x) ** (1 / 3),
        "log": np.vectorize(math.log, otypes=[np.float64]),
        "log1p": np.vectorize(math.log1p, otypes=[np.float64]),
    }
)
