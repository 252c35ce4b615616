"""An expression over the inputs as a bundle has it: imputation, centre and scale of each input, then nodes.

Nodes are written where the pipeline goes on after imputing and scaling, or gives one input to several branches that
treat it differently.
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
from builder.export.sklearn import flow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.export.conversion import Array


_NEUTRAL: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {"scale": {"centre": 0.0, "scale": 1.0}, "affine": {"gain": 1.0, "shift": 0.0}}
)
"""What does nothing, of the steps that columns side by side may have together, in their order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """The front of a bundle, and the nodes after it.

    Attributes:
        imputation: float64 (n,); NaN where a missing input stays missing.
        centre: float64 (n,).
        scale: float64 (n,).
        nodes: Often none; else the last one's outputs are the values.
        sources: Without nodes, which input each value is: (w,).
    """

    imputation: Array
    centre: Array
    scale: Array
    nodes: tuple[bundle_model.Node, ...] = ()
    sources: flow.Places = field(default_factory=lambda: np.empty(0, dtype=np.intp))


def finish(expression: flow.Expression, inputs: flow.Inputs, *, exact: bool) -> Finished:
    """Return the expression as the front of a bundle and nodes.

    Args:
        expression: What comes before the model.
        inputs: Those of the bundle.
        exact: Whether each step is kept as it is, in float64 and in its order, so that trees choose the same leaves.
            Without it, what is affine is put together.

    Raises:
        errors.ExportError: Two branches impute one input differently.
    """
    simple = _simplify(expression, {}, exact=exact)
    leaves = _leaves(simple)
    imputation = _imputation(leaves, inputs)
    centre, scale = _front(leaves, len(inputs.names))
    if isinstance(simple, flow.InputColumns) and not _left_over(simple, centre, scale):
        return Finished(imputation=imputation, centre=centre, scale=scale, sources=simple.sources)
    writer = _Writer(centre=centre, scale=scale, exact=exact)
    writer.write(simple)
    return Finished(imputation=imputation, centre=centre, scale=scale, nodes=tuple(writer.nodes))


def _simplify(expression: flow.Expression, done: dict[int, flow.Expression], *, exact: bool) -> flow.Expression:
    """Return the same with affine steps put together where that is asked for, and alike columns joined.

    ``done`` has what was simplified before, by identity: what several branches take stays one object.
    """
    if id(expression) not in done:
        done[id(expression)] = _simplified(expression, done, exact=exact)
    return done[id(expression)]


def _simplified(expression: flow.Expression, done: dict[int, flow.Expression], *, exact: bool) -> flow.Expression:
    if isinstance(expression, flow.InputColumns):
        return expression if exact else _composed(expression)
    if isinstance(expression, flow.Apply):
        return dataclasses.replace(expression, before=_simplify(expression.before, done, exact=exact))
    flat: list[flow.Expression] = []
    for part in (_simplify(part, done, exact=exact) for part in expression.parts):
        flat += part.parts if isinstance(part, flow.Join) else [part]
    joined: list[flow.Expression] = []
    for part in flat:
        merged = _merged(joined[-1], part) if joined else None
        if merged is None:
            joined.append(part)
        else:
            joined[-1] = merged
    return flow.join(joined)


def _composed(columns: flow.InputColumns) -> flow.InputColumns:
    """Return the columns with their first affine steps as one, or taken into what they are followed by."""
    if any(step.op == "quantiles" for step in columns.steps):
        return _in_given_units(columns)
    units = _Units(centre=np.zeros(len(columns.sources)), scale=np.ones(len(columns.sources)))
    place = 0
    while place < len(columns.steps) and columns.steps[place].op in {"scale", "affine"}:
        units.move(columns.steps[place])
        place += 1
    if not place:
        return columns
    steps = (bundle_model.make_node("scale", centre=units.centre, scale=units.scale), *columns.steps[place:])
    return dataclasses.replace(columns, steps=steps)


