"""What a pipeline does to its inputs, as an expression; and that expression as a bundle has it.

A bundle imputes once, at the front, and then centres and scales: one number each for an input. As long as a pipeline
does no more, its steps cost nothing, and the expression is one ``Columns``. Where it goes on, or gives one input to
several branches that treat it differently, ``finish`` writes nodes.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from builder import errors
from builder.bundle import activations
from builder.bundle import model as bundle_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.export.translated import Array

Places = NDArray[np.intp]
NodeType = TypeVar("NodeType", bound=bundle_model.Node)

IDENTITY = activations.Activation(name="identity")
MOST_CENTRE = 1e6
SCALES = (1e-9, 1e9)
"""What the front of a bundle takes; what lies beyond it becomes a node."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """``(x - centre) / scale`` of each column, in this order: (w,) each."""

    centre: Array
    scale: Array


Step = Scale | bundle_model.Affine | bundle_model.Clip | bundle_model.Quantiles
"""What is done to each column by itself."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
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

    node: bundle_model.Layer | bundle_model.Select | Step
    before: Expression
    width: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Join:
    """What several expressions give, side by side."""

    parts: tuple[Expression, ...]


Expression = Columns | Apply | Join


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """The front of a bundle, and the nodes after it.

    Attributes:
        imputation: float64 (n,); NaN where a missing input stays missing.
        centre: float64 (n,).
        scale: float64 (n,).
        sources: Without nodes, which input each value is: (w,).
        nodes: Often none; else the last one's outputs are the values.
        width: How many values there are.
    """

    imputation: Array
    centre: Array
    scale: Array
    sources: Places
    nodes: tuple[bundle_model.Node, ...]
    width: int


def width(expression: Expression) -> int:
    """Return how many values a row the expression gives."""
    if isinstance(expression, Columns):
        return len(expression.sources)
    if isinstance(expression, Apply):
        return expression.width
    return sum(width(part) for part in expression.parts)


def missing(expression: Expression) -> NDArray[np.bool_]:
    """Tell which values may be missing: (w,)."""
    if isinstance(expression, Columns):
        return np.isnan(expression.imputation)
    if isinstance(expression, Join):
        return np.concatenate([missing(part) for part in expression.parts])
    if isinstance(expression.node, bundle_model.Layer):
        return np.zeros(expression.width, dtype=bool)
    before = missing(expression.before)
    return before[expression.node.places] if isinstance(expression.node, bundle_model.Select) else before


def require(expression: Expression, inputs: Inputs) -> None:
    """Note that what comes next takes no missing values: the caller's imputation holds where the pipeline has none."""
    if isinstance(expression, Columns):
        inputs.filled[expression.sources[np.isnan(expression.imputation)]] = True
    elif isinstance(expression, Join):
        for part in expression.parts:
            require(part, inputs)
    else:
        require(expression.before, inputs)


def each(expression: Expression, step: Step) -> Expression:
    """Return the expression with a step on each of its values by itself."""
    if isinstance(expression, Columns):
        return dataclasses.replace(expression, steps=(*expression.steps, step))
    if isinstance(expression, Join):
        parts = zip(expression.parts, _cuts(expression), strict=True)
        return Join(parts=tuple(each(part, _of_columns(step, places)) for part, places in parts))
    return Apply(node=step, before=expression, width=expression.width)


def pick(expression: Expression, places: Places) -> Expression:
    """Return some of an expression's values, in an order of their own."""
    if isinstance(expression, Columns):
        steps = tuple(_of_columns(step, places) for step in expression.steps)
        return Columns(sources=expression.sources[places], imputation=expression.imputation[places], steps=steps)
    if np.array_equal(places, np.arange(width(expression))):
        return expression
    if isinstance(expression, Join):
        owner = np.repeat(np.arange(len(expression.parts)), [width(part) for part in expression.parts])[places]
        if (np.diff(owner) >= 0).all():  # each part's values stay together, in the order of the parts
            cuts = _cuts(expression)
            kept = [(part, places[owner == at] - cuts[at][0]) for at, part in enumerate(expression.parts)]
            return join([pick(part, wanted) for part, wanted in kept if len(wanted)])
    if isinstance(expression, Apply) and isinstance(expression.node, bundle_model.Select):
        return pick(expression.before, expression.node.places[places].astype(np.intp))
    return Apply(node=bundle_model.Select(places=places.astype(np.int32)), before=expression, width=len(places))


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
    for step in reversed(expression.steps):
        if isinstance(step, Scale):
            values = values * step.scale + step.centre
        elif isinstance(step, bundle_model.Affine):
            values = (values - step.shift) / step.gain
        else:
            name = "a QuantileTransformer" if isinstance(step, bundle_model.Quantiles) else "a clipped scaler"
            raise errors.ExportError(f"{where} comes after {name}, which cannot be undone; put the imputer first")
    return dataclasses.replace(expression, imputation=np.where(wanted, values, expression.imputation))


