"""Compile an expression to what a bundle has: imputation, centre and scale of each input, then nodes.

The expression is a tree (``expressions``): its leaves, ``InputColumns``, are inputs with the steps applied to each, and
above them ``Apply`` and ``Join`` compute with several inputs. Of a pipeline that scales two inputs differently,

    ColumnTransformer([("a", StandardScaler(), [0]), ("b", MinMaxScaler(), [1])])

the tree is a ``Join`` of two leaves, and it is compiled in four passes:

1. ``_simplify`` merges steps and adjacent leaves: here to one leaf, with a ``scale`` step for both inputs.
2. ``_merge_imputation`` collects the value that replaces each missing input.
3. ``_merge_scaling`` moves the ``scale`` step that a leaf begins with into the bundle's centre and scale. Here that is
   all: no nodes are left to write.
4. ``_NodeWriter`` writes what remains as nodes: other steps, and inputs that several branches scale differently.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle.kinds import scaling
from builder.export.sklearn import expressions
from builder.export.sklearn.expressions import Apply, Expression, InputColumns, Join, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from builder.export.conversion import Array


_IDENTITY: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {"scale": {"centre": 0.0, "scale": 1.0}, "affine": {"gain": 1.0, "shift": 0.0}}
)
"""Arrays that make a step change nothing, by op: the steps that merged columns may have, in this order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CompiledExpression:
    """The preprocessing of a bundle.

    Attributes:
        imputation: float64 (n,); NaN if a missing input stays missing.
        centre: float64 (n,).
        scale: float64 (n,).
        nodes: The last one's outputs are the expression's values; often there are none.
        sources: Without nodes, the index of each value's input: (w,).
    """

    imputation: Array
    centre: Array
    scale: Array
    nodes: tuple[bundle_model.Node, ...] = ()
    sources: expressions.Indices = field(default_factory=lambda: np.empty(0, dtype=np.intp))


def compile_expression(expression: Expression, inputs: expressions.BundleInputs, *, exact: bool) -> CompiledExpression:
    """Compile an expression.

    Args:
        expression: What comes before the model.
        inputs: The inputs of the bundle.
        exact: Whether to keep each step in float64 and in its order, so that trees choose the same leaves. If not,
            affine steps are merged.

    Raises:
        errors.ExportError: Two branches impute one input differently.
    """
    simplified = _simplify(expression, {}, exact=exact)
    leaves = _list_leaves(simplified)
    imputation = _merge_imputation(leaves, inputs)
    centre, scale = _merge_scaling(leaves, len(inputs.names))
    if isinstance(simplified, InputColumns) and not _find_remaining_steps(simplified, centre, scale):
        return CompiledExpression(imputation=imputation, centre=centre, scale=scale, sources=simplified.sources)
    writer = _NodeWriter(centre=centre, scale=scale, exact=exact)
    writer.write(simplified)
    return CompiledExpression(imputation=imputation, centre=centre, scale=scale, nodes=tuple(writer.nodes))


def _simplify(expression: Expression, cache: dict[int, Expression], *, exact: bool) -> Expression:
    """Merge affine steps, unless ``exact``, and adjacent columns with the same kinds of steps.

    ``cache`` has the simplified expressions by the identity of the original, so that an expression that several
    branches share stays one object, and is written once.
    """
    if id(expression) in cache:
        return cache[id(expression)]
    if isinstance(expression, InputColumns):
        simplified: Expression = expression if exact else _merge_affine_steps(expression)
    elif isinstance(expression, Apply):
        simplified = dataclasses.replace(expression, before=_simplify(expression.before, cache, exact=exact))
    else:
        simplified = _join_parts(_simplify(part, cache, exact=exact) for part in expression.parts)
    cache[id(expression)] = simplified
    return simplified


def _join_parts(parts: Iterable[Expression]) -> Expression:
    """Return simplified parts side by side: without a ``Join`` in a ``Join``, and as few parts as possible."""
    joined: list[Expression] = []
    for part in parts:
        for item in part.parts if isinstance(part, Join) else (part,):
            merged = _merge_columns(joined[-1], item) if joined else None
            joined[-1:] = [merged] if merged else [*joined[-1:], item]
    return expressions.join(joined)


