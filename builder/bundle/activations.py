"""The activation of a node: its name, its constants, and what is wrong with them.

What each computes, and the range of its constants, is defined in ``builder.inside.predict.activations``.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard

from builder.inside.operators import ACTIVATIONS
from builder.text import describe, find_nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.inside.predict.definitions import Number


@dataclass(frozen=True, kw_only=True)
class Activation:
    """What a layer does to each of its outputs.

    Attributes:
        name: One of ``inside.operators.ACTIVATIONS``.
        constants: Value by name; those left out have their defaults, so that every constant of the activation is
            there. Nothing is checked here: ``faults`` does.
    """

    name: str
    constants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = ACTIVATIONS[self.name].constants if self.name in ACTIVATIONS else {}
        filled = {name: number.default for name, number in known.items()} | dict(self.constants)
        given = {name: _to_float(filled[name]) for name in sorted(filled)}
        object.__setattr__(self, "constants", MappingProxyType(given))


IDENTITY = Activation(name="identity")


def from_data(data: Mapping[str, object]) -> Activation | list[str]:
    """Read one entry of ``layers``, such as ``{"activation": "elu", "alpha": 1.0}``.

    Returns:
        The activation, or all that is wrong with the entry, each as text without its place.
    """
    name = data.get("activation")
    if not isinstance(name, str):
        came = "no activation" if name is None else f"activation {describe(name)}, which is not a name"
        return [f"{came}; {_list_valid_names()}"]
    constants = {key: value for key, value in data.items() if key != "activation"}
    problems = faults(name, constants)
    if problems:
        return problems
    return Activation(name=name, constants={key: value for key, value in constants.items() if is_number(value)})


def as_data(activation: Activation) -> dict[str, object]:
    """Return the entry of ``layers`` that reads back as this activation."""
    return {"activation": activation.name, **activation.constants}


def is_bounded(activation: Activation) -> bool:
    """Tell whether all that an activation gives lies in [0, 1]."""
    bounds = ACTIVATIONS[activation.name].bounds
    if bounds is None:
        return False
    low, high = (activation.constants[bound] if isinstance(bound, str) else bound for bound in bounds)
    return 0 <= low <= high <= 1


def _to_float(value: Any) -> Any:
    """Return numbers as float, so that 1 and 1.0 are the same bundle; leave the rest for ``faults`` to name."""
    return float(value) if is_number(value) else value


def faults(name: str, constants: Mapping[str, object]) -> list[str]:
    """Return all that is wrong with the name and constants of an activation, each as text without its place."""
    definition = ACTIVATIONS.get(name)
    if definition is None:
        near = find_nearest(name, ACTIVATIONS)
        hint = f" (did you mean {near}?)" if near else ""
        return [f"unknown activation {describe(name)}{hint}; {_list_valid_names()}"]
    known = definition.constants
    takes = ", ".join(_describe_constant(key, constant) for key, constant in known.items()) or "no constants"
    problems = []
    for key in sorted(constants):
        if key not in known:
            problems.append(f"{name} has no constant {describe(key)}; it takes {takes}")
        elif not is_in_range(constants[key], known[key]):
            problems.append(f"{name}: {key} is {describe(constants[key])}; it takes {takes}")
    return problems


def is_in_range(value: object, number: Number) -> TypeGuard[float]:
    """Tell whether a value is a number of the range."""
    return is_number(value) and number.minimum <= value <= number.maximum


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether it is a finite number; a boolean is none, though Python counts it among the integers."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):  # Real: numpy's floats as well
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


def _describe_constant(name: str, number: Number) -> str:
    return f"{name} from {number.minimum:g} to {number.maximum:g} (default {number.default:g})"


def _list_valid_names() -> str:
    return "valid: " + ", ".join(ACTIVATIONS)
