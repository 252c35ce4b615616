"""What defines an operator of a network and an activation: each is the decorator of the function that computes it.

``builder.bundle`` checks nodes by these definitions, ``inside.fold`` folds them, ``builder.export`` translates to them
and ``docs/bundle.md`` lists them. Of what is here, a pickle gets the two tables of functions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number from ``least`` to ``most`` that an activation or an operator takes.

    Attributes:
        default: What it is if it is not given; None if it must be given.
        aten: Its name as an argument of the ATen operator, if that differs.
    """

    minimum: float
    maximum: float
    default: float | None = None
    aten: str = ""


@dataclass(frozen=True, kw_only=True)
class ActivationDefinition:
    """An activation, which has the name of its function.

    The function takes an array (values, rows), which it may write to, and the constants by name.

    Attributes:
        same_as: The same in the library that is best known for it; for the documentation.
        constants: Its numbers by name.
        aten: The ATen operator that is this activation, the constants being its arguments; empty if none is.
        in_place: Whether it needs no other array as large as its result.
        bounds: The lowest and the highest value that it gives, each a number or the name of a constant.
        for_targets: Whether it brings a transformed target back: between layers its values leave any range.
    """

    same_as: str
    constants: Mapping[str, Number] = field(default_factory=dict)
    aten: str = ""
    in_place: bool = False
    bounds: tuple[float | str, float | str] | None = None
    for_targets: bool = False

    def __call__(self, predict: Function) -> Function:
        """Enter the function."""
        ACTIVATIONS[predict.__name__] = self
        ACTIVATION_FUNCTIONS[predict.__name__] = predict
        return predict


@dataclass(frozen=True, kw_only=True)
class Array:
    """An array of an operator.

    Attributes:
        name: Its name in a node.
        stem: Its name in a bundle, before the index of the node; as in a node if empty.
        shape: What its dimensions count: the values that the node takes (``in``) or gives (``out``), or a word for what
            it has in common with another array of the operator.
        is_index: Whether it holds int32 indices of values that the node takes, and not float32 or float64.
        is_divisor: Whether values are divided by it, so that none of it is 0.
        is_share: Whether it holds shares, from 0 to 1.
        rises: Whether no number is less than the one before it along the first axis.
    """

    name: str
    stem: str = ""
    shape: tuple[str, ...] = ("in",)
    is_index: bool = False
    is_divisor: bool = False
    is_fraction: bool = False
    is_sorted: bool = False

    def key(self, prefix: str, index: int) -> str:
        """Return its name in a bundle for the node at an index, in a list whose arrays have a prefix."""
        return f"{prefix}{self.stem or self.name}{index}"


def never(node: Any, given: list[bool]) -> bool:
    """Return False: the values may lie anywhere."""
    return False


def always(node: Any, given: list[bool]) -> bool:
    """Return True: the values lie in [0, 1]."""
    return True


def as_given(node: Any, given: list[bool]) -> bool:
    """Tell whether all that the node takes lies in [0, 1]."""
    return all(given)


@dataclass(frozen=True, kw_only=True)
class OperatorDefinition:
    """An operator of a network.

    Its function takes a folded node and the list of arrays (values, rows) that the node takes, writes to none of them,
    and returns the result before the activation.

    Attributes:
        name: The ``op`` of its nodes.
        formula: What it computes; for the documentation.
        arrays: Its arrays; of two that count the same thing, the first decides.
        options: Its other values by name: a number; or true or false, whose default is given here.
        takes: How many nodes it takes: ``one``; ``alike``, two or more of one width; ``joined``, two or more, of which
            it gives all values.
        activated: Whether it may have an activation.
        trained: Whether its arrays are counted as trained numbers.
        exact: Whether the last digit of what it takes decides: it computes in float64, and so do the nodes before it.
        casts: Whether it computes in the type of its own arrays, and casts what it takes to that.
        more_arrays: How many other arrays as large as its result it needs while it computes.
        bounded: The function that tells whether a node's values lie in [0, 1], from its arrays and options by name and
            from whether the values of each node that it takes do.
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
    is_bounded: Callable[[Any, list[bool]], bool] = never

    def __call__(self, predict: Function) -> Function:
        """Enter the function."""
        OPERATORS[self.name] = self
        OPERATOR_FUNCTIONS[self.name] = predict
        return predict

    @property
    def defaults(self) -> dict[str, Any]:
        """The options that need not be given."""
        defaults = {name: one if isinstance(one, bool) else one.default for name, one in self.options.items()}
        return {name: default for name, default in defaults.items() if default is not None}

    def compute_width(self, taken: list[Any], counts: Mapping[str, Any]) -> Any:
        """Return how many values a row a node gives, from those of the nodes it takes and what its arrays count.

        What is not known is None.
        """
        if any("out" in one.shape for one in self.arrays):
            return counts.get("out")
        if self.arity == "concatenated":
            return None if None in taken else sum(taken)
        return next((width for width in taken if width is not None), None)


ACTIVATIONS: dict[str, ActivationDefinition] = {}
OPERATORS: dict[str, OperatorDefinition] = {}

# What predicts, by name: from (values, constants), and from (node, arrays that it takes).
ACTIVATION_FUNCTIONS: dict[str, Function] = {}
OPERATOR_FUNCTIONS: dict[str, Function] = {}
