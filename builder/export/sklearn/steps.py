"""scikit-learn's transformers, as expressions over the inputs; and the way back from one, for a transformed target.

Formulas are those of scikit-learn 1.9's ``preprocessing/_data.py``, ``impute/_base.py`` and ``decomposition/_base.py``;
they have been the same since 1.2.
"""

from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import compose, decomposition, feature_selection, impute, pipeline, preprocessing

from builder import errors
from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.export import overrides
from builder.export.sklearn import flow
from builder.inside.operators import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from builder.export.conversion import Array

WAY_OUT = "export a function that predicts with the model, as docs/export/custom.md shows"


def place(model: Any, at: str) -> str:
    """Return an object and where it is, for a message: ``PolynomialFeatures at step 'poly'``."""
    name = model if isinstance(model, str) else type(model).__name__
    return f"{name} at {at}" if at else name


def below(at: str, what: str, name: object) -> str:
    """Return the place of a part: ``step 'prepare', branch 'numbers'``."""
    return f"{at}, {what} {str(name)!r}" if at else f"{what} {str(name)!r}"


def through(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:
    """Return what a fitted transformer makes of an expression.

    Args:
        step: The transformer, ``"passthrough"`` or None.
        expression: What comes before it.
        inputs: Those of the bundle; those that take the caller's imputation from here on are noted in it.
        at: The place of the step, for errors.

    Raises:
        errors.ExportError: No bundle can hold it.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return expression
    wanted = getattr(step, "n_features_in_", None)
    if wanted is not None and wanted != flow.width(expression):
        raise errors.ExportError(f"{place(step, at)} takes {wanted:,} columns, and gets {flow.width(expression):,}")
    for kinds, known in _STEPS:
        if isinstance(step, kinds):
            own = overrides.find_override(step, ("transform",))
            if own:
                raise errors.ExportError(f"{own} of {place(step, at)} is not scikit-learn's own; {WAY_OUT}")
            return known(step, expression, inputs, at)
    raise errors.ExportError(f"{place(step, at)} cannot be expressed in a bundle; {WAY_OUT}")


def way_back(transformer: Any, at: str) -> tuple[bundle_model.Node, ...]:
    """Return the inverse of the transformer of a target, as nodes over one value.

    Raises:
        errors.ExportError: No bundle can hold it.
    """
    if isinstance(transformer, pipeline.Pipeline):
        parts = [way_back(part, below(at, "step", name)) for name, part in reversed(transformer.steps)]
        return tuple(node for part in parts for node in part)
    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return ()
    if isinstance(transformer, preprocessing.FunctionTransformer):
        return _undo_function(transformer, at)
    if isinstance(transformer, preprocessing.MinMaxScaler):
        gain = 1 / _floats(transformer.scale_)
        return (bundle_model.make_node("affine", gain=gain, shift=-_floats(transformer.min_) * gain),)
    if isinstance(transformer, preprocessing.QuantileTransformer):
        return (_quantiles(transformer, inverse=True),)
    if isinstance(transformer, _SCALERS):
        step = _scale_of(transformer)
        return (bundle_model.make_node("affine", gain=step["scale"], shift=step["centre"]),)
    raise errors.ExportError(f"the target's {place(transformer, at)} cannot be expressed in a bundle; {WAY_OUT}")


def takes_missing(use: Callable[[Array], object], width: int) -> bool:
    """Tell whether a fitted object takes a row of missing values, by giving it one: versions differ in which do."""
    try:
        quietly(use, np.full((1, width), np.nan))
    except ValueError:
        return False
    return True


def quietly(use: Callable[[Any], Any], rows: Any) -> Any:
    """Return what a fitted object makes of rows, without its words on their having no names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
        warnings.filterwarnings("ignore", message="Skipping features without any observed", category=UserWarning)
        return use(rows)


def _floats(values: Any) -> Array:
    found: Array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    return found


def _impute(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:  # noqa: ARG001
    where = place(step, at)
    if step.add_indicator:
        raise errors.ExportError(f"{where} has add_indicator=True, which a bundle cannot hold; train without it")
    if not (isinstance(step.missing_values, float) and np.isnan(step.missing_values)):
        raise errors.ExportError(
            f"{where} replaces {step.missing_values!r}, and a missing input of a bundle is NaN; "
            f"train with that, or {WAY_OUT}"
        )
    count = flow.width(expression)
    try:
        kept = ~np.isnan(np.asarray(step.statistics_, dtype=np.float64))
        values = np.asarray(quietly(step.transform, np.full((1, count), np.nan)), dtype=np.float64)[0]
    except (TypeError, ValueError):
        raise errors.ExportError(f"{where} imputes what is no number; {WAY_OUT}") from None
    if len(values) == count:  # keep_empty_features
        kept[:] = True
    return flow.impute(flow.pick(expression, np.flatnonzero(kept)), values, where)


def _scale(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:  # noqa: ARG001
    return flow.each(expression, _scale_of(step))


def _scale_of(step: Any) -> bundle_model.Node:
    """Return what a scaler does: ``(x - centre) / scale``."""
    centre = scale = None
    if isinstance(step, preprocessing.StandardScaler):
        centre, scale = (step.mean_ if step.with_mean else None), (step.scale_ if step.with_std else None)
    elif isinstance(step, preprocessing.RobustScaler):
        centre, scale = (step.center_ if step.with_centering else None), (step.scale_ if step.with_scaling else None)
    else:
        scale = step.scale_
    return bundle_model.make_node(
        "scale",
        centre=np.zeros(step.n_features_in_) if centre is None else _floats(centre),
        scale=np.ones(step.n_features_in_) if scale is None else _floats(scale),
    )


def _range(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:  # noqa: ARG001
    moved = flow.each(expression, bundle_model.make_node("affine", gain=_floats(step.scale_), shift=_floats(step.min_)))
    if not step.clip:
        return moved
    low, high = (np.full(step.n_features_in_, float(bound)) for bound in step.feature_range)
    return flow.each(moved, bundle_model.make_node("clip", low=low, high=high))


def _place_among_quantiles(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:  # noqa: ARG001
    made = _quantiles(step, inverse=False)
    steps = np.diff(made["quantiles"], axis=0)
    alike = (steps <= _ALIKE * np.ptp(made["quantiles"], axis=0)).any(axis=0)
    if (alike & flow.mixed(expression)).any():
        raise errors.ExportError(
            f"{place(step, at)} comes after a PCA, and some values that it was fitted on repeat, so that their last "
            f"digit would decide; put it before the PCA, or {WAY_OUT}"
        )
    return flow.each(expression, made)


def _quantiles(step: Any, *, inverse: bool) -> bundle_model.Node:
    return bundle_model.make_node(
        "quantiles",
        quantiles=np.ascontiguousarray(step.quantiles_, dtype=np.float64),
        references=_floats(step.references_),
        normal=step.output_distribution == "normal",
        inverse=inverse,
    )


def _project(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:  # noqa: ARG001
    flow.require(expression, inputs)
    weights = _floats(step.components_).T
    if step.whiten:
        spread = np.sqrt(step.explained_variance_)
        weights = weights / np.maximum(spread, np.finfo(spread.dtype).eps).astype(np.float64)  # never in place
    bias = -(_floats(step.mean_) @ weights)
    layer = bundle_model.make_node("dense", weights=np.ascontiguousarray(weights), bias=bias)
    return flow.Apply(node=layer, before=expression, width=len(bias))


def _select(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:  # noqa: ARG001
    if flow.missing(expression).any() and not takes_missing(step.transform, step.n_features_in_):
        flow.require(expression, inputs)
    return flow.pick(expression, step.get_support(indices=True).astype(np.intp))


def _function(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:  # noqa: ARG001
    if step.func is not None:
        name = getattr(step.func, "__name__", type(step.func).__name__)
        raise errors.ExportError(f"{place(step, at)} calls {name}, which cannot be expressed in a bundle; {WAY_OUT}")
    return expression


def _pipeline(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:
    for name, part in step.steps:
        expression = through(part, expression, inputs, below(at, "step", name))
    return expression


def _column_transformer(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:
    # Fitted, by the branch's name: names, masks, slices and functions of columns are all places there.
    places = step._transformer_to_input_indices  # noqa: SLF001 - there since 1.0; transformers_ has them as they were said
    _check_unweighted(step, at)
    branches = ((name, part, np.asarray(places[name], dtype=np.intp)) for name, part, _ in step.transformers_)
    return _joined(step, branches, expression, inputs, at)


def _union(step: Any, expression: flow.Expression, inputs: flow.Inputs, at: str) -> flow.Expression:
    every = np.arange(flow.width(expression))
    _check_unweighted(step, at)
    return _joined(step, ((name, part, every) for name, part in step.transformer_list), expression, inputs, at)


def _check_unweighted(step: Any, at: str) -> None:
    weights = step.transformer_weights or {}
    if any(weight != 1 for weight in weights.values()):
        raise errors.ExportError(f"{place(step, at)} has transformer_weights, which a bundle cannot hold; {WAY_OUT}")


def _joined(
    step: Any, branches: Iterable[tuple[str, Any, Any]], expression: flow.Expression, inputs: flow.Inputs, at: str
) -> flow.Expression:
    parts = []
    for name, part, places in branches:
        if len(places) and not (isinstance(part, str) and part == "drop"):
            branch = below(at, "branch", name)
            parts.append(through(part, flow.pick(expression, places), inputs, branch))
    parts = [part for part in parts if flow.width(part)]
    if not parts:
        raise errors.ExportError(f"{place(step, at)} drops every column")
    return flow.join(parts)


def _undo_function(transformer: Any, at: str) -> tuple[bundle_model.Node, ...]:
    inverse = transformer.inverse_func
    if inverse is None:
        return ()
    name = _UFUNCS.get(inverse) if isinstance(inverse, np.ufunc) else None
    if name is None:
        said = getattr(inverse, "__name__", type(inverse).__name__)
        known = ", ".join(f"numpy.{ufunc.__name__}" for ufunc in _UFUNCS)
        where = f" at {at}" if at else ""
        raise errors.ExportError(
            f"the target's inverse_func {said}{where} cannot be expressed in a bundle; "
            f"one of {known} itself can; otherwise {WAY_OUT}"
        )
    one = np.ones(1)
    return (
        bundle_model.make_node("affine", gain=one, shift=np.zeros(1), activation=activations.Activation(name=name)),
    )


_ALIKE = 1e-9
"""Quantiles nearer than this part of their range are one value that repeats."""

_UFUNCS: Mapping[np.ufunc, str] = MappingProxyType(
    {getattr(np, name): name for name, one in ACTIVATIONS.items() if one.for_targets}
)
"""The functions that a target may be brought back by, and the activations that do the same."""

_SCALERS = (preprocessing.StandardScaler, preprocessing.RobustScaler, preprocessing.MaxAbsScaler)

_STEPS: tuple[tuple[Any, Callable[[Any, flow.Expression, flow.Inputs, str], flow.Expression]], ...] = (
    (pipeline.Pipeline, _pipeline),
    (compose.ColumnTransformer, _column_transformer),
    (pipeline.FeatureUnion, _union),
    (impute.SimpleImputer, _impute),
    (_SCALERS, _scale),
    (preprocessing.MinMaxScaler, _range),
    (preprocessing.QuantileTransformer, _place_among_quantiles),
    (decomposition.PCA, _project),
    (preprocessing.FunctionTransformer, _function),
    (feature_selection.SelectorMixin, _select),
)
