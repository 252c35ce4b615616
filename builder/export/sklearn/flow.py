"""What a pipeline does to its inputs, as an expression.

A bundle imputes once, at the front, and then centres and scales: one number each for an input. As long as a pipeline
does no more, its steps cost nothing, and the expression is one ``InputColumns``. Where it goes on, or gives one input
to several branches that treat it differently, ``front.finish`` writes nodes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from builder import errors
from builder.bundle import model as bundle_model
from builder.inside.operators import OPERATORS
from builder.inside.predict.definitions import OPERATOR_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.export.conversion import Array

Places = NDArray[np.intp]


Step = bundle_model.Node
"""``scale``, ``affine``, ``clip`` or ``quantiles``: what is done to each column by itself."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InputColumns:
    """Some of the inputs, each imputed, then each by itself put through steps.

    Attributes:
        sources: Which input each column is: (w,).
        imputation: What a missing one becomes, in the input's own units; NaN where it stays missing: float64 (w,).
        steps: What is done to each by itself, in order.
    """

    sources: Places
    imputation: Array
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Apply:
    """A node (its own ``sources`` left empty) on what an expression gives."""

    node: bundle_model.Node
    before: Expression
    width: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Join:
    """What several expressions give, side by side."""

    parts: tuple[Expression, ...]


Expression = InputColumns | Apply | Join


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What is known of the inputs of the whole bundle.

    Attributes:
        names: Of the inputs, in their order.
        imputation: What the caller gave for a missing one: float64 (n,).
        filled: Those that take that, because no step of the pipeline imputes them before one that needs them: bool
            (n,), filled in on the way.
    """

    names: tuple[str, ...]
    imputation: Array
    filled: NDArray[np.bool_]


def width(expression: Expression) -> int:
    """Return how many values a row the expression gives."""
    if isinstance(expression, InputColumns):
        return len(expression.sources)
    if isinstance(expression, Apply):
        return expression.width
    return sum(width(part) for part in expression.parts)


def missing(expression: Expression) -> NDArray[np.bool_]:
    """Tell which values may be missing: (w,)."""
    if isinstance(expression, InputColumns):
        return np.isnan(expression.imputation)
    if isinstance(expression, Join):
        return np.concatenate([missing(part) for part in expression.parts])
    if expression.node.op == "dense":
        return np.zeros(expression.width, dtype=bool)
    before = missing(expression.before)
    return before[expression.node["places"]] if expression.node.op == "select" else before


def mixed(expression: Expression) -> NDArray[np.bool_]:
    """Tell which values are sums over several inputs, so that nobody can give them to their last digit: (w,)."""
    if isinstance(expression, InputColumns):
        return np.zeros(len(expression.sources), dtype=bool)
    if isinstance(expression, Join):
        return np.concatenate([mixed(part) for part in expression.parts])
    if expression.node.op == "dense":
        return np.ones(expression.width, dtype=bool)
    before = mixed(expression.before)
    return before[expression.node["places"]] if expression.node.op == "select" else before


def require(expression: Expression, inputs: Inputs) -> None:
    """Note that what comes next takes no missing values: the caller's imputation holds where the pipeline has none."""
    if isinstance(expression, InputColumns):
        inputs.filled[expression.sources[np.isnan(expression.imputation)]] = True
    elif isinstance(expression, Join):
        for part in expression.parts:
            require(part, inputs)
    else:
        require(expression.before, inputs)


def each(expression: Expression, step: Step) -> Expression:
    """Return the expression with a step on each of its values by itself."""
    if isinstance(expression, InputColumns):
        return dataclasses.replace(expression, steps=(*expression.steps, step))
    if isinstance(expression, Join):
        parts = zip(expression.parts, _cuts(expression), strict=True)
        return Join(parts=tuple(each(part, _of_columns(step, places)) for part, places in parts))
    return Apply(node=step, before=expression, width=expression.width)


