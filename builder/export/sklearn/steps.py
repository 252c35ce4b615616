"""Convert scikit-learn's transformers to expressions over the inputs, and a target's transformer to its inverse.

The formulas are those of ``preprocessing/_data.py``, ``impute/_base.py`` and ``decomposition/_base.py`` in scikit-learn
1.9; they have been the same since 1.2.
"""

from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import (
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    feature_selection,
    impute,
    neighbors,
    pipeline,
    preprocessing,
    random_projection,
)

from builder import errors
from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.export import overrides
from builder.export.sklearn import expressions
from builder.inside.operators import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from builder.export.conversion import Array
    from builder.export.sklearn.expressions import BundleInputs, Expression

ADVICE = "see docs/export/predict-function.md"


def describe(model: Any, path: str) -> str:
    """Return an object's class and path, for a message: ``PolynomialFeatures at step 'poly'``."""
    name = model if isinstance(model, str) else type(model).__name__
    return f"{name} at {path}" if path else name


def join_path(path: str, kind: str, name: object) -> str:
    """Return the path of a part: ``step 'prepare', branch 'numbers'``."""
    return f"{path}, {kind} {str(name)!r}" if path else f"{kind} {str(name)!r}"


def apply_transformer(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:
    """Return the expression after a fitted transformer.

    Args:
        step: The transformer, ``"passthrough"`` or None.
        expression: What comes before it.
        inputs: The inputs of the bundle; its ``caller_imputed`` is updated.
        path: The path of the step, for errors.

    Raises:
        errors.ExportError: A bundle cannot express the transformer.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return expression
    expected = getattr(step, "n_features_in_", None)
    if expected is not None and expected != expressions.get_width(expression):
        raise errors.ExportError(
            f"{describe(step, path)} expects {expected:,} columns, but gets {expressions.get_width(expression):,}"
        )
    for classes, apply in _TRANSFORMERS:
        if isinstance(step, classes):
            check_methods(step, path, "transform")
            return apply(step, expression, inputs, path)
    raise errors.ExportError(f"{describe(step, path)} cannot be expressed in a bundle; {ADVICE}")


def check_methods(model: Any, path: str, *names: str) -> None:
    """Refuse a subclass that overrides scikit-learn's methods of these names."""
    override = overrides.find_override(model, names)
    if override:
        raise errors.ExportError(
            f"{override} of {describe(model, path)} overrides scikit-learn's method, which a bundle implements; "
            f"{ADVICE}"
        )


def invert_target(transformer: Any, path: str) -> tuple[bundle_model.Node, ...]:
    """Return the inverse of a target's transformer, as nodes over one value.

    Raises:
        errors.ExportError: A bundle cannot express the inverse.
    """
    if isinstance(transformer, pipeline.Pipeline):
        parts = [invert_target(part, join_path(path, "step", name)) for name, part in reversed(transformer.steps)]
        return tuple(node for part in parts for node in part)
    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return ()
    if isinstance(transformer, preprocessing.FunctionTransformer):
        return _invert_function(transformer, path)
    if isinstance(transformer, preprocessing.MinMaxScaler):
        # It computes `x * scale_ + min_`; StandardScaler's `scale_`, below, is a divisor instead.
        gain = 1 / _to_float64(transformer.scale_)
        return (bundle_model.make_node("affine", gain=gain, shift=-_to_float64(transformer.min_) * gain),)
    if isinstance(transformer, preprocessing.QuantileTransformer):
        return (_build_quantiles(transformer, inverse=True),)
    if isinstance(transformer, _SCALERS):
        step = _build_scale(transformer)
        return (bundle_model.make_node("affine", gain=step["scale"], shift=step["centre"]),)
    raise errors.ExportError(f"the target's {describe(transformer, path)} cannot be expressed in a bundle; {ADVICE}")


def accepts_missing(method: Callable[[Array], object], width: int) -> bool:
    """Find out whether a fitted object accepts NaN by passing it a row of NaN: it depends on scikit-learn's version."""
    try:
        call_quietly(method, np.full((1, width), np.nan))
    except ValueError:
        return False
    return True


def call_quietly(method: Callable[[Any], Any], rows: Any) -> Any:
    """Call a method of a fitted object without its warnings about arrays without column names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
        warnings.filterwarnings("ignore", message="Skipping features without any observed", category=UserWarning)
        return method(rows)


def _to_float64(values: Any) -> Array:
    array: Array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    return array


def _apply_imputer(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:  # noqa: ARG001
    imputer = describe(step, path)
    # It would append a column for each input that was missing in training.
    if step.add_indicator:
        raise errors.ExportError(f"{imputer} has add_indicator=True, which a bundle does not support; train without it")
    if not (isinstance(step.missing_values, float) and np.isnan(step.missing_values)):
        raise errors.ExportError(
            f"{imputer} replaces {step.missing_values!r}, but a missing input of a bundle is NaN; train with "
            f"missing_values=numpy.nan, or {ADVICE}"
        )
    count = expressions.get_width(expression)
    try:
        kept = ~np.isnan(np.asarray(step.statistics_, dtype=np.float64))
        values = np.asarray(call_quietly(step.transform, np.full((1, count), np.nan)), dtype=np.float64)[0]
    except (TypeError, ValueError):
        raise errors.ExportError(f"{imputer} imputes a value that is not numeric; {ADVICE}") from None
    if len(values) == count:  # keep_empty_features=True: columns without a value are imputed too
        kept[:] = True
    return expressions.impute(expressions.select(expression, np.flatnonzero(kept)), values, imputer)


def _apply_scaler(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:  # noqa: ARG001
    return expressions.append_step(expression, _build_scale(step))


def _build_scale(step: Any) -> bundle_model.Node:
    """Return the node of a scaler: ``(x - centre) / scale``."""
    centre = scale = None
    if isinstance(step, preprocessing.StandardScaler):
        centre, scale = (step.mean_ if step.with_mean else None), (step.scale_ if step.with_std else None)
    elif isinstance(step, preprocessing.RobustScaler):
        centre, scale = (step.center_ if step.with_centering else None), (step.scale_ if step.with_scaling else None)
    else:
        scale = step.scale_
    return bundle_model.make_node(
        "scale",
        centre=np.zeros(step.n_features_in_) if centre is None else _to_float64(centre),
        scale=np.ones(step.n_features_in_) if scale is None else _to_float64(scale),
    )


def _apply_min_max(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:  # noqa: ARG001
    scaled = expressions.append_step(
        expression, bundle_model.make_node("affine", gain=_to_float64(step.scale_), shift=_to_float64(step.min_))
    )
    if not step.clip:
        return scaled
    low, high = (np.full(step.n_features_in_, float(bound)) for bound in step.feature_range)
    return expressions.append_step(scaled, bundle_model.make_node("clip", low=low, high=high))


def _apply_quantiles(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:  # noqa: ARG001
    node = _build_quantiles(step, inverse=False)
    # The last digit of a sum would decide on which side of equal quantiles it is: see compiler._unscale_quantiles.
    differences = np.diff(node["quantiles"], axis=0)
    has_equal = (differences <= _EQUAL_QUANTILES * np.ptp(node["quantiles"], axis=0)).any(axis=0)
    if (has_equal & expressions.find_inexact(expression)).any():
        raise errors.ExportError(
            f"{describe(step, path)} comes after a PCA or a function and has repeated quantiles, so that rounding "
            f"errors would change predictions; put it first, or {ADVICE}"
        )
    return expressions.append_step(expression, node)


def _build_quantiles(step: Any, *, inverse: bool) -> bundle_model.Node:
    return bundle_model.make_node(
        "quantiles",
        quantiles=np.ascontiguousarray(step.quantiles_, dtype=np.float64),
        references=_to_float64(step.references_),
        normal=step.output_distribution == "normal",
        inverse=inverse,
    )


def _apply_pca(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:  # noqa: ARG001
    expressions.require_no_missing(expression, inputs)
    weights = _to_float64(step.components_).T
    if step.whiten:
        deviation = np.sqrt(step.explained_variance_)
        # The lower limit is scikit-learn's. Not in place: the weights may be the user's own array.
        weights = weights / np.maximum(deviation, np.finfo(deviation.dtype).eps).astype(np.float64)
    bias = -(_to_float64(step.mean_) @ weights)  # (x - mean) @ weights as one dense layer
    layer = bundle_model.make_node("dense", weights=np.ascontiguousarray(weights), bias=bias)
    return expressions.Apply(node=layer, before=expression, width=len(bias))


def _apply_selector(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:  # noqa: ARG001
    if expressions.find_missing(expression).any() and not accepts_missing(step.transform, step.n_features_in_):
        expressions.require_no_missing(expression, inputs)
    return expressions.select(expression, step.get_support(indices=True).astype(np.intp))


def _apply_affine(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:
    """Return the expression after a step that is affine: its results for zeros and unit rows are all there is of it."""
    expressions.require_no_missing(expression, inputs)
    count = step.n_features_in_
    probe = np.linspace(-3, 5, count)
    # One call with all rows: a SparsePCA returns one dimension for one row.
    rows = np.concatenate([np.zeros((1, count)), np.eye(count), probe[None]])
    bias, *units, expected = np.asarray(call_quietly(step.transform, rows), dtype=np.float64)
    weights = np.array(units) - bias
    if not np.allclose(probe @ weights + bias, expected, rtol=1e-9, atol=1e-9):
        raise errors.ExportError(f"{describe(step, path)} is not linear, which a bundle does not support; {ADVICE}")
    layer = bundle_model.make_node("dense", weights=weights, bias=bias)
    return expressions.Apply(node=layer, before=expression, width=len(bias))


def _apply_polynomial(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:  # noqa: ARG001
    expressions.require_no_missing(expression, inputs)
    degrees = step.powers_.sum(axis=1)  # scikit-learn sorts the products by degree
    parts = []
    for degree in np.unique(degrees):
        powers = step.powers_[degrees == degree]
        # The factors of each product, from left to right: (degree, products).
        factors = np.array([np.repeat(np.arange(powers.shape[1]), row) for row in powers], dtype=np.int32).T
        if degree == 0:  # the constant 1
            constant = bundle_model.make_node("clip", low=np.ones(1), high=np.ones(1))
            parts.append(expressions.append_step(expressions.select(expression, np.zeros(1, dtype=np.intp)), constant))
        elif degree == 1:
            parts.append(expressions.select(expression, factors[0].astype(np.intp)))
        else:
            node = bundle_model.make_node("product", factors=np.ascontiguousarray(factors))
            parts.append(expressions.Apply(node=node, before=expression, width=len(powers)))
    return expressions.join(parts)


def _apply_function(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:
    if step.func is None:  # the identity
        return expression
    if step.kw_args:
        raise errors.ExportError(f"{describe(step, path)} has kw_args, which a bundle does not support; {ADVICE}")
    if expressions.find_missing(expression).any() and not accepts_missing(
        step.transform, expressions.get_width(expression)
    ):
        expressions.require_no_missing(expression, inputs)
    node = _build_function(step.func, f"{describe(step, path)} calls", expressions.get_width(expression))
    if node.activation.name not in {"absolute", "square"} and expressions.has_raw_inputs(expression):
        raise errors.ExportError(
            f"{describe(step, path)} calls {step.func.__name__} on the features themselves, which numpy computes in "
            "float16 if they are int8, as in the tournament, but a bundle in float64; put a SimpleImputer or scaler "
            f"before it, or {ADVICE}"
        )
    return expressions.Apply(node=node, before=expression, width=expressions.get_width(expression))


def _build_function(function: Any, user: str, width: int) -> bundle_model.Node:
    """Return the node that applies a function of numpy or SciPy to each value.

    Args:
        function: The function.
        user: What calls it, for the error.
        width: Number of values per row.
    """
    called = getattr(function, "__name__", type(function).__name__)
    name = _FUNCTIONS.get(called) if isinstance(function, np.ufunc) else None
    if name is None:
        raise errors.ExportError(
            f"{user} {called}, which cannot be expressed in a bundle; use one of the functions {', '.join(_FUNCTIONS)} "
            f"of numpy and scipy.special, or {ADVICE}"
        )
    return bundle_model.make_node(
        "affine", gain=np.ones(width), shift=np.zeros(width), activation=activations.Activation(name=name)
    )


def _apply_pipeline(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:
    for name, part in step.steps:
        expression = apply_transformer(part, expression, inputs, join_path(path, "step", name))
    return expression


def _apply_column_transformer(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:
    # Indices by the branch's name. The public transformers_ has what the user passed: names, masks, slices, functions.
    indices = step._transformer_to_input_indices  # noqa: SLF001 - since 1.0
    _check_no_weights(step, path)
    branches = ((name, part, np.asarray(indices[name], dtype=np.intp)) for name, part, _ in step.transformers_)
    return _join_branches(step, branches, expression, inputs, path)


def _apply_union(step: Any, expression: Expression, inputs: BundleInputs, path: str) -> Expression:
    indices = np.arange(expressions.get_width(expression))
    _check_no_weights(step, path)
    return _join_branches(
        step, ((name, part, indices) for name, part in step.transformer_list), expression, inputs, path
    )


def _check_no_weights(step: Any, path: str) -> None:
    weights = step.transformer_weights or {}  # factors of the branches' outputs
    if any(weight != 1 for weight in weights.values()):
        raise errors.ExportError(
            f"{describe(step, path)} has transformer_weights, which a bundle does not support; {ADVICE}"
        )


def _join_branches(
    step: Any,
    branches: Iterable[tuple[str, Any, Any]],
    expression: Expression,
    inputs: BundleInputs,
    path: str,
) -> Expression:
    parts = []
    for name, part, indices in branches:
        if len(indices) and not (isinstance(part, str) and part == "drop"):
            branch = join_path(path, "branch", name)
            parts.append(apply_transformer(part, expressions.select(expression, indices), inputs, branch))
    parts = [part for part in parts if expressions.get_width(part)]  # a selector may keep no column of its branch
    if not parts:
        raise errors.ExportError(f"{describe(step, path)} drops every column")
    return expressions.join(parts)


def _invert_function(transformer: Any, path: str) -> tuple[bundle_model.Node, ...]:
    inverse = transformer.inverse_func
    return () if inverse is None else (_build_function(inverse, f"{describe('inverse_func', path)} is", 1),)


_EQUAL_QUANTILES = 1e-9
"""Two quantiles count as equal if they differ by at most this share of the range of all."""

_FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {name: name for name, activation in ACTIVATIONS.items() if activation.same_as.startswith("numpy.")}
    | {"tanh": "tanh", "expit": "sigmoid"}
)
"""The activations that compute universal functions of numpy and SciPy, by the functions' names."""

_SCALERS = (preprocessing.StandardScaler, preprocessing.RobustScaler, preprocessing.MaxAbsScaler)

_AFFINE = (
    cluster.FeatureAgglomeration,
    decomposition.FactorAnalysis,
    decomposition.FastICA,
    decomposition.IncrementalPCA,
    decomposition.MiniBatchSparsePCA,
    decomposition.SparsePCA,
    decomposition.TruncatedSVD,
    discriminant_analysis.LinearDiscriminantAnalysis,
    neighbors.NeighborhoodComponentsAnalysis,
    random_projection.GaussianRandomProjection,
    random_projection.SparseRandomProjection,
)
"""Steps that compute ``x @ weights + bias``; of a FeatureAgglomeration if its pooling_func is linear."""

_TRANSFORMERS: tuple[tuple[Any, Callable[[Any, Expression, BundleInputs, str], Expression]], ...] = (
    (pipeline.Pipeline, _apply_pipeline),
    (compose.ColumnTransformer, _apply_column_transformer),
    (pipeline.FeatureUnion, _apply_union),
    (impute.SimpleImputer, _apply_imputer),
    (_SCALERS, _apply_scaler),
    (preprocessing.MinMaxScaler, _apply_min_max),
    (preprocessing.QuantileTransformer, _apply_quantiles),
    (decomposition.PCA, _apply_pca),
    (_AFFINE, _apply_affine),
    (preprocessing.PolynomialFeatures, _apply_polynomial),
    (preprocessing.FunctionTransformer, _apply_function),
    (feature_selection.SelectorMixin, _apply_selector),
)