def _in_given_units(columns: flow.InputColumns) -> flow.InputColumns:
    """Return the columns with no scaling before their first quantiles.

    Where several quantiles are alike, a value's last digit decides whether it is one of them. Scaled in another way
    than scikit-learn does it it would not be; an input as it is given is (``inside.fold.network`` keeps it in float64).
    """
    units = _Units(centre=np.zeros(len(columns.sources)), scale=np.ones(len(columns.sources)))
    imputation = columns.imputation
    known = [_Known(given=imputation, place=0, value=imputation)]
    steps: list[flow.Step] = []
    for place, step in enumerate(columns.steps):
        if step.op == "clip":
            low, high = units.back(step["low"]), units.back(step["high"])
            for given, value in ((low, step["low"]), (high, step["high"])):
                known.insert(0, _Known(given=given, place=place, value=value.astype(np.float64)))
            steps.append(step.with_arrays(low=low, high=high))
        elif step.op == "quantiles":
            quantiles = _given_quantiles(step["quantiles"].astype(np.float64), units, known, columns.steps[:place])
            steps += [step.with_arrays(quantiles=quantiles), *columns.steps[place + 1 :]]
            break
        else:
            units.move(step)
    return dataclasses.replace(columns, steps=tuple(steps))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Known:
    """Values that inputs may have.

    Attributes:
        given: As the bundle has them, in the inputs' own units.
        place: The step before which scikit-learn has them.
        value: As it has them there.
    """

    given: Array
    place: int
    value: Array


@dataclass(kw_only=True, eq=False)
class _Units:
    """What columns have come to: ``(x - centre) / scale`` of the inputs."""

    centre: Array
    scale: Array

    def move(self, step: flow.Step) -> None:
        """Take in another affine step."""
        if step.op == "scale":
            self.centre, self.scale = self.centre + self.scale * step["centre"], self.scale * step["scale"]
        elif step.op == "affine":
            self.centre, self.scale = self.centre - self.scale * step["shift"] / step["gain"], self.scale / step["gain"]

    def back(self, values: bundle_model.Floats) -> Array:
        """Return values in the inputs' own units."""
        return values * self.scale + self.centre


def _given_quantiles(quantiles: Array, units: _Units, known: Sequence[_Known], before: Sequence[flow.Step]) -> Array:
    """Return quantiles in the inputs' own units, each below, at or above what inputs are as scikit-learn has it.

    Args:
        quantiles: float64 (q, w), in the units of scikit-learn's quantiles.
        units: What the columns have come to.
        known: Values that inputs may have beside whole and short numbers; where two are near, the last counts.
        before: The steps before the quantiles.
    """
    back = units.back(quantiles)
    near = 1e-12 * (np.abs(back) + np.abs(units.centre) + units.scale)
    found = back
    short = back.astype(np.float32).astype(np.float64)
    numbers = [_Known(given=one, place=0, value=one) for one in (short, np.round(back, 9))]
    for one in (*numbers, *known):
        difference = quantiles - flow.moved(one.value, before[one.place :])
        beside = np.nextafter(one.given, np.where(difference > 0, np.inf, -np.inf))
        same = np.where(difference == 0, one.given, beside)
        found = np.where(np.abs(one.given - back) <= near, same, found)
    return np.maximum.accumulate(found, axis=0)


def _merged(first: flow.Expression, second: flow.Expression) -> flow.InputColumns | None:
    """Return two runs of columns as one, where both have at most a ``scale`` and then an ``affine``."""
    if not (isinstance(first, flow.InputColumns) and isinstance(second, flow.InputColumns)):
        return None
    both = [{step.op: step for step in one.steps} for one in (first, second)]
    ops = [op for op in _NEUTRAL if any(op in steps for steps in both)]
    for one, steps in zip((first, second), both, strict=True):
        if [step.op for step in one.steps] != [op for op in ops if op in steps]:
            return None
    parts = {op: [both[0].get(op) or _neutral(op, first), both[1].get(op) or _neutral(op, second)] for op in ops}
    return flow.InputColumns(
        sources=np.concatenate([first.sources, second.sources]),
        imputation=np.concatenate([first.imputation, second.imputation]),
        steps=tuple(
            bundle_model.Node(
                op=op, arrays={name: np.concatenate([part[name] for part in parts[op]]) for name in _NEUTRAL[op]}
            )
            for op in ops
        ),
    )


def _neutral(op: str, columns: flow.InputColumns) -> flow.Step:
    """Return a step that does nothing to the columns."""
    count = len(columns.sources)
    return bundle_model.Node(op=op, arrays={name: np.full(count, number) for name, number in _NEUTRAL[op].items()})


def _leaves(expression: flow.Expression) -> list[flow.InputColumns]:
    if isinstance(expression, flow.InputColumns):
        return [expression]
    if isinstance(expression, flow.Apply):
        return _leaves(expression.before)
    return [leaf for part in expression.parts for leaf in _leaves(part)]