def finish(expression: Expression, inputs: Inputs, *, exact: bool) -> Finished:
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
    if isinstance(simple, Columns) and not _left_over(simple, centre, scale):
        return Finished(
            imputation=imputation, centre=centre, scale=scale, sources=simple.sources, nodes=(), width=width(simple)
        )
    writer = _Writer(centre=centre, scale=scale)
    writer.write(simple)
    return Finished(
        imputation=imputation,
        centre=centre,
        scale=scale,
        sources=np.arange(0),
        nodes=tuple(writer.nodes),
        width=width(simple),
    )


def _cuts(expression: Join) -> list[Places]:
    """Return the places of each part's values among those of all."""
    ends = np.cumsum([width(part) for part in expression.parts])
    return [np.arange(end - width(part), end) for part, end in zip(expression.parts, ends, strict=True)]


def _of_columns(step: Step, places: Places) -> Step:
    """Return a step for some of its columns."""
    if isinstance(step, Scale):
        return Scale(centre=step.centre[places], scale=step.scale[places])
    if isinstance(step, bundle_model.Affine):
        return dataclasses.replace(step, gain=step.gain[places], shift=step.shift[places])
    if isinstance(step, bundle_model.Clip):
        return dataclasses.replace(step, low=step.low[places], high=step.high[places])
    return dataclasses.replace(step, quantiles=np.ascontiguousarray(step.quantiles[:, places]))


def _simplify(expression: Expression, done: dict[int, Expression], *, exact: bool) -> Expression:
    """Return the same with affine steps put together where that is asked for, and alike columns joined.

    ``done`` has what was simplified before, by identity: what several branches take stays one object.
    """
    if id(expression) not in done:
        done[id(expression)] = _simplified(expression, done, exact=exact)
    return done[id(expression)]


def _simplified(expression: Expression, done: dict[int, Expression], *, exact: bool) -> Expression:
    if isinstance(expression, Columns):
        return expression if exact else _composed(expression)
    if isinstance(expression, Apply):
        return dataclasses.replace(expression, before=_simplify(expression.before, done, exact=exact))
    flat: list[Expression] = []
    for part in (_simplify(part, done, exact=exact) for part in expression.parts):
        flat += part.parts if isinstance(part, Join) else [part]
    joined: list[Expression] = []
    for part in flat:
        merged = _merged(joined[-1], part) if joined else None
        if merged is None:
            joined.append(part)
        else:
            joined[-1] = merged
    return join(joined)


def _composed(columns: Columns) -> Columns:
    """Return the columns with their first affine steps as one."""
    count = len(columns.sources)
    centre, scale = np.zeros(count), np.ones(count)
    place = 0
    for place, step in enumerate((*columns.steps, None)):  # noqa: B007 - used after the loop
        if isinstance(step, Scale):
            centre, scale = centre + scale * step.centre, scale * step.scale
        elif isinstance(step, bundle_model.Affine):
            centre, scale = centre - scale * step.shift / step.gain, scale / step.gain
        else:
            break
    if not place:
        return columns
    return dataclasses.replace(columns, steps=(Scale(centre=centre, scale=scale), *columns.steps[place:]))


def _merged(first: Expression, second: Expression) -> Columns | None:
    """Return two runs of columns as one, where both have at most a ``Scale`` and then an ``Affine``."""
    if not (isinstance(first, Columns) and isinstance(second, Columns)):
        return None
    kinds = [_form(one.steps) for one in (first, second)]
    if kinds[0] is None or kinds[1] is None:
        return None
    steps: list[Step] = []
    if kinds[0][0] or kinds[1][0]:
        parts = [step or _no_scale(one) for step, one in ((kinds[0][0], first), (kinds[1][0], second))]
        steps.append(
            Scale(
                centre=np.concatenate([part.centre for part in parts]),
                scale=np.concatenate([part.scale for part in parts]),
            )
        )
    if kinds[0][1] or kinds[1][1]:
        moved = [step or _no_affine(one) for step, one in ((kinds[0][1], first), (kinds[1][1], second))]
        steps.append(
            bundle_model.Affine(
                gain=np.concatenate([part.gain for part in moved]),
                shift=np.concatenate([part.shift for part in moved]),
            )
        )
    return Columns(
        sources=np.concatenate([first.sources, second.sources]),
        imputation=np.concatenate([first.imputation, second.imputation]),
        steps=tuple(steps),
    )


