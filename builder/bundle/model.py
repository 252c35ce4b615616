"""What a bundle holds: frozen values whose arrays are never written to.

``n`` stands for the number of inputs: the features, then the benchmark columns. An array of ``Floats`` may be float32
or float64, each by itself; it is kept as it is, C-contiguous and in the machine's byte order.

A network is a list of nodes. Each takes the result of the node before it, or of those that its ``sources`` name by
their places (-1: the network's inputs), and gives so many values a row; the last one's result is the network's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from builder.bundle import activations
from builder.inside.operators import OPERATORS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.bundle import post as postprocessing

Floats = NDArray[np.float32 | np.float64]
Integers = NDArray[np.int32]
Numbers = NDArray[Any]
"""float32, float64, int32 or uint8."""
Transform = Literal["raw", "rank", "gaussian"]
Fact = str | bool | int | float | tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One node: what its operator computes, and then its activation. ``node`` is the short way to make one.

    Attributes:
        op: The operator, of those that ``builder.inside.predict.nodes`` defines: ``dense`` is ``x @ weights + bias``.
        arrays: Its arrays by name, float32 or float64, but for indices, which are int32; ``node[name]`` is one.
        options: Its other values by name; those that are left out have their defaults; ``node[name]`` is one.
        activation: What is done to each value; only some operators have one.
        sources: The nodes that it takes; empty: the one before.

    Raises:
        TypeError: The operator is unknown, or has other arrays or options, or no activation.
    """

    op: str
    arrays: Mapping[str, Numbers] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    activation: activations.Activation = activations.IDENTITY
    sources: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        definition = OPERATORS.get(self.op)
        if definition is None:
            raise TypeError(f"no operator {self.op!r}; one of {', '.join(OPERATORS)}")
        options = {**definition.defaults, **self.options}
        expected = [*(one.name for one in definition.arrays), *definition.options]
        if sorted([*self.arrays, *options]) != sorted(expected):
            raise TypeError(
                f"{self.op} takes {', '.join(expected) or 'nothing'}, not {', '.join([*self.arrays, *options])}"
            )
        if self.activation.name != "identity" and not definition.has_activation:
            raise TypeError(f"{self.op} has no activation; put {self.activation.name} into a node after it")
        object.__setattr__(self, "options", options)

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name] if name in self.arrays else self.options[name]

    def with_arrays(self, **arrays: Numbers) -> Node:
        """Return the node with other arrays."""
        return replace(self, arrays={**self.arrays, **arrays})


