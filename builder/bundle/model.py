"""The contents of a bundle as frozen values: the kinds of model, the golden rows, the facts about the training.

``n`` is the number of inputs: the features, then the benchmark columns. Arrays of ``Floats`` may be float32 or float64,
also mixed in one model; they keep their dtype, are C-contiguous and in native byte order, and are never written to.

A network is a list of nodes. Each takes the result of the node before it, or of the nodes whose indices ``sources``
lists (-1: the network's inputs). The result of the last node is the network's.
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
PredictionType = Literal["RawFormulaVal", "Exponent", "Probability", "RMSEWithUncertainty"]
Fact = str | bool | int | float | tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One node of a network: an operator, then an activation. ``make_node`` is the short way to create one.

    ``node[name]`` is the array or the option of that name.

    Attributes:
        op: One of the operators in ``builder.inside.predict.nodes``: ``dense`` is ``x @ weights + bias``.
        arrays: Arrays by name: float32 or float64, indices int32.
        options: Other values by name; missing ones are set to their defaults.
        activation: Applied to each value; only some operators have one.
        sources: Indices of the nodes whose results it takes; empty: the node before.

    Raises:
        TypeError: The operator is unknown, does not have these arrays and options, or has no activation.
    """

    op: str
    arrays: Mapping[str, Numbers] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    activation: activations.Activation = activations.IDENTITY
    sources: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        definition = OPERATORS.get(self.op)
        if definition is None:
            raise TypeError(f"unknown operator {self.op!r}; expected one of {', '.join(OPERATORS)}")
        options = {**definition.defaults, **self.options}
        expected = [*(array.name for array in definition.arrays), *definition.options]
        if sorted([*self.arrays, *options]) != sorted(expected):
            raise TypeError(
                f"{self.op} takes {', '.join(expected) or 'nothing'}, not {', '.join([*self.arrays, *options])}"
            )
        if self.activation.name != "identity" and not definition.has_activation:
            raise TypeError(f"{self.op} has no activation; add a node with {self.activation.name} after it")
        object.__setattr__(self, "options", options)

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name] if name in self.arrays else self.options[name]

    def with_arrays(self, **arrays: Numbers) -> Node:
        """Return a copy of the node with these arrays replaced."""
        return replace(self, arrays={**self.arrays, **arrays})


