"""The activations that a layer may have, and the constants of each; imports no numpy.

What each computes, with its constants, in the words of ``builder.reference``, which has the formulas:

================ ======================================= ===========================
name             constants (default)                     the same as
================ ======================================= ===========================
``identity``                                             no activation
``relu``                                                 ``torch.nn.ReLU``
``leaky_relu``   ``slope`` (0.01), that of ``x < 0``     ``torch.nn.LeakyReLU``
``elu``          ``alpha`` (1)                           ``torch.nn.ELU``
``selu``                                                 ``torch.nn.SELU``
``gelu``                                                 ``torch.nn.GELU()``, by erf
``gelu_tanh``                                            ``torch.nn.GELU("tanh")``
``silu``                                                 ``torch.nn.SiLU``, swish
``mish``                                                 ``torch.nn.Mish``
``tanh``                                                 ``torch.nn.Tanh``
``sigmoid``                                              ``torch.nn.Sigmoid``
``softplus``     ``beta`` (1), ``threshold`` (20)        ``torch.nn.Softplus``
``relu6``                                                ``torch.nn.ReLU6``
``hardtanh``     ``low`` (-1), ``high`` (1)              ``torch.nn.Hardtanh``
``hardsigmoid``                                          ``torch.nn.Hardsigmoid``
``hardswish``                                            ``torch.nn.Hardswish``
``celu``         ``alpha`` (1)                           ``torch.nn.CELU``
``logsigmoid``                                           ``torch.nn.LogSigmoid``
``softsign``                                             ``torch.nn.Softsign``
``tanhshrink``                                           ``torch.nn.Tanhshrink``
``exp``                                                  ``numpy.exp``
``expm1``                                                ``numpy.expm1``
``square``                                               ``numpy.square``
================ ======================================= ===========================

The last three are for targets that were transformed, and have to be brought back.
"""

from __future__ import annotations

import difflib
import math
import numbers
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Constant:
    """What one constant of an activation may be: a number in [``least``, ``most``]."""

    default: float
    least: float
    most: float


_NONE: Mapping[str, Constant] = MappingProxyType({})

CONSTANTS: Mapping[str, Mapping[str, Constant]] = MappingProxyType(
    {
        "identity": _NONE,
        "relu": _NONE,
        "leaky_relu": {"slope": Constant(default=0.01, least=-100, most=100)},
        "elu": {"alpha": Constant(default=1, least=-100, most=100)},
        "selu": _NONE,
        "gelu": _NONE,
        "gelu_tanh": _NONE,
        "silu": _NONE,
        "mish": _NONE,
        "tanh": _NONE,
        "sigmoid": _NONE,
        "softplus": {
            "beta": Constant(default=1, least=1e-3, most=1e3),
            "threshold": Constant(default=20, least=0, most=1e3),
        },
        "relu6": _NONE,
        "hardtanh": {
            "low": Constant(default=-1, least=-1e9, most=1e9),
            "high": Constant(default=1, least=-1e9, most=1e9),
        },
        "hardsigmoid": _NONE,
        "hardswish": _NONE,
        "celu": {"alpha": Constant(default=1, least=1e-3, most=1e3)},
        "logsigmoid": _NONE,
        "softsign": _NONE,
        "tanhshrink": _NONE,
        "exp": _NONE,
        "expm1": _NONE,
        "square": _NONE,
    }
)

FOR_TARGETS = ("exp", "expm1", "square")
"""Those that bring a transformed target back: between layers their values leave any range."""


@dataclass(frozen=True, kw_only=True)
class Activation:
    """What a layer does to each of its outputs.

    Attributes:
        name: One of ``CONSTANTS``.
        constants: Value by name; those left out have their defaults, so that every constant of the activation is
            there. Nothing is checked here: ``faults`` does.
    """

    name: str
    constants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = CONSTANTS.get(self.name, _NONE)
        filled = {name: constant.default for name, constant in known.items()} | dict(self.constants)
        given = {name: _plain(filled[name]) for name in sorted(filled)}
        object.__setattr__(self, "constants", MappingProxyType(given))


def from_data(data: Mapping[str, object]) -> Activation | list[str]:
    """Read one entry of ``layers``, such as ``{"activation": "elu", "alpha": 1.0}``.

    Returns:
        The activation, or all that is wrong with the entry, each as text without its place.
    """
    name = data.get("activation")
    if not isinstance(name, str):
        came = "no activation" if name is None else f"activation {name!r}, which is not a name"
        return [f"{came}; {_valid()}"]
    constants = {key: value for key, value in data.items() if key != "activation"}
    found = _faults(name, constants)
    if found:
        return found
    return Activation(name=name, constants={key: value for key, value in constants.items() if is_number(value)})


def as_data(activation: Activation) -> dict[str, object]:
    """Return the entry of ``layers`` that reads back as this activation."""
    return {"activation": activation.name, **activation.constants}


def faults(activation: Activation) -> list[str]:
    """Return all that is wrong with an activation made in Python, each as text without its place."""
    return _faults(activation.name, activation.constants)


def is_bounded(activation: Activation) -> bool:
    """Tell whether all that an activation gives lies in [0, 1]."""
    if activation.name == "hardtanh":
        return 0 <= activation.constants["low"] <= activation.constants["high"] <= 1
    return activation.name in {"sigmoid", "hardsigmoid"}


def _plain(value: float) -> float:
    """Return numbers as float, so that 1 and 1.0 are the same bundle; leave the rest for ``faults`` to name."""
    return float(value) if is_number(value) else value


def _faults(name: str, constants: Mapping[str, object]) -> list[str]:
    known = CONSTANTS.get(name)
    if known is None:
        near = difflib.get_close_matches(name, CONSTANTS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return [f"unknown activation {name!r}{hint}; {_valid()}"]
    takes = ", ".join(_rule(key, constant) for key, constant in known.items()) or "no constants"
    found = []
    for key in sorted(constants):
        if key not in known:
            found.append(f"{name} has no constant {key!r}; it takes {takes}")
        elif not _fits(constants[key], known[key]):
            found.append(f"{name}: {key} is {constants[key]!r}; it takes {takes}")
    return found


def _fits(value: object, constant: Constant) -> bool:
    return is_number(value) and constant.least <= value <= constant.most


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether it is a finite number; a boolean is none, though Python counts it among the integers."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):  # Real: numpy's floats as well
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


def _rule(name: str, constant: Constant) -> str:
    return f"{name} from {constant.least:g} to {constant.most:g} (default {constant.default:g})"


def _valid() -> str:
    return "valid: " + ", ".join(CONSTANTS)
