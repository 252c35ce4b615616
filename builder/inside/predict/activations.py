"""Activations on (units, rows), in place where that is cheaper; plain Python factors keep float32 float32.

Each is written so that nothing cancels: where the result is tiny, it still has all of its digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
GELU_SLOPE = 1.5957691216057308  # 2 sqrt(2 / pi)


def sigmoid_of(hidden: Any) -> Any:
    """Return 1 / (1 + exp(-x)), by the branch that cannot overflow."""
    small = np.exp(-np.abs(hidden))
    return np.where(hidden >= 0, 1, small) / (1 + small)


def softplus_of(hidden: Any, beta: float, threshold: float) -> Any:
    """Return log(1 + exp(beta x)) / beta; x itself above the threshold, as PyTorch has it."""
    scaled = hidden * beta
    soft = (np.maximum(scaled, 0) + np.log1p(np.exp(-np.abs(scaled)))) / beta
    return np.where(scaled > threshold, hidden, soft)


def identity(hidden: Any, constants: Any) -> Any:
    """Return x."""
    return hidden


def relu(hidden: Any, constants: Any) -> Any:
    """Return max(x, 0)."""
    return np.maximum(hidden, 0, out=hidden)


def leaky_relu(hidden: Any, constants: Any) -> Any:
    """Return x, or slope * x below zero."""
    return np.maximum(hidden, 0) + constants["slope"] * np.minimum(hidden, 0)


def elu(hidden: Any, constants: Any) -> Any:
    """Return x, or alpha * (exp(x) - 1) below zero."""
    return np.maximum(hidden, 0) + constants["alpha"] * np.expm1(np.minimum(hidden, 0))


def selu(hidden: Any, constants: Any) -> Any:
    """Return the self-normalising elu."""
    bent = SELU_ALPHA * np.expm1(np.minimum(hidden, 0))
    return SELU_SCALE * (np.maximum(hidden, 0) + bent)


def gelu(hidden: Any, constants: Any) -> Any:
    """Return x times the normal distribution's share below x; scipy, slow to load, only where this is used."""
    from scipy import special

    return 0.5 * hidden * special.erfc(hidden * -0.7071067811865476)


def gelu_tanh(hidden: Any, constants: Any) -> Any:
    """Return gelu by its tanh approximation: (1 + tanh(x)) / 2 is the sigmoid of 2 x."""
    return hidden * sigmoid_of(GELU_SLOPE * (hidden + 0.044715 * hidden * hidden * hidden))


def silu(hidden: Any, constants: Any) -> Any:
    """Return x * sigmoid(x)."""
    return hidden * sigmoid_of(hidden)


def mish(hidden: Any, constants: Any) -> Any:
    """Return x * tanh(softplus(x))."""
    return hidden * np.tanh(softplus_of(hidden, 1.0, 20.0))


def tanh(hidden: Any, constants: Any) -> Any:
    """Return the hyperbolic tangent."""
    return np.tanh(hidden, out=hidden)


def sigmoid(hidden: Any, constants: Any) -> Any:
    """Return 1 / (1 + exp(-x))."""
    return sigmoid_of(hidden)


def softplus(hidden: Any, constants: Any) -> Any:
    """Return log(1 + exp(beta x)) / beta."""
    return softplus_of(hidden, constants["beta"], constants["threshold"])


def relu6(hidden: Any, constants: Any) -> Any:
    """Return x held to [0, 6]."""
    return np.clip(hidden, 0, 6, out=hidden)


def hardtanh(hidden: Any, constants: Any) -> Any:
    """Return x held to [low, high]."""
    return np.clip(hidden, constants["low"], constants["high"], out=hidden)


def hardsigmoid(hidden: Any, constants: Any) -> Any:
    """Return a line from 0 at -3 to 1 at 3."""
    return np.clip(hidden + 3, 0, 6) / 6


def hardswish(hidden: Any, constants: Any) -> Any:
    """Return x times its hardsigmoid."""
    return hidden * hardsigmoid(hidden, constants)


def celu(hidden: Any, constants: Any) -> Any:
    """Return x, or alpha * (exp(x / alpha) - 1) below zero."""
    return np.maximum(hidden, 0) + constants["alpha"] * np.expm1(np.minimum(hidden, 0) / constants["alpha"])


def logsigmoid(hidden: Any, constants: Any) -> Any:
    """Return log(sigmoid(x))."""
    return np.minimum(hidden, 0) - np.log1p(np.exp(-np.abs(hidden)))


def softsign(hidden: Any, constants: Any) -> Any:
    """Return x / (1 + |x|)."""
    return hidden / (1 + np.abs(hidden))


def tanhshrink(hidden: Any, constants: Any) -> Any:
    """Return x - tanh(x), by float64: the two are nearly alike where x is small."""
    exact = hidden.astype(np.float64, copy=False)
    return (exact - np.tanh(exact)).astype(hidden.dtype, copy=False)


def exp(hidden: Any, constants: Any) -> Any:
    """Return the exponential."""
    return np.exp(hidden, out=hidden)


def expm1(hidden: Any, constants: Any) -> Any:
    """Return the exponential, less one."""
    return np.expm1(hidden, out=hidden)


def square(hidden: Any, constants: Any) -> Any:
    """Return x * x."""
    return np.multiply(hidden, hidden, out=hidden)


ACTIVATIONS = {
    "celu": celu,
    "elu": elu,
    "exp": exp,
    "expm1": expm1,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "hardtanh": hardtanh,
    "identity": identity,
    "leaky_relu": leaky_relu,
    "logsigmoid": logsigmoid,
    "mish": mish,
    "relu": relu,
    "relu6": relu6,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softplus": softplus,
    "softsign": softsign,
    "square": square,
    "tanh": tanh,
    "tanhshrink": tanhshrink,
}