def make_node(
    op: str,
    *,
    activation: activations.Activation = activations.IDENTITY,
    sources: tuple[int, ...] = (),
    **values: Any,
) -> Node:
    """Return a node from its arrays and options: ``node("dense", weights=..., bias=...)``.

    Raises:
        TypeError: As of ``Node``.
    """
    options = OPERATORS[op].options if op in OPERATORS else {}
    return Node(
        op=op,
        arrays={name: value for name, value in values.items() if name not in options},
        options={name: value for name, value in values.items() if name in options},
        activation=activation,
        sources=sources,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A network over n inputs, with what is done to the inputs first.

    An input that is NaN becomes its imputation; then ``(x - centre) / scale``; then the nodes, the last of which has
    one output.

    Attributes:
        layers: One or more nodes; the first takes n inputs.
        imputation: float32 or float64 (n,), in the inputs' own units, within 1e6 of zero.
        centre: float32 or float64 (n,), in the inputs' own units, within 1e6 of zero.
        scale: float32 or float64 (n,), from 1e-9 to 1e9.
    """

    layers: tuple[Node, ...]
    imputation: Floats
    centre: Floats
    scale: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """``activation(((x - centre) / scale) @ weights + bias)``; an input that is NaN becomes its imputation first.

    Attributes:
        weights: float32 or float64 (n,).
        bias: float32 or float64 (1,).
        activation: ``identity``; ``sigmoid`` for a logistic regression of two classes, 0 and 1.
        imputation: As of ``Mlp``.
        centre: As of ``Mlp``.
        scale: As of ``Mlp``.
    """

    weights: Floats
    bias: Floats
    activation: activations.Activation = activations.IDENTITY
    imputation: Floats
    centre: Floats
    scale: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Preprocessing:
    """What is done to the inputs before trees or boosters see them, in float64 and in this order, nothing folded.

    Attributes:
        imputation: float32 or float64 (n,); NaN where a missing input stays missing.
        centre: float32 or float64 (n,).
        scale: float32 or float64 (n,).
        layers: Nodes; none leaves ``(x - centre) / scale``, which for 0 and 1 is x itself.
    """

    imputation: Floats
    centre: Floats
    scale: Floats
    layers: tuple[Node, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Trees:
    """A forest as flat arrays: the leaves' values summed over the trees of each output in their order, or their mean.

    A row goes left at a node where ``x[feature] <= threshold``, or where x is NaN and ``missing_left`` is 1. ``m`` is
    the number of nodes of all trees, t that of trees, k that of outputs.

    Attributes:
        feature: int32 (m,): which input a node looks at; -1 at a leaf.
        threshold: float64 (m,).
        left: int32 (m,): where a node's left child is; that of its right child is ``right``.
        right: int32 (m,).
        missing_left: uint8 (m,).
        value: float64 (m,): what a leaf adds; a learning rate is in it already.
        roots: int32 (t,): where each tree begins.
        output: int32 (t,): which output each tree adds to, from 0 to k - 1.
        base: float64 (k,): what a sum begins from, or what is added to a mean.
        rounded: Whether inputs are rounded to float32 before they are compared, as scikit-learn's own trees do.
        averaged: Whether the mean is taken and not the sum, the division being last: of leaves that are multiplied by
            1 / t first, sums that should be equal end some bits apart, and are ranked apart.
        prepare: What is done to the inputs first.
        finish: Nodes over the k outputs; the last one has one output. Empty when k is 1 and nothing follows.
    """

    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    missing_left: NDArray[np.uint8]
    value: Floats
    roots: Integers
    output: Integers
    base: Floats
    rounded: bool
    averaged: bool = False
    preprocessing: Preprocessing | None = None
    head: tuple[Node, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Categories:
    """Inputs that a booster saw as the places of their values in a list, as it takes pandas categories.

    Attributes:
        inputs: Which of the inputs, by their places.
        values: The list: distinct numbers. An input that is none of them is missing.
    """

    inputs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class LightGbm:
    """A LightGBM booster in the library's native text form.

    Attributes:
        text: The text, gzip'd with no name and no time: ``model.txt.gz``. Its features are the inputs in their order.
        objective: The text's: ``regression``, ``binary sigmoid:1``; empty for one of the user's own.
        outputs: How many values it gives a row.
        trees: How many trees it has.
        leaves: How many leaves they have together.
        averaged: Whether its trees' mean is taken and not their sum, as in a random forest.
        categories: Inputs that become places in a list; after ``prepare``.
        prepare: What is done to the inputs first.
        finish: Nodes over the booster's outputs; the last one has one output.
    """

    text: bytes | Path
    objective: str
    outputs: int
    trees: int
    leaves: int
    averaged: bool = False
    categories: tuple[Categories, ...] = ()
    preprocessing: Preprocessing | None = None
    head: tuple[Node, ...] = ()


Single = Network | Linear | Trees | LightGbm
"""The models that an ensemble may have."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One model of an ensemble.

    Attributes:
        model: Any model that predicts by itself.
        features: Those of the bundle's features that it takes, in its own order.
        benchmarks: Those of the bundle's benchmarks that it takes, in its own order.
        weight: By which its predictions are multiplied; not zero.
        transform: What is done to its predictions before the sum: nothing; percent ranks; or gaussianised and
            standardised (ranks through the normal quantile function, less their mean, by their standard deviation).
        scope: Within what they are ranked or standardised.
    """

    model: Single
    features: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()
    weight: float = 1.0
    transform: Transform = "raw"
    scope: postprocessing.Scope = "era"


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """The weighted sum of its members' predictions, divided by the sum of the weights' magnitudes.

    Attributes:
        members: One or more; loaded, run and freed one at a time.
    """

    members: tuple[Member, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The members' features in the order of their first appearance: those of the bundle."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.features))

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The members' benchmarks in the order of their first appearance: those of the bundle."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.benchmarks))


@dataclass(frozen=True, kw_only=True, eq=False)
class Custom:
    """A function of the user's own.

    Attributes:
        files: By name: ``code/model.py``, which has ``load(bundle) -> predict``; ``code/NAME.py`` for each helper
            module; ``files/...`` for whatever ``load`` reads.
        modules: The helper modules, by dotted name: taken into the pickle by value.
        arrays: What ``load`` finds in ``bundle.arrays``, by name.
        parameters: How many trained numbers it is said to have; 0 where nobody knows.
    """

    files: Mapping[str, bytes | Path]
    modules: tuple[str, ...] = ()
    arrays: Mapping[str, Numbers] = field(default_factory=dict)
    parameters: int = 0


Model = Network | Linear | Trees | LightGbm | Ensemble | Custom


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldenRows:
    """Some rows, and what the framework that trained the model predicts for them.

    Attributes:
        inputs: float32 or float64 (rows, n) with at least one row: features, then benchmark columns, in the bundle's
            order and in their own units; NaN where missing.
        predictions: float64 (rows,): what the framework predicted, before post-processing.
    """

    inputs: Floats
    predictions: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A trained model, all that it takes to predict with it, and rows to prove it by.

    Attributes:
        features: Distinct names of the feature columns, in the order of the model's inputs.
        benchmarks: Distinct names of benchmark columns that are inputs after the features; often none.
        model: The numbers.
        golden: Rows to prove the prediction by.
        post: Steps done to the predictions, in order; often one rank per era.
        trained: Where it came from: framework, version, seed, scores and the like. A value is a string, a number, a
            boolean or a tuple of strings; no path, user or host, since bundles are shared.
    """

    features: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()
    model: Model
    golden: GoldenRows
    post: tuple[postprocessing.Step, ...] = ()
    trained: Mapping[str, Fact] = field(default_factory=dict)