def _imputation(leaves: Sequence[flow.InputColumns], inputs: flow.Inputs) -> Array:
    """Return what each input's missing values become; NaN for inputs that nothing takes, or where they stay."""
    found = np.full(len(inputs.names), np.nan)
    used = np.zeros(len(found), dtype=bool)
    for leaf in leaves:
        for source, value in zip(leaf.sources, leaf.imputation, strict=True):
            if used[source] and not inputs.filled[source] and not _same(value, found[source]):
                values = " and ".join(
                    "left missing" if np.isnan(one) else f"{one:.6g}" for one in (found[source], value)
                )
                raise errors.ExportError(
                    f"the pipeline imputes {inputs.names[source]} differently in two branches ({values}); "
                    "a bundle imputes an input once: put one imputer before the ColumnTransformer"
                )
            if not used[source]:
                found[source] = value
            used[source] = True
    return np.where(inputs.filled, inputs.imputation, found)


def _same(first: float, second: float) -> bool:
    """Tell whether two imputations are one, that may have come back out of two scalers."""
    return math.isclose(first, second, rel_tol=1e-12) or (math.isnan(first) and math.isnan(second))


def _front(leaves: Sequence[flow.InputColumns], count: int) -> tuple[Array, Array]:
    """Return the centre and scale of each input that all columns of it begin with; 0 and 1 where they disagree."""
    centre, scale = np.zeros(count), np.ones(count)
    used, agreed = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
    for leaf in leaves:
        first, _ = _scale_first(leaf)
        for source, its_centre, its_scale in zip(leaf.sources, first["centre"], first["scale"], strict=True):
            if used[source]:
                agreed[source] &= centre[source] == its_centre and scale[source] == its_scale
            centre[source], scale[source], used[source] = its_centre, its_scale, True
    # What lies beyond what the front of a bundle takes becomes a node.
    low, high = scaling.SCALES
    fits = (np.abs(centre) <= scaling.MOST_INPUT) & (scale >= low) & (scale <= high)
    keep = agreed & fits
    return np.where(keep, centre, 0.0), np.where(keep, scale, 1.0)


def _left_over(leaf: flow.InputColumns, centre: Array, scale: Array) -> list[flow.Step]:
    """Return the steps of some columns that the front has not done."""
    first, rest = _scale_first(leaf)
    done = (centre[leaf.sources] == first["centre"]) & (scale[leaf.sources] == first["scale"])
    if not done.all():
        part = bundle_model.make_node(
            "scale", centre=np.where(done, 0.0, first["centre"]), scale=np.where(done, 1.0, first["scale"])
        )
        return [part, *rest]
    return list(rest)


def _scale_first(leaf: flow.InputColumns) -> tuple[flow.Step, tuple[flow.Step, ...]]:
    """Return the ``Scale`` that some columns begin with, one that does nothing where there is none, and the rest."""
    if leaf.steps and leaf.steps[0].op == "scale":
        return leaf.steps[0], leaf.steps[1:]
    return _neutral("scale", leaf), leaf.steps


@dataclass(kw_only=True, eq=False)
class _Writer:
    """Nodes as they are written, one after the other; -1 stands for the inputs behind the front."""

    centre: Array
    scale: Array
    exact: bool
    nodes: list[bundle_model.Node] = field(default_factory=list)
    written: dict[int, int] = field(default_factory=dict)

    def write(self, expression: flow.Expression) -> int:
        """Write an expression, unless it is written, and return the place of its last node."""
        if id(expression) not in self.written:
            self.written[id(expression)] = self._write(expression)
        return self.written[id(expression)]

    def _write(self, expression: flow.Expression) -> int:
        if isinstance(expression, flow.Join):
            places = tuple(self.write(part) for part in expression.parts)
            self.nodes.append(bundle_model.make_node("concat", sources=places))
            return len(self.nodes) - 1
        if isinstance(expression, flow.Apply):
            return self._add(self._as_node(expression.node), self.write(expression.before))
        place = -1
        if not np.array_equal(expression.sources, np.arange(len(self.centre))):
            place = self._add(bundle_model.make_node("select", places=expression.sources.astype(np.int32)), place)
        for step in _left_over(expression, self.centre, self.scale):
            place = self._add(self._as_node(step), place)
        return place

    def _add(self, node: bundle_model.Node, source: int) -> int:
        near = source == len(self.nodes) - 1
        self.nodes.append(node if near else dataclasses.replace(node, sources=(source,)))
        return len(self.nodes) - 1

    def _as_node(self, step: bundle_model.Node) -> bundle_model.Node:
        if step.op == "scale" and not self.exact:
            return bundle_model.make_node("affine", gain=1 / step["scale"], shift=-step["centre"] / step["scale"])
        return step
