"""The activation of a node: its name, its constants, and their checks.

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
    """A function that a node applies to each of its outputs.

    Attributes:
        name: One of ``inside.operators.ACTIVATIONS``.
        constants: Every constant of the activation by name; missing ones are set to their defaults. Neither the name
            nor the values are checked here: see ``faults``.
    """

    name: str
    constants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        definitions = ACTIVATIONS[self.name].constants if self.name in ACTIVATIONS else {}
        constants = {name: number.default for name, number in definitions.items()} | dict(self.constants)
        # Sorted and as float, so that equal activations are equal bytes in bundle.json.
        constants = {name: _to_float(constants[name]) for name in sorted(constants)}
        object.__setattr__(self, "constants", MappingProxyType(constants))


IDENTITY = Activation(name="identity")


def from_data(data: Mapping[str, object]) -> Activation | list[str]:
    """Read an activation from an entry of ``layers``: ``{"activation": "elu", "alpha": 1.0}``.

    Returns:
        The activation, or all problems of the entry, without a key path.
    """
    name = data.get("activation")
    if not isinstance(name, str):
        problem = "activation is missing" if name is None else f"invalid activation {describe(name)}"
        return [f"{problem}; {_list_valid_names()}"]
    constants = {key: value for key, value in data.items() if key != "activation"}
    problems = find_constant_problems(name, constants)
    if problems:
        return problems
    return Activation(name=name, constants={key: value for key, value in constants.items() if is_number(value)})


def as_data(activation: Activation) -> dict[str, object]:
    """Return the keys that ``from_data`` reads as this activation."""
    return {"activation": activation.name, **activation.constants}


def is_bounded(activation: Activation) -> bool:
    """Return whether the activation's results are in [0, 1] for any input."""
    range_ = ACTIVATIONS[activation.name].bounds
    if range_ is None:
        return False
    least, greatest = (activation.constants[bound] if isinstance(bound, str) else bound for bound in range_)
    return 0 <= least <= greatest <= 1


def _to_float(value: Any) -> Any:
    """Return a number as float; any other value as it is, for ``find_constant_problems`` to report."""
    return float(value) if is_number(value) else value


def find_constant_problems(name: str, constants: Mapping[str, object]) -> list[str]:
    """Return all problems of an activation's name and constants, without a key path."""
    definition = ACTIVATIONS.get(name)
    if definition is None:
        near = find_nearest(name, ACTIVATIONS)
        hint = f" (did you mean {near}?)" if near else ""
        return [f"unknown activation {describe(name)}{hint}; {_list_valid_names()}"]
    definitions = definition.constants
    expected = ", ".join(_describe_constant(key, constant) for key, constant in definitions.items()) or "no constants"
    problems = []
    for key in sorted(constants):
        if key not in definitions:
            problems.append(f"unknown constant {describe(key)} of {name}; expected {expected}")
        elif not is_in_range(constants[key], definitions[key]):
            problems.append(f"invalid value {describe(constants[key])} for {key} of {name}; expected {expected}")
    return problems


def is_in_range(value: object, number: Number) -> TypeGuard[float]:
    """Return whether a value is a finite number in the range that a definition allows."""
    return is_number(value) and number.minimum <= value <= number.maximum


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number; booleans are not, although Python's ``bool`` is an ``int``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):  # Real: numpy's floats as well
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


def _describe_constant(name: str, number: Number) -> str:
    return f"{name} from {number.minimum:g} to {number.maximum:g} (default {number.default:g})"


def _list_valid_names() -> str:
    return "expected one of " + ", ".join(ACTIVATIONS)
