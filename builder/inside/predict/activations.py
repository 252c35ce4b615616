"""Activations on arrays (units, rows), in place if that is cheaper.

Factors are Python numbers, which keep float32 arrays float32. The formulas avoid cancellation, so that a result near
zero has as many correct digits as any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .definitions import ActivationDefinition, Number

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
GELU_SLOPE = 1.5957691216057308  # 2 sqrt(2 / pi)


def compute_sigmoid(hidden: Any) -> Any:
    """Return 1 / (1 + exp(-x)); exp is only called with numbers below zero, so it cannot overflow."""
    small = np.exp(-np.abs(hidden))
    return np.where(hidden >= 0, 1, small) / (1 + small)


def compute_softplus(hidden: Any, beta: float, threshold: float) -> Any:
    """Return log(1 + exp(beta x)) / beta; x itself if beta x is above the threshold, as in PyTorch."""
    scaled = hidden * beta
    soft = (np.maximum(scaled, 0) + np.log1p(np.exp(-np.abs(scaled)))) / beta
    return np.where(scaled > threshold, hidden, soft)


@ActivationDefinition(same_as="no activation", in_place=True)
def identity(hidden: Any, constants: Any) -> Any:
    """Return x."""
    return hidden


@ActivationDefinition(same_as="torch.nn.ReLU", aten="relu", in_place=True)
def relu(hidden: Any, constants: Any) -> Any:
    """Return max(x, 0)."""
    return np.maximum(hidden, 0, out=hidden)


@ActivationDefinition(
    same_as="torch.nn.LeakyReLU",
    aten="leaky_relu",
    constants={"slope": Number(default=0.01, minimum=-100, maximum=100, aten="negative_slope")},
)
def leaky_relu(hidden: Any, constants: Any) -> Any:
    """Return x, or slope * x below zero."""
    return np.maximum(hidden, 0) + constants["slope"] * np.minimum(hidden, 0)


@ActivationDefinition(same_as="torch.nn.ELU", constants={"alpha": Number(default=1, minimum=-100, maximum=100)})
def elu(hidden: Any, constants: Any) -> Any:
    """Return x, or alpha * (exp(x) - 1) below zero."""
    return np.maximum(hidden, 0) + constants["alpha"] * np.expm1(np.minimum(hidden, 0))


@ActivationDefinition(same_as="torch.nn.SELU", aten="selu")
def selu(hidden: Any, constants: Any) -> Any:
    """Return elu with the constants of self-normalising networks."""
    negative = SELU_ALPHA * np.expm1(np.minimum(hidden, 0))
    return SELU_SCALE * (np.maximum(hidden, 0) + negative)


@ActivationDefinition(same_as="torch.nn.GELU")
def gelu(hidden: Any, constants: Any) -> Any:
    """Return x times the cumulative distribution function of the normal distribution at x."""
    from scipy import special  # here and not above: it loads slowly, and few models use it

    return 0.5 * hidden * special.erfc(hidden * -0.7071067811865476)


@ActivationDefinition(same_as='torch.nn.GELU("tanh")')
def gelu_tanh(hidden: Any, constants: Any) -> Any:
    """Return the tanh approximation of gelu; (1 + tanh(x)) / 2 is computed as the sigmoid of 2 x."""
    return hidden * compute_sigmoid(GELU_SLOPE * (hidden + 0.044715 * hidden * hidden * hidden))


@ActivationDefinition(same_as="torch.nn.SiLU", aten="silu")
def silu(hidden: Any, constants: Any) -> Any:
    """Return x * sigmoid(x)."""
    return hidden * compute_sigmoid(hidden)


@ActivationDefinition(same_as="torch.nn.Mish", aten="mish")
def mish(hidden: Any, constants: Any) -> Any:
    """Return x * tanh(softplus(x))."""
    return hidden * np.tanh(compute_softplus(hidden, 1.0, 20.0))


@ActivationDefinition(same_as="torch.nn.Tanh", aten="tanh", in_place=True)
def tanh(hidden: Any, constants: Any) -> Any:
    """Return the hyperbolic tangent."""
    return np.tanh(hidden, out=hidden)


@ActivationDefinition(same_as="torch.nn.Sigmoid", aten="sigmoid", bounds=(0, 1))
def sigmoid(hidden: Any, constants: Any) -> Any:
    """Return 1 / (1 + exp(-x))."""
    return compute_sigmoid(hidden)


@ActivationDefinition(
    same_as="torch.nn.Softplus",
    aten="softplus",
    constants={
        "beta": Number(default=1, minimum=1e-3, maximum=1e3),
        "threshold": Number(default=20, minimum=0, maximum=1e3),
    },
)
def softplus(hidden: Any, constants: Any) -> Any:
    """Return log(1 + exp(beta x)) / beta."""
    return compute_softplus(hidden, constants["beta"], constants["threshold"])


@ActivationDefinition(same_as="torch.nn.ReLU6", aten="relu6", in_place=True, bounds=(0, 6))
def relu6(hidden: Any, constants: Any) -> Any:
    """Return x clipped to [0, 6]."""
    return np.clip(hidden, 0, 6, out=hidden)


@ActivationDefinition(
    same_as="torch.nn.Hardtanh",
    constants={
        "low": Number(default=-1, minimum=-1e9, maximum=1e9),
        "high": Number(default=1, minimum=-1e9, maximum=1e9),
    },
    in_place=True,
    bounds=("low", "high"),
)
def hardtanh(hidden: Any, constants: Any) -> Any:
    """Return x clipped to [low, high]."""
    return np.clip(hidden, constants["low"], constants["high"], out=hidden)


@ActivationDefinition(same_as="torch.nn.Hardsigmoid", aten="hardsigmoid", bounds=(0, 1))
def hardsigmoid(hidden: Any, constants: Any) -> Any:
    """Return the line from 0 at -3 to 1 at 3, and 0 or 1 outside."""
    return np.clip(hidden + 3, 0, 6) / 6


@ActivationDefinition(same_as="torch.nn.Hardswish", aten="hardswish")
def hardswish(hidden: Any, constants: Any) -> Any:
    """Return x times its hardsigmoid."""
    return hidden * hardsigmoid(hidden, constants)


@ActivationDefinition(
    same_as="torch.nn.CELU", aten="celu", constants={"alpha": Number(default=1, minimum=1e-3, maximum=1e3)}
)
def celu(hidden: Any, constants: Any) -> Any:
    """Return x, or alpha * (exp(x / alpha) - 1) below zero."""
    return np.maximum(hidden, 0) + constants["alpha"] * np.expm1(np.minimum(hidden, 0) / constants["alpha"])


@ActivationDefinition(same_as="torch.nn.LogSigmoid", aten="log_sigmoid")
def logsigmoid(hidden: Any, constants: Any) -> Any:
    """Return log(sigmoid(x))."""
    return np.minimum(hidden, 0) - np.log1p(np.exp(-np.abs(hidden)))


@ActivationDefinition(same_as="torch.nn.Softsign")
def softsign(hidden: Any, constants: Any) -> Any:
    """Return x / (1 + |x|)."""
    return hidden / (1 + np.abs(hidden))


@ActivationDefinition(same_as="torch.nn.Tanhshrink")
def tanhshrink(hidden: Any, constants: Any) -> Any:
    """Return x - tanh(x), computed in float64 because the two are nearly equal for small x."""
    wide = hidden.astype(np.float64, copy=False)
    return (wide - np.tanh(wide)).astype(hidden.dtype, copy=False)


@ActivationDefinition(same_as="numpy.exp", aten="exp", in_place=True, for_targets=True)
def exp(hidden: Any, constants: Any) -> Any:
    """Return the exponential."""
    return np.exp(hidden, out=hidden)


@ActivationDefinition(same_as="numpy.expm1", aten="expm1", in_place=True, for_targets=True)
def expm1(hidden: Any, constants: Any) -> Any:
    """Return the exponential minus one."""
    return np.expm1(hidden, out=hidden)


@ActivationDefinition(same_as="numpy.square", aten="square", in_place=True, for_targets=True)
def square(hidden: Any, constants: Any) -> Any:
    """Return x * x."""
    return np.multiply(hidden, hidden, out=hidden)


@ActivationDefinition(same_as="numpy.absolute", in_place=True, for_targets=True)
def absolute(hidden: Any, constants: Any) -> Any:
    """Return the absolute value."""
    return np.absolute(hidden, out=hidden)


@ActivationDefinition(same_as="numpy.sqrt", aten="sqrt", in_place=True, for_targets=True)
def sqrt(hidden: Any, constants: Any) -> Any:
    """Return the square root."""
    return np.sqrt(hidden, out=hidden)


@ActivationDefinition(same_as="numpy.cbrt", in_place=True, for_targets=True)
def cbrt(hidden: Any, constants: Any) -> Any:
    """Return the cube root."""
    return np.cbrt(hidden, out=hidden)


@ActivationDefinition(same_as="numpy.log", aten="log", in_place=True, for_targets=True)
def log(hidden: Any, constants: Any) -> Any:
    """Return the natural logarithm."""
    return np.log(hidden, out=hidden)


@ActivationDefinition(same_as="numpy.log1p", aten="log1p", in_place=True, for_targets=True)
def log1p(hidden: Any, constants: Any) -> Any:
    """Return the natural logarithm of one plus x."""
    return np.log1p(hidden, out=hidden)