def make_node(
    op: str,
    *,
    activation: activations.Activation = activations.IDENTITY,
    sources: tuple[int, ...] = (),
    **values: Any,
) -> Node:
    """Create a node from its arrays and options: ``make_node("dense", weights=..., bias=...)``.

    Raises:
        TypeError: See ``Node``.
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
    """A network of nodes over n inputs that are imputed and scaled first.

    NaN is replaced by the imputation; then ``(x - centre) / scale``; then the nodes. Its kind in ``bundle.json`` is
    ``mlp``: the first version had dense layers only.

    Attributes:
        layers: One or more nodes; the first takes n inputs, the last returns one value a row.
        imputation: float32 or float64 (n,), in the units of the inputs, from -1e6 to 1e6.
        centre: float32 or float64 (n,), in the units of the inputs, from -1e6 to 1e6.
        scale: float32 or float64 (n,), from 1e-9 to 1e9.
    """

    layers: tuple[Node, ...]
    imputation: Floats
    centre: Floats
    scale: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """A linear model: ``activation(((x - centre) / scale) @ weights + bias)``, NaN replaced by the imputation first.

    Attributes:
        weights: float32 or float64 (n,).
        bias: float32 or float64 (1,).
        activation: ``identity``; ``sigmoid`` for a logistic regression of the classes 0 and 1.
        imputation: See ``Network``.
        centre: See ``Network``.
        scale: See ``Network``.
    """

    weights: Floats
    bias: Floats
    activation: activations.Activation = activations.IDENTITY
    imputation: Floats
    centre: Floats
    scale: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Preprocessing:
    """The preprocessing of the inputs of trees and boosters: imputation, scaling, nodes.

    Computed in float64, in this order and without folding scale into weights: trees compare the results to thresholds,
    so that a difference in the last bit can take another branch.

    Attributes:
        imputation: float32 or float64 (n,); NaN for inputs that stay missing.
        centre: float32 or float64 (n,).
        scale: float32 or float64 (n,).
        layers: Nodes over ``(x - centre) / scale``; may be empty.
    """

    imputation: Floats
    centre: Floats
    scale: Floats
    layers: tuple[Node, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Trees:
    """A forest as flat arrays: for each output, the sum or the mean of its trees' leaf values, added in tree order.

    A row goes left at a node if ``x[feature] <= threshold``, or if x is NaN and ``missing_left`` is 1. m is the number
    of nodes of all trees, t of trees, k of outputs.

    Attributes:
        feature: int32 (m,): index of the input that a node compares; -1 at a leaf.
        threshold: float64 (m,).
        left: int32 (m,): index of a node's left child.
        right: int32 (m,): index of a node's right child.
        missing_left: uint8 (m,): 1 if a missing input goes left, else 0.
        value: float64 (m,): the value of a leaf, the learning rate included.
        roots: int32 (t,): index of each tree's root.
        output: int32 (t,): the output that each tree adds to, from 0 to k - 1.
        base: float64 (k,): start of the sum, or what is added to the mean.
        rounded: Whether inputs are rounded to float32 before they are compared, as scikit-learn does.
        averaged: Whether the sum is divided by the number of trees. The division comes last: leaf values multiplied by
            1 / t first would make sums that should be equal differ in the last bits, and so in their ranks.
        preprocessing: Of the inputs; None: they are compared as they are.
        head: Nodes over the k outputs; the last one returns one value. Empty if k is 1 and nothing follows.
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
    """Inputs that a booster was trained on as pandas categories: each value is replaced by its index in a list.

    Attributes:
        inputs: Indices of the inputs.
        values: The list: distinct numbers. Any other value counts as missing.
    """

    inputs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class LightGbm:
    """A LightGBM booster in the library's native text format.

    Attributes:
        text: ``model.txt.gz``: the text, compressed without a file name and a time. Its features are the inputs in
            their order.
        objective: From the text: ``regression``, ``binary sigmoid:1``; empty for a custom objective.
        outputs: Values a row.
        trees: Number of trees.
        leaves: Number of leaves of all trees.
        averaged: Whether the trees' values are averaged and not summed, as in a random forest.
        categories: Inputs that are replaced by indices, after the preprocessing.
        preprocessing: Of the inputs; None: the booster takes them as they are.
        head: Nodes over the booster's outputs; the last one returns one value.
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


@dataclass(frozen=True, kw_only=True, eq=False)
class XgBoost:
    """An XGBoost booster in the library's UBJSON format.

    Attributes:
        content: ``model.ubj``. Its features are the inputs in their order.
        objective: Such as ``reg:squarederror``, which is also what a booster with a custom objective has.
        outputs: Values a row.
        parameters: Number of trained numbers: nodes of all trees, or weights.
        linear: Whether it is a ``gblinear``.
        missing: A number that counts as missing, besides NaN; None if there is none.
        margins: What the sums of the trees start from, if they differ, which versions before 3.1 cannot read from a
            file. Empty: ``base_score`` in the file is for all sums.
        categories: Inputs that are replaced by indices, after the preprocessing.
        preprocessing: Of the inputs; None: the booster takes them as they are.
        head: Nodes over the booster's outputs; the last one returns one value.
    """

    content: bytes | Path
    objective: str
    outputs: int
    parameters: int
    linear: bool = False
    missing: float | None = None
    margins: tuple[float, ...] = ()
    categories: tuple[Categories, ...] = ()
    preprocessing: Preprocessing | None = None
    head: tuple[Node, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class CatBoost:
    """A CatBoost model in the library's cbm format.

    Attributes:
        content: ``model.cbm``. Its features are the inputs in their order.
        prediction: ``prediction_type`` of CatBoost's ``predict``.
        outputs: Values a row.
        parameters: Number of leaf values.
        categories: Inputs that are replaced by indices, after the preprocessing.
        categorical: Indices of the categorical inputs, whose values are whole numbers.
        preprocessing: Of the inputs; None: the model takes them as they are.
        head: Nodes over the model's outputs; the last one returns one value.
    """

    content: bytes | Path
    prediction: PredictionType
    outputs: int
    parameters: int
    categories: tuple[Categories, ...] = ()
    categorical: tuple[int, ...] = ()
    preprocessing: Preprocessing | None = None
    head: tuple[Node, ...] = ()


Booster = LightGbm | XgBoost | CatBoost
Single = Network | Linear | Trees | Booster
"""The kinds of model that an ensemble can have as members."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One model of an ensemble.

    Attributes:
        model: Any model that predicts by itself.
        features: The bundle's features that it takes, in the order of its inputs.
        benchmarks: The bundle's benchmarks that it takes, in the order of its inputs.
        weight: Factor of its predictions; not zero.
        transform: Applied to its predictions before the sum. ``raw``: none; ``rank``: percent ranks; ``gaussian``:
            ranks through the normal quantile function, then standardised.
        scope: The rows that are ranked together: those of an era, or all.
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
        members: One or more. The pickle loads, runs and frees them one at a time.
    """

    members: tuple[Member, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The bundle's features: those of the members, in the order of their first appearance."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.features))

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The bundle's benchmarks: those of the members, in the order of their first appearance."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.benchmarks))


@dataclass(frozen=True, kw_only=True, eq=False)
class Custom:
    """A custom predict function.

    Attributes:
        files: Contents by name: ``code/model.py``, which defines ``load(bundle) -> predict``; ``code/NAME.py`` for each
            helper module; ``files/...`` for data that ``load`` reads.
        modules: Dotted names of the helper modules, which are pickled by value.
        arrays: Arrays by name; ``load`` gets them as ``bundle.arrays``.
        parameters: Declared number of trained numbers; 0 if unknown.
    """

    files: Mapping[str, bytes | Path]
    modules: tuple[str, ...] = ()
    arrays: Mapping[str, Numbers] = field(default_factory=dict)
    parameters: int = 0


Model = Single | Ensemble | Custom


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldenRows:
    """Input rows, and the training framework's predictions for them.

    Attributes:
        inputs: float32 or float64 (rows, n), at least one row: features, then benchmark columns, in the bundle's order
            and in the units of live data; NaN if missing.
        predictions: float64 (rows,): the framework's own predictions, before post-processing.
    """

    inputs: Floats
    predictions: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A trained model with everything that it takes to predict, and golden rows to check the predictions.

    Attributes:
        features: Distinct names of the feature columns, in the order of the model's inputs.
        benchmarks: Distinct names of the benchmark columns that are inputs after the features; often none.
        model: The trained model.
        golden: Golden rows.
        post: Post-processing steps, in order; often one rank per era.
        trained: Facts about the training: framework, version, seed, scores. Values are strings, numbers, booleans or
            tuples of strings. Paths, users and hosts are refused, since bundles are shared.
    """

    features: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()
    model: Model
    golden: GoldenRows
    post: tuple[postprocessing.Step, ...] = ()
    trained: Mapping[str, Fact] = field(default_factory=dict)
