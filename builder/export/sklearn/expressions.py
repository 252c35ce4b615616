"""Represent what a pipeline does to its inputs as an expression.

A bundle imputes each input, then centres and scales it: one number each. As long as a pipeline does no more, the
expression is a single ``InputColumns`` and needs no nodes. If it does more, or passes one input to several branches
that treat it differently, ``compiler.compile_expression`` writes nodes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from builder import errors
from builder.bundle import model as bundle_model
from builder.inside.operators import OPERATORS
from builder.inside.predict.definitions import OPERATOR_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builder.export.conversion import Array

Indices = NDArray[np.intp]


Step = bundle_model.Node
"""A ``scale``, ``affine``, ``clip`` or ``quantiles`` node, which is applied to each column separately."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InputColumns:
    """Some of the inputs, each imputed, then passed through steps.

    Attributes:
        sources: The index of each column's input: (w,).
        imputation: The value that replaces a missing one, in the input's own units; NaN if it stays missing:
            float64 (w,).
        steps: The steps, in order.
    """

    sources: Indices
    imputation: Array
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Apply:
    """A node, with empty ``sources``, applied to an expression."""

    node: bundle_model.Node
    before: Expression
    width: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Join:
    """Several expressions side by side."""

    parts: tuple[Expression, ...]


Expression = InputColumns | Apply | Join


@dataclass(frozen=True, kw_only=True, eq=False)
class BundleInputs:
    """The inputs of the whole bundle, and which of a model's outputs it predicts.

    Attributes:
        names: Names of the inputs, in order.
        imputation: The caller's replacement for a missing input: float64 (n,).
        caller_imputed: Which inputs use ``imputation``, because a step accepts no NaN and the pipeline does not impute
            before it: bool (n,). ``require_no_missing`` sets it.
        output: Which output of a regression with several targets, or the mean of all; None if it has one.
        class_values: The number that each class counts as, by its label in ``classes_``; None: the label itself.
    """

    names: tuple[str, ...]
    imputation: Array
    caller_imputed: NDArray[np.bool_]
    output: int | Literal["mean"] | None = None
    class_values: Mapping[Any, float] | None = None


def get_width(expression: Expression) -> int:
    """Return the number of values of an expression for each row."""
    if isinstance(expression, InputColumns):
        return len(expression.sources)
    if isinstance(expression, Apply):
        return expression.width
    return sum(get_width(part) for part in expression.parts)


def has_raw_inputs(expression: Expression) -> bool:
    """Return whether some values are inputs as they are, in the dtype of the data; all steps return float64."""
    if isinstance(expression, InputColumns):
        return not expression.steps and bool(np.isnan(expression.imputation).any())
    return isinstance(expression, Join) and any(map(has_raw_inputs, expression.parts))


def find_missing(expression: Expression) -> NDArray[np.bool_]:
    """Return which values may be missing: (w,)."""
    return _propagate(expression, lambda columns: np.isnan(columns.imputation), after_dense=False)


def find_inexact(expression: Expression) -> NDArray[np.bool_]:
    """Return which values may differ from scikit-learn's in the last digit: (w,).

    Sums over several inputs depend on the order of addition, functions such as log on numpy's version.
    """
    return _propagate(expression, lambda columns: np.zeros(len(columns.sources), dtype=bool), after_dense=True)


def _propagate(
    expression: Expression, find_in_inputs: Callable[[InputColumns], NDArray[np.bool_]], *, after_dense: bool
) -> NDArray[np.bool_]:
    """Return a property of each value (w,): known for inputs and after a dense node, and kept by every other node."""
    if isinstance(expression, InputColumns):
        return find_in_inputs(expression)
    if isinstance(expression, Join):
        return np.concatenate([_propagate(part, find_in_inputs, after_dense=after_dense) for part in expression.parts])
    node = expression.node
    if node.op == "dense" or (after_dense and node.activation.name != "identity"):
        return np.full(expression.width, after_dense)
    before = _propagate(expression.before, find_in_inputs, after_dense=after_dense)
    if node.op == "product":
        return np.full(expression.width, before.any())
    return before[node["places"]] if node.op == "select" else before


def require_no_missing(expression: Expression, inputs: BundleInputs) -> None:
    """Record that the next step accepts no NaN: inputs not imputed by the pipeline get the caller's imputation."""
    if isinstance(expression, InputColumns):
        inputs.caller_imputed[expression.sources[np.isnan(expression.imputation)]] = True
    elif isinstance(expression, Join):
        for part in expression.parts:
            require_no_missing(part, inputs)
    else:
        require_no_missing(expression.before, inputs)


def append_step(expression: Expression, step: Step) -> Expression:
    """Return the expression with a step applied to each of its values."""
    if isinstance(expression, InputColumns):
        return dataclasses.replace(expression, steps=(*expression.steps, step))
    if isinstance(expression, Join):
        parts = zip(expression.parts, _list_part_indices(expression), strict=True)
        return Join(parts=tuple(append_step(part, _select_columns(step, indices)) for part, indices in parts))
    return Apply(node=step, before=expression, width=expression.width)


