"""Define the operators and activations of networks: a definition decorates the function that computes it.

``builder.bundle`` checks nodes against these definitions, ``inside.fold`` folds them, ``builder.export`` converts to
them and ``docs/bundle.md`` lists them. A pickle only contains the two tables of functions at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number from ``minimum`` to ``maximum`` that an activation or an operator takes.

    Attributes:
        default: Its value if omitted; None if it is required.
        aten: The name of the ATen operator's argument, if it differs.
    """

    minimum: float
    maximum: float
    default: float | None = None
    aten: str = ""


@dataclass(frozen=True, kw_only=True)
class ActivationDefinition:
    """An activation with the name of its function.

    The function takes an array (values, rows), which it may overwrite, and a dict of constants.

    Attributes:
        same_as: The same activation in another library, for the documentation.
        constants: Its numbers by name.
        aten: The ATen operator with the same result, whose arguments are the constants; empty if there is none.
        in_place: Whether it works without another array as large as its result.
        bounds: The lowest and the highest result, each a number or the name of a constant.
        for_targets: Whether it is meant to transform an input or a target: it overflows, or is not defined for some
            numbers.
    """

    same_as: str
    constants: Mapping[str, Number] = field(default_factory=dict)
    aten: str = ""
    in_place: bool = False
    bounds: tuple[float | str, float | str] | None = None
    for_targets: bool = False

    def __call__(self, predict: Function) -> Function:
        """Register the function."""
        ACTIVATIONS[predict.__name__] = self
        ACTIVATION_FUNCTIONS[predict.__name__] = predict
        return predict


@dataclass(frozen=True, kw_only=True)
class Array:
    """An array of an operator.

    Attributes:
        name: Its name in a node.
        stem: Its name in a bundle, to which the index of the node is appended; ``name`` if empty.
        shape: The names of its dimensions: ``in`` and ``out`` are the numbers of input and output values of the node,
            any other name is a dimension that arrays of the operator share.
        is_index: Whether it contains int32 indices of input values, and not float32 or float64 numbers.
        is_divisor: Whether values are divided by it, so that it must not contain 0.
        is_fraction: Whether it contains numbers from 0 to 1.
        is_sorted: Whether its numbers never decrease along the first axis.
    """

    name: str
    stem: str = ""
    shape: tuple[str, ...] = ("in",)
    is_index: bool = False
    is_divisor: bool = False
    is_fraction: bool = False
    is_sorted: bool = False

    def key(self, prefix: str, index: int) -> str:
        """Return its name in a bundle, for the node at an index of a list of nodes with this prefix."""
        return f"{prefix}{self.stem or self.name}{index}"


def is_never_bounded(node: Any, bounded_inputs: list[bool]) -> bool:
    """Return False: the results may be any number."""
    return False


def is_always_bounded(node: Any, bounded_inputs: list[bool]) -> bool:
    """Return True: the results are in [0, 1]."""
    return True


def has_bounded_inputs(node: Any, bounded_inputs: list[bool]) -> bool:
    """Return whether all inputs of the node are in [0, 1]."""
    return all(bounded_inputs)


@dataclass(frozen=True, kw_only=True)
class OperatorDefinition:
    """An operator of a network.

    Its function takes a folded node and the list of its input arrays (values, rows), which it must not overwrite, and
    returns the result before the activation.

    Attributes:
        name: The ``op`` of its nodes.
        formula: What it computes, for the documentation.
        arrays: Its arrays; if two have a dimension in common, the first one determines its size.
        options: Its other values by name: a number, or the default of a boolean.
        arity: How many input nodes it has: ``one``; ``same_width``, two or more of one width; ``concatenated``, two or
            more, whose values are joined.
        has_activation: Whether it may have an activation.
        is_trained: Whether its arrays are counted as trained numbers.
        exact: Whether the last digit of its inputs matters, so that it and the nodes before it compute in float64.
        casts: Whether it computes in the dtype of its own arrays and casts its inputs to that.
        more_arrays: The number of temporary arrays as large as its result, or its first input if that is larger.
        is_bounded: Returns whether a node's results are in [0, 1]. It takes the node's arrays and options by name, and
            for each input node whether its results are in [0, 1].
    """

    name: str
    formula: str
    arrays: tuple[Array, ...] = ()
    options: Mapping[str, Number | bool] = field(default_factory=dict)
    arity: str = "one"
    has_activation: bool = False
    is_trained: bool = False
    exact: bool = False
    casts: bool = False
    more_arrays: int = 0
    is_bounded: Callable[[Any, list[bool]], bool] = is_never_bounded

    def __call__(self, predict: Function) -> Function:
        """Register the function."""
        OPERATORS[self.name] = self
        OPERATOR_FUNCTIONS[self.name] = predict
        return predict

    @property
    def defaults(self) -> dict[str, Any]:
        """The values of the options that may be omitted."""
        defaults = {
            name: option if isinstance(option, bool) else option.default for name, option in self.options.items()
        }
        return {name: default for name, default in defaults.items() if default is not None}

    def compute_width(self, input_widths: list[Any], sizes: Mapping[str, Any]) -> Any:
        """Return how many values per row a node has; None if unknown.

        Args:
            input_widths: The same of its input nodes, None if unknown.
            sizes: The sizes of the dimensions of its arrays by name.
        """
        if any("out" in array.shape for array in self.arrays):
            return sizes.get("out")
        if self.arity == "concatenated":
            return None if None in input_widths else sum(input_widths)
        return next((width for width in input_widths if width is not None), None)


ACTIVATIONS: dict[str, ActivationDefinition] = {}
OPERATORS: dict[str, OperatorDefinition] = {}

# The functions by name. They take (values, constants) and (node, input arrays).
ACTIVATION_FUNCTIONS: dict[str, Function] = {}
OPERATOR_FUNCTIONS: dict[str, Function] = {}