def pick(expression: Expression, places: Places) -> Expression:
    """Return some of an expression's values, in an order of their own."""
    if isinstance(expression, InputColumns):
        steps = tuple(_of_columns(step, places) for step in expression.steps)
        return InputColumns(sources=expression.sources[places], imputation=expression.imputation[places], steps=steps)
    if np.array_equal(places, np.arange(width(expression))):
        return expression
    if isinstance(expression, Join):
        owner = np.repeat(np.arange(len(expression.parts)), [width(part) for part in expression.parts])[places]
        if (np.diff(owner) >= 0).all():  # each part's values stay together, in the order of the parts
            cuts = _cuts(expression)
            kept = [(part, places[owner == at] - cuts[at][0]) for at, part in enumerate(expression.parts)]
            return join([pick(part, wanted) for part, wanted in kept if len(wanted)])
    if isinstance(expression, Apply) and expression.node.op == "select":
        return pick(expression.before, expression.node["places"][places].astype(np.intp))
    return Apply(
        node=bundle_model.make_node("select", places=places.astype(np.int32)), before=expression, width=len(places)
    )


def join(parts: Sequence[Expression]) -> Expression:
    """Return expressions side by side."""
    return parts[0] if len(parts) == 1 else Join(parts=tuple(parts))


def impute(expression: Expression, values: Array, where: str) -> Expression:
    """Return the expression with these values where one was missing.

    Args:
        expression: What comes before the imputer.
        values: float64 (w,), in the units of the expression's values.
        where: The imputer and its place, for the error.

    Raises:
        errors.ExportError: A value that may be missing has been through a step that cannot be undone.
    """
    if isinstance(expression, Join):
        parts = zip(expression.parts, _cuts(expression), strict=True)
        return Join(parts=tuple(impute(part, values[places], where) for part, places in parts))
    wanted = missing(expression)
    if not wanted.any():
        return expression
    if isinstance(expression, Apply):
        raise errors.ExportError(f"{where} comes after steps that cannot be undone; put the imputer first")
    wished = values
    for step in reversed(expression.steps):
        if step.op == "scale":
            values = values * step["scale"] + step["centre"]
        elif step.op == "affine":
            values = (values - step["shift"]) / step["gain"]
        else:
            name = "a QuantileTransformer" if step.op == "quantiles" else "a clipped scaler"
            raise errors.ExportError(f"{where} comes after {name}, which cannot be undone; put the imputer first")
    values = _to_the_last_digit(values, wished, expression.steps)
    return dataclasses.replace(expression, imputation=np.where(wanted, values, expression.imputation))


def moved(values: Array, steps: Sequence[Step]) -> Array:
    """Return what steps make of values of each column: (w,), or (rows, w)."""
    made: Array = np.atleast_2d(values).T
    for step in steps:
        made = OPERATOR_FUNCTIONS[step.op]({**step.arrays, **step.options}, [made])
    return made.T.reshape(values.shape)


def _to_the_last_digit(values: Array, wished: Array, steps: Sequence[Step]) -> Array:
    """Return the values, or their neighbours, that affine steps make what is wished for."""
    found = values
    for toward in (-np.inf, np.inf):
        near = values
        for _ in range(4):
            found = np.where(moved(found, steps) == wished, found, near)
            near = np.nextafter(near, toward)
    return np.where(moved(found, steps) == wished, found, values)


def _cuts(expression: Join) -> list[Places]:
    """Return the places of each part's values among those of all."""
    ends = np.cumsum([width(part) for part in expression.parts])
    return [np.arange(end - width(part), end) for part, end in zip(expression.parts, ends, strict=True)]


def _of_columns(step: Step, places: Places) -> Step:
    """Return a step for some of its columns."""
    arrays = {
        one.name: np.ascontiguousarray(step[one.name][..., places])
        for one in OPERATORS[step.op].arrays
        if one.shape[-1] == "in"
    }
    return step.with_arrays(**arrays)