@dataclass(kw_only=True, eq=False)
class _AffineMap:
    """The affine map of the inputs that several steps amount to: ``(x - centre) / scale``."""

    centre: Array
    scale: Array

    def append(self, step: Step) -> None:
        """Compose the map with another step, if that is affine."""
        if step.op == "scale":
            self.centre, self.scale = self.centre + self.scale * step["centre"], self.scale * step["scale"]
        elif step.op == "affine":
            self.centre, self.scale = self.centre - self.scale * step["shift"] / step["gain"], self.scale / step["gain"]

    def invert(self, values: bundle_model.Floats) -> Array:
        """Return mapped values in the units of the inputs."""
        return values * self.scale + self.centre


def _merge_affine_steps(columns: InputColumns) -> InputColumns:
    """Merge the columns' first affine steps to one ``scale``.

    If they come before a ``quantiles`` step, they are removed, and the quantiles are converted instead.
    """
    if any(step.op == "quantiles" for step in columns.steps):
        return _unscale_quantiles(columns)
    affine = _AffineMap(centre=np.zeros(len(columns.sources)), scale=np.ones(len(columns.sources)))
    count = 0
    while count < len(columns.steps) and columns.steps[count].op in {"scale", "affine"}:
        affine.append(columns.steps[count])
        count += 1
    if not count:
        return columns
    scale = bundle_model.make_node("scale", centre=affine.centre, scale=affine.scale)
    return dataclasses.replace(columns, steps=(scale, *columns.steps[count:]))


@dataclass(frozen=True, kw_only=True, eq=False)
class _KnownValues:
    """Values that columns are known to have in many rows: they must equal a quantile exactly if scikit-learn's do.

    Attributes:
        inputs: The values in the units of the inputs, as they are in the bundle: (w,).
        step_index: Index of the scikit-learn step before which ``values`` occur.
        values: The same values in the units before that step: (w,).
    """

    inputs: Array
    step_index: int
    values: Array


def _unscale_quantiles(columns: InputColumns) -> InputColumns:
    """Remove the scaling before the columns' first quantiles, by converting those to the units of the inputs.

    A feature with few values has many equal quantiles. QuantileTransformer maps a value that equals them to the middle
    of their ranks, and a value one digit below to the first of them, far away; so each value must compare with the
    quantiles as it does in scikit-learn. A value that is scaled in another way than by scikit-learn may differ in the
    last digit; an unscaled input does not (``inside.fold.network`` keeps it in float64).
    """
    # See QuantileTransformer._transform_col, which interpolates upwards and downwards and takes the mean:
    # https://github.com/scikit-learn/scikit-learn/blob/1.9.1/sklearn/preprocessing/_data.py
    affine = _AffineMap(centre=np.zeros(len(columns.sources)), scale=np.ones(len(columns.sources)))
    # A value that replaces a missing input, or at which inputs are clipped, occurs in many rows.
    known = [_KnownValues(inputs=columns.imputation, step_index=0, values=columns.imputation)]
    steps: list[Step] = []
    for index, step in enumerate(columns.steps):
        if step.op == "clip":
            low, high = affine.invert(step["low"]), affine.invert(step["high"])
            for inputs, values in ((low, step["low"]), (high, step["high"])):
                known.insert(0, _KnownValues(inputs=inputs, step_index=index, values=values.astype(np.float64)))
            steps.append(step.with_arrays(low=low, high=high))
        elif step.op == "quantiles":
            quantiles = _unscale(step["quantiles"].astype(np.float64), affine, known, columns.steps[:index])
            steps += [step.with_arrays(quantiles=quantiles), *columns.steps[index + 1 :]]
            break  # the steps after it take its values, which have not changed
        else:
            affine.append(step)
    return dataclasses.replace(columns, steps=tuple(steps))