def _form(steps: tuple[Step, ...]) -> tuple[Scale | None, bundle_model.Affine | None] | None:
    """Return the ``Scale`` and the ``Affine`` that the steps are, either of which may be absent; None for others."""
    scale = steps[0] if steps and isinstance(steps[0], Scale) else None
    rest = steps[1:] if scale else steps
    if not rest:
        return scale, None
    if len(rest) == 1 and isinstance(rest[0], bundle_model.Affine):
        return scale, rest[0]
    return None


def _no_scale(columns: Columns) -> Scale:
    return Scale(centre=np.zeros(len(columns.sources)), scale=np.ones(len(columns.sources)))


def _no_affine(columns: Columns) -> bundle_model.Affine:
    return bundle_model.Affine(gain=np.ones(len(columns.sources)), shift=np.zeros(len(columns.sources)))


def _leaves(expression: Expression) -> list[Columns]:
    if isinstance(expression, Columns):
        return [expression]
    if isinstance(expression, Apply):
        return _leaves(expression.before)
    return [leaf for part in expression.parts for leaf in _leaves(part)]


def _imputation(leaves: Sequence[Columns], inputs: Inputs) -> Array:
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


def _front(leaves: Sequence[Columns], count: int) -> tuple[Array, Array]:
    """Return the centre and scale of each input that all columns of it begin with; 0 and 1 where they disagree."""
    centre, scale = np.zeros(count), np.ones(count)
    used, agreed = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
    for leaf in leaves:
        first = leaf.steps[0] if leaf.steps and isinstance(leaf.steps[0], Scale) else _no_scale(leaf)
        for source, its_centre, its_scale in zip(leaf.sources, first.centre, first.scale, strict=True):
            if used[source]:
                agreed[source] &= centre[source] == its_centre and scale[source] == its_scale
            centre[source], scale[source], used[source] = its_centre, its_scale, True
    fits = (np.abs(centre) <= MOST_CENTRE) & (scale >= SCALES[0]) & (scale <= SCALES[1])
    keep = agreed & fits
    return np.where(keep, centre, 0.0), np.where(keep, scale, 1.0)


def _left_over(leaf: Columns, centre: Array, scale: Array) -> list[Step]:
    """Return the steps of some columns that the front has not done."""
    steps = list(leaf.steps)
    first = steps.pop(0) if steps and isinstance(steps[0], Scale) else _no_scale(leaf)
    done = (centre[leaf.sources] == first.centre) & (scale[leaf.sources] == first.scale)
    if not done.all():
        part = Scale(centre=np.where(done, 0.0, first.centre), scale=np.where(done, 1.0, first.scale))
        steps.insert(0, part)
    return steps


@dataclass(kw_only=True, eq=False)
class _Writer:
    """Nodes as they are written, one after the other; -1 stands for the inputs behind the front."""

    centre: Array
    scale: Array
    nodes: list[bundle_model.Node] = field(default_factory=list)
    written: dict[int, int] = field(default_factory=dict)

    def write(self, expression: Expression) -> int:
        """Write an expression, unless it is written, and return the place of its last node."""
        if id(expression) not in self.written:
            self.written[id(expression)] = self._write(expression)
        return self.written[id(expression)]

    def _write(self, expression: Expression) -> int:
        if isinstance(expression, Join):
            places = tuple(self.write(part) for part in expression.parts)
            self.nodes.append(bundle_model.Concat(sources=places))
            return len(self.nodes) - 1
        if isinstance(expression, Apply):
            return self._add(_as_node(expression.node), self.write(expression.before))
        place = -1
        if not np.array_equal(expression.sources, np.arange(len(self.centre))):
            place = self._add(bundle_model.Select(places=expression.sources.astype(np.int32)), place)
        for step in _left_over(expression, self.centre, self.scale):
            place = self._add(_as_node(step), place)
        return place

    def _add(self, node: bundle_model.Node, source: int) -> int:
        near = source == len(self.nodes) - 1
        self.nodes.append(node if near else cast("bundle_model.Node", dataclasses.replace(node, sources=(source,))))
        return len(self.nodes) - 1


def _as_node(step: bundle_model.Node | Scale) -> bundle_model.Node:
    if isinstance(step, Scale):
        return bundle_model.Affine(gain=1 / step.scale, shift=-step.centre / step.scale)
    return step