def select(expression: Expression, indices: Indices) -> Expression:
    """Return some of an expression's values, in the order of the indices."""
    if isinstance(expression, InputColumns):
        steps = tuple(_select_columns(step, indices) for step in expression.steps)
        return InputColumns(sources=expression.sources[indices], imputation=expression.imputation[indices], steps=steps)
    if np.array_equal(indices, np.arange(get_width(expression))):
        return expression
    if isinstance(expression, Join):
        owners = np.repeat(np.arange(len(expression.parts)), [get_width(part) for part in expression.parts])[indices]
        if (np.diff(owners) >= 0).all():  # the values of each part stay together, and the parts keep their order
            starts = [part_indices[0] for part_indices in _list_part_indices(expression)]
            selected = [indices[owners == number] - start for number, start in enumerate(starts)]
            pairs = zip(expression.parts, selected, strict=True)
            return join([select(part, part_indices) for part, part_indices in pairs if len(part_indices)])
    if isinstance(expression, Apply) and expression.node.op == "select":
        return select(expression.before, expression.node["places"][indices].astype(np.intp))
    if isinstance(expression, Apply) and expression.node.op == "product":
        factors = np.ascontiguousarray(expression.node["factors"][:, indices])
        node = expression.node.with_arrays(factors=factors)
        return Apply(node=node, before=expression.before, width=len(indices))
    node = bundle_model.make_node("select", places=indices.astype(np.int32))
    return Apply(node=node, before=expression, width=len(indices))


def join(parts: Sequence[Expression]) -> Expression:
    """Return expressions side by side."""
    return parts[0] if len(parts) == 1 else Join(parts=tuple(parts))


def impute(expression: Expression, values: Array, imputer: str) -> Expression:
    """Return the expression with values in place of missing ones.

    A bundle imputes before all steps, so a value that replaces one after some steps is converted back to the units of
    the input.

    Args:
        expression: What comes before the imputer.
        values: float64 (w,), in the units of the expression's values.
        imputer: The imputer and its path, for the error.

    Raises:
        errors.ExportError: A value that may be missing has passed a step that cannot be inverted.
    """
    if isinstance(expression, Join):
        parts = zip(expression.parts, _list_part_indices(expression), strict=True)
        return Join(parts=tuple(impute(part, values[indices], imputer) for part, indices in parts))
    is_missing = find_missing(expression)
    if not is_missing.any():
        return expression
    if isinstance(expression, Apply):
        raise errors.ExportError(f"{imputer} comes after steps that cannot be inverted; put the imputer first")
    expected = values
    for step in reversed(expression.steps):
        if step.op == "scale":
            values = values * step["scale"] + step["centre"]
        elif step.op == "affine":
            values = (values - step["shift"]) / step["gain"]
        else:
            name = "a QuantileTransformer" if step.op == "quantiles" else "a clipped scaler"
            raise errors.ExportError(f"{imputer} comes after {name}, which cannot be inverted; put the imputer first")
    values = _correct_rounding(values, expected, expression.steps)
    return dataclasses.replace(expression, imputation=np.where(is_missing, values, expression.imputation))


def apply_steps(values: Array, steps: Sequence[Step]) -> Array:
    """Apply steps to values of each column: (w,), or (rows, w)."""
    columns: Array = np.atleast_2d(values).T
    for step in steps:
        columns = OPERATOR_FUNCTIONS[step.op]({**step.arrays, **step.options}, [columns])
    return columns.T.reshape(values.shape)


def _correct_rounding(values: Array, expected: Array, steps: Sequence[Step]) -> Array:
    """Return the values, or float64 numbers next to them, that the steps turn into exactly what is expected.

    Trees and quantiles after the steps may tell the last digit.
    """
    corrected = values
    for direction in (-np.inf, np.inf):
        neighbour = values
        for _ in range(4):
            corrected = np.where(apply_steps(corrected, steps) == expected, corrected, neighbour)
            neighbour = np.nextafter(neighbour, direction)
    return np.where(apply_steps(corrected, steps) == expected, corrected, values)


def _list_part_indices(expression: Join) -> list[Indices]:
    """Return the indices of each part's values among those of the whole."""
    ends = np.cumsum([get_width(part) for part in expression.parts])
    return [np.arange(end - get_width(part), end) for part, end in zip(expression.parts, ends, strict=True)]


def _select_columns(step: Step, indices: Indices) -> Step:
    """Return a step for some of its columns."""
    arrays = {
        array.name: np.ascontiguousarray(step[array.name][..., indices])
        for array in OPERATORS[step.op].arrays
        if array.shape[-1] == "in"
    }
    return step.with_arrays(**arrays)