def _unscale(quantiles: Array, affine: _AffineMap, known: Sequence[_KnownValues], steps: Sequence[Step]) -> Array:
    """Return quantiles in the units of the inputs, each below, at or above a value as it is in scikit-learn.

    Args:
        quantiles: float64 (q, w), in scikit-learn's units.
        affine: What the steps amount to.
        known: Values that occur, besides integers and short decimals; if several are near a quantile, the last counts.
        steps: The steps before the quantiles.
    """
    unscaled = affine.invert(quantiles)
    # Inverting rounds, by some 1e-16 of the largest number involved. What is nearer than this is the same number.
    tolerance = 1e-12 * (np.abs(unscaled) + np.abs(affine.centre) + affine.scale)
    corrected = unscaled
    # Most quantiles are values of the training data, which are float32 or decimals with few digits: guess them.
    guesses = (unscaled.astype(np.float32).astype(np.float64), np.round(unscaled, 9))
    for item in (*(_KnownValues(inputs=values, step_index=0, values=values) for values in guesses), *known):
        # Transform the value as scikit-learn does; then put the quantile at it, or right above or below.
        difference = quantiles - expressions.apply_steps(item.values, steps[item.step_index :])
        neighbour = np.nextafter(item.inputs, np.where(difference > 0, np.inf, -np.inf))
        matched = np.where(difference == 0, item.inputs, neighbour)
        corrected = np.where(np.abs(item.inputs - unscaled) <= tolerance, matched, corrected)
    return np.maximum.accumulate(corrected, axis=0)  # a bundle's quantiles must be sorted


def _merge_columns(first: Expression, second: Expression) -> InputColumns | None:
    """Merge adjacent columns if both have at most a ``scale`` and then an ``affine``; else return None.

    Columns that do not have a step which the others have get one that changes nothing.
    """
    if not (isinstance(first, InputColumns) and isinstance(second, InputColumns)):
        return None
    pair = (first, second)
    steps_by_op = [{step.op: step for step in columns.steps} for columns in pair]
    ops = [op for op in _IDENTITY if any(op in steps for steps in steps_by_op)]
    for columns, steps in zip(pair, steps_by_op, strict=True):
        # False for another op, for a repeated one, and for an affine before a scale.
        if [step.op for step in columns.steps] != [op for op in ops if op in steps]:
            return None

    def merge_step(op: str) -> Step:
        parts = [steps.get(op) or _make_identity(op, columns) for columns, steps in zip(pair, steps_by_op, strict=True)]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in _IDENTITY[op]}
        return bundle_model.Node(op=op, arrays=arrays)

    return InputColumns(
        sources=np.concatenate([first.sources, second.sources]),
        imputation=np.concatenate([first.imputation, second.imputation]),
        steps=tuple(map(merge_step, ops)),
    )


def _make_identity(op: str, columns: InputColumns) -> Step:
    """Return a step that does not change the columns."""
    count = len(columns.sources)
    return bundle_model.Node(op=op, arrays={name: np.full(count, number) for name, number in _IDENTITY[op].items()})


def _list_leaves(expression: Expression) -> list[InputColumns]:
    """Return the leaves from left to right; a shared one as often as it occurs."""
    if isinstance(expression, InputColumns):
        return [expression]
    if isinstance(expression, Apply):
        return _list_leaves(expression.before)
    return [leaf for part in expression.parts for leaf in _list_leaves(part)]


def _merge_imputation(leaves: Sequence[InputColumns], inputs: expressions.BundleInputs) -> Array:
    """Return the value that replaces each missing input; NaN for inputs that are not used, or stay missing."""
    imputation = np.full(len(inputs.names), np.nan)
    used = np.zeros(len(imputation), dtype=bool)
    for leaf in leaves:
        for source, value in zip(leaf.sources, leaf.imputation, strict=True):
            earlier = imputation[source]
            # The caller's imputation replaces what is missing before any branch sees it.
            if used[source] and not inputs.caller_imputed[source] and not _is_same_imputation(value, earlier):
                values = " and ".join(
                    "left missing" if np.isnan(number) else f"{number:.6g}" for number in (earlier, value)
                )
                raise errors.ExportError(
                    f"the pipeline imputes {inputs.names[source]} differently in two branches ({values}), but a bundle "
                    "imputes each input once; put one imputer before the ColumnTransformer"
                )
            if not used[source]:
                imputation[source] = value
            used[source] = True
    return np.where(inputs.caller_imputed, inputs.imputation, imputation)


def _is_same_imputation(first: float, second: float) -> bool:
    """Compare two imputations, which inverting two different scalers may have rounded differently."""
    return math.isclose(first, second, rel_tol=1e-12) or (math.isnan(first) and math.isnan(second))


def _merge_scaling(leaves: Sequence[InputColumns], count: int) -> tuple[Array, Array]:
    """Return the centre and scale of each input; 0 and 1, which change nothing, if its branches scale differently."""
    centre, scale = np.zeros(count), np.ones(count)
    used, is_shared = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
    for leaf in leaves:
        first, _ = _split_first_scale(leaf)
        for source, leaf_centre, leaf_scale in zip(leaf.sources, first["centre"], first["scale"], strict=True):
            if used[source]:
                is_shared[source] &= centre[source] == leaf_centre and scale[source] == leaf_scale
            centre[source], scale[source], used[source] = leaf_centre, leaf_scale, True
    # A number beyond the limits of a bundle's centre and scale becomes a node.
    low, high = scaling.SCALES
    is_valid = (np.abs(centre) <= scaling.MOST_INPUT) & (scale >= low) & (scale <= high)
    return np.where(is_shared & is_valid, centre, 0.0), np.where(is_shared & is_valid, scale, 1.0)


def _find_remaining_steps(leaf: InputColumns, centre: Array, scale: Array) -> list[Step]:
    """Return the steps of a leaf that the bundle's centre and scale do not cover."""
    first, others = _split_first_scale(leaf)
    is_covered = (centre[leaf.sources] == first["centre"]) & (scale[leaf.sources] == first["scale"])
    if not is_covered.all():
        remaining = bundle_model.make_node(
            "scale", centre=np.where(is_covered, 0.0, first["centre"]), scale=np.where(is_covered, 1.0, first["scale"])
        )
        return [remaining, *others]
    return list(others)


def _split_first_scale(leaf: InputColumns) -> tuple[Step, tuple[Step, ...]]:
    """Return the ``scale`` step that a leaf begins with, or one that changes nothing, and the other steps."""
    if leaf.steps and leaf.steps[0].op == "scale":
        return leaf.steps[0], leaf.steps[1:]
    return _make_identity("scale", leaf), leaf.steps


@dataclass(kw_only=True, eq=False)
class _NodeWriter:
    """Writes expressions as nodes.

    Attributes:
        nodes: The nodes written so far; each takes the results of earlier ones. Node -1 is the bundle's inputs, after
            imputation, centre and scale.
        indices: The index of the last node of each written expression, by the expression's identity.
    """

    centre: Array
    scale: Array
    exact: bool
    nodes: list[bundle_model.Node] = field(default_factory=list)
    indices: dict[int, int] = field(default_factory=dict)

    def write(self, expression: Expression) -> int:
        """Write an expression, unless it has been written, and return the index of its last node."""
        if id(expression) not in self.indices:
            self.indices[id(expression)] = self._write(expression)
        return self.indices[id(expression)]

    def _write(self, expression: Expression) -> int:
        if isinstance(expression, Join):
            sources = tuple(self.write(part) for part in expression.parts)
            self.nodes.append(bundle_model.make_node("concat", sources=sources))
            return len(self.nodes) - 1
        if isinstance(expression, Apply):
            return self._add(self._to_node(expression.node), self.write(expression.before))
        index = -1
        if not np.array_equal(expression.sources, np.arange(len(self.centre))):
            index = self._add(bundle_model.make_node("select", places=expression.sources.astype(np.int32)), index)
        for step in _find_remaining_steps(expression, self.centre, self.scale):
            index = self._add(self._to_node(step), index)
        return index

    def _add(self, node: bundle_model.Node, source: int) -> int:
        is_previous = source == len(self.nodes) - 1  # the default source of a node
        self.nodes.append(node if is_previous else dataclasses.replace(node, sources=(source,)))
        return len(self.nodes) - 1

    def _to_node(self, step: bundle_model.Node) -> bundle_model.Node:
        # To multiply is faster than to divide, but only a division rounds as the one in scikit-learn does.
        if step.op == "scale" and not self.exact:
            return bundle_model.make_node("affine", gain=1 / step["scale"], shift=-step["centre"] / step["scale"])
        return step
