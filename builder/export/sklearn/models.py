"""Export scikit-learn: fitted models, pipelines, searches, ensembles, transformed targets.

A pipeline's steps become part of the bundle, so that the pickle takes the raw features and does not need scikit-learn.
A classifier predicts the expected value of its classes, the sum of p(class) * class.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import sklearn
from sklearn import compose, exceptions, model_selection, pipeline
from sklearn.base import is_classifier
from sklearn.utils import validation

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.export import boosters, conversion, frameworks
from builder.export.sklearn import estimators, expressions, members, steps, trees
from builder.export.sklearn.expressions import BundleInputs, Expression, Indices, InputColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from builder.export.conversion import Array

OPTIONS = boosters.OutputOptions
OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"

_MODELS: tuple[tuple[tuple[type, ...], Callable[..., bundle_model.Model]], ...] = (
    (estimators.LOGISTIC, estimators.convert_logistic),
    (estimators.NETWORKS, estimators.convert_perceptron),
    (trees.TREES + trees.FORESTS, trees.convert_forest),
    (trees.BOOSTED, trees.convert_boosted),
    (trees.HISTOGRAM, trees.convert_histogram),
)


_PREDICT = ("predict", "predict_proba")

_WRAPPERS: Mapping[str, str] = MappingProxyType(
    {
        "FixedThresholdClassifier": "estimator_",
        "FrozenEstimator": "estimator",
        "RANSACRegressor": "estimator_",
        "SelfTrainingClassifier": "estimator_",
        "TunedThresholdClassifierCV": "estimator_",
    }
)
"""Classes that predict what the object in this attribute does; some are newer than scikit-learn 1.4."""


def feature_names(model: Any, _options: boosters.OutputOptions | None = None) -> tuple[str, ...] | None:
    """Return the feature names of the fitted object in the order of its inputs; None if it was trained on an array."""
    model = _unwrap(model, "")
    if isinstance(model, pipeline.Pipeline):
        for _, step in model.steps:
            # The first step with names: `passthrough` has none, and later steps see its outputs, not the inputs.
            if not isinstance(step, str) and step is not None:
                names = feature_names(step)
                if names is not None:
                    return names
        return None
    if _find_booster_library(model):
        framework = frameworks.find_framework(model)
        return framework.feature_names(model, framework.OPTIONS())
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else tuple(str(name) for name in names)


def convert(
    model: Any, spec: conversion.InputSpec, options: boosters.OutputOptions | None = None
) -> conversion.ConvertedModel:
    """Convert a fitted scikit-learn object.

    Raises:
        errors.ExportError: A part of it, which is named, cannot be expressed; or it is not fitted.
    """
    model = _unwrap(model, "")
    try:
        validation.check_is_fitted(model)
    except exceptions.NotFittedError:
        raise errors.ExportError(f"{type(model).__name__} is not fitted; train it first") from None
    except TypeError:
        raise errors.ExportError(f"{type(model).__name__} is not a model; {steps.ADVICE}") from None
    names = spec.names
    order = _find_order(model, names)
    start = InputColumns(sources=order, imputation=np.full(len(order), np.nan))
    output, class_values = _parse_output(model, (options or OPTIONS()).output)
    inputs = BundleInputs(
        names=names,
        imputation=spec.imputation,
        caller_imputed=np.zeros(len(names), dtype=bool),
        output=output,
        class_values=class_values,
    )
    # Again until nothing changes: if a later member of a vote accepts no NaN, its inputs are imputed for all members.
    # It ends, since `caller_imputed` only ever grows.
    while True:
        caller_imputed = inputs.caller_imputed.copy()
        converted = _Converter(inputs=inputs, spec=spec).convert(model, start, (), "")
        if (caller_imputed == inputs.caller_imputed).all():
            break
    return conversion.ConvertedModel(
        model=converted,
        predict=_SklearnPredict(
            model=model,
            order=order,
            names=feature_names(model),
            inputs=inputs,
        ),
        takes_missing=not inputs.caller_imputed.all(),
        facts=_collect_facts(model),
        packages=_list_packages(model),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _SklearnPredict:
    """Predicts with scikit-learn for inputs in the bundle's order: float64 (rows, n) to (rows,)."""

    model: Any
    order: Indices
    names: tuple[str, ...] | None
    inputs: BundleInputs

    def __call__(self, inputs: Array) -> Array:
        is_imputed = np.isnan(inputs) & self.inputs.caller_imputed
        rows = np.where(is_imputed, self.inputs.imputation, inputs)[:, self.order]
        data = rows if self.names is None else self._to_frame(rows)
        # The expected value: what a classifier of ordered classes says about a target from 0 to 1.
        if is_classifier(self.model):
            probabilities = np.asarray(steps.call_quietly(self.model.predict_proba, data), dtype=np.float64)
            return probabilities @ estimators.read_class_values(self.model, self.inputs, "")
        values: Array = np.asarray(steps.call_quietly(self.model.predict, data), dtype=np.float64)
        return values.reshape(-1) if self.inputs.output is None else boosters.combine(values, output=self.inputs.output)

    def _to_frame(self, rows: Array) -> Any:
        import pandas as pd  # noqa: PLC0415 - a model that was trained on an array does not need it

        return pd.DataFrame(rows, columns=list(self.names or ()))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Converter:
    """Converts a fitted object recursively, down to the model inside pipelines, targets and votes."""

    inputs: BundleInputs
    spec: conversion.InputSpec

    def convert(self, model: Any, expression: Expression, head: estimators.Head, path: str) -> bundle_model.Model:
        """Convert an object: it takes the expression's values, and its prediction passes the nodes of ``head``."""
        model = _unwrap(model, path)
        if _find_booster_library(model):
            return self._convert_booster(model, expression, head, path)
        if isinstance(model, pipeline.Pipeline):
            convert_model: Callable[..., bundle_model.Model] = self._convert_pipeline
        elif isinstance(model, compose.TransformedTargetRegressor):
            convert_model = self._convert_target
        elif _get_wrapped(model) is not None:
            convert_model = self._convert_wrapper
        elif isinstance(model, members.ENSEMBLES):
            convert_model = functools.partial(members.convert_ensemble, converter=self)
        else:
            convert_model = functools.partial(_find_function(model, path), inputs=self.inputs)
        steps.check_methods(model, path, *_PREDICT)
        return convert_model(model, expression=expression, head=head, path=path)

    def replace_inputs(self, **changes: Any) -> _Converter:
        """Return a converter for other inputs, outputs or classes."""
        return dataclasses.replace(self, inputs=dataclasses.replace(self.inputs, **changes))

    def _convert_wrapper(
        self, model: Any, expression: Expression, head: estimators.Head, path: str
    ) -> bundle_model.Model:
        return self.convert(_get_wrapped(model), expression, head, path)

    def _convert_pipeline(
        self, model: Any, expression: Expression, head: estimators.Head, path: str
    ) -> bundle_model.Model:
        *before, (name, last) = model.steps
        for step_name, step in before:
            expression = steps.apply_transformer(
                step, expression, self.inputs, steps.join_path(path, "step", step_name)
            )
        return self.convert(last, expression, head, steps.join_path(path, "step", name))

    def _convert_target(
        self, model: Any, expression: Expression, head: estimators.Head, path: str
    ) -> bundle_model.Model:
        if self.inputs.output is not None:
            raise errors.ExportError(
                f"{steps.describe(model, path)} has several outputs, which a bundle does not support; train one for "
                f"each target, or {steps.ADVICE}"
            )
        inverse = steps.invert_target(model.transformer_, steps.join_path(path, "part", "transformer"))
        return self.convert(model.regressor_, expression, (*inverse, *head), path)

    def _convert_booster(
        self, model: Any, expression: Expression, head: estimators.Head, path: str
    ) -> bundle_model.Model:
        framework = frameworks.find_framework(model)
        # The booster takes the values of the pipeline's steps, for which the bundle has no names and no sample.
        count = expressions.get_width(expression)
        spec = conversion.InputSpec(
            features=framework.feature_names(model, framework.OPTIONS())
            or tuple(f"value_{index}" for index in range(count)),
            benchmarks=(),
            sample=np.full((1, count), np.nan),
            imputation=np.zeros(count),
        )
        output, class_head = _find_booster_output(model, self.inputs, path)
        options = framework.OPTIONS(output=output)
        booster = cast("bundle_model.Booster", framework.convert(model, spec, options).model)
        preprocessing, compiled = trees.build_preprocessing(expression, self.inputs)
        all_inputs = np.arange(len(self.inputs.names))
        # A booster's file numbers its features from 0, so the inputs that it does not take must be removed before it.
        if not compiled.nodes and not np.array_equal(compiled.sources, all_inputs):
            preprocessing = bundle_model.Preprocessing(
                imputation=compiled.imputation,
                centre=compiled.centre,
                scale=compiled.scale,
                layers=(bundle_model.make_node("select", places=compiled.sources.astype(np.int32)),),
            )
        return dataclasses.replace(booster, preprocessing=preprocessing, head=(*booster.head, *class_head, *head))


def _find_function(model: Any, path: str) -> Callable[..., bundle_model.Model]:
    """Return the function that converts a model without parts.

    Raises:
        errors.ExportError: There is none.
    """
    for classes, function in _MODELS:
        if isinstance(model, classes):
            return function
    if estimators.find_link(model):
        return estimators.convert_linear
    if estimators.is_logistic(model):
        return estimators.convert_logistic
    raise errors.ExportError(f"{steps.describe(model, path)} cannot be expressed in a bundle; {steps.ADVICE}")


def _find_booster_output(
    model: Any, inputs: BundleInputs, path: str
) -> tuple[int | Literal["mean"] | None, estimators.Head]:
    """Return which output of a booster is the prediction, and the nodes from it to the number that its class counts as.

    The output is None for the only one, and for the expected value of the booster's own classes.
    """
    if inputs.class_values is None or not is_classifier(model):
        return inputs.output, ()
    labels = np.asarray(model.classes_).tolist()
    values = [inputs.class_values[label] for label in labels]
    if sorted(values) == [0.0] * (len(values) - 1) + [1.0]:
        return values.index(1.0), ()
    # In a vote or bag, the booster's classes are indices of the outer ones.
    gain = (values[-1] - values[0]) / (labels[-1] - labels[0])
    shift = values[0] - gain * labels[0]
    if np.allclose(values, gain * np.array(labels) + shift, rtol=1e-12):
        return None, estimators.build_interpolation(shift, shift + gain)
    raise errors.ExportError(
        f"{steps.describe(model, path)} is a member of a vote or bag whose classes are not evenly spaced; train on the "
        f"classes 0, 1 and so on, or {steps.ADVICE}"
    )


def _parse_output(model: Any, output: Any) -> tuple[int | Literal["mean"] | None, Mapping[Any, float] | None]:
    """Return the chosen output of a regression, or the number that each class of a classifier counts as.

    Raises:
        errors.ExportError: ``output`` is not a class of the classifier.
    """
    if output is None or not is_classifier(model):
        return output, None
    labels = np.asarray(model.classes_).tolist()
    index = boosters.find_class(labels, output)
    return None, {label: float(position == index) for position, label in enumerate(labels)}


def _unwrap(model: Any, path: str) -> Any:
    """Return the best model of a search, or the object itself; ``path`` is its path, for the error."""
    searches = (model_selection.GridSearchCV, model_selection.RandomizedSearchCV)
    # All searches have best_estimator_, also the halving ones and those of other libraries.
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    if isinstance(model, searches):
        raise errors.ExportError(f"{steps.describe(model, path)} has no best_estimator_; fit it with refit=True")
    return model


def _get_wrapped(model: Any) -> Any:
    """Return the object that makes the prediction of a wrapper; None for other objects."""
    attribute = next((_WRAPPERS[base.__name__] for base in type(model).__mro__ if base.__name__ in _WRAPPERS), "")
    return getattr(model, attribute, None)


def _find_booster_library(model: Any) -> str | None:
    """Return the name of the library of a booster; None for other objects."""
    # By name, without importing the libraries, which may not be installed.
    packages = (base.__module__.partition(".")[0] for base in type(model).__mro__)
    return next((package for package in packages if package in prediction.BOOSTER_LIBRARIES), None)


def _find_order(model: Any, names: tuple[str, ...]) -> Indices:
    """Return the index of each of the model's inputs among the bundle's, where benchmark columns come last."""
    model_names = feature_names(model)
    if model_names is not None and sorted(model_names) == sorted(names):
        indices = {name: index for index, name in enumerate(names)}
        return np.array([indices[name] for name in model_names], dtype=np.intp)
    count = getattr(model, "n_features_in_", len(names) if model_names is None else len(model_names))
    if count != len(names):
        raise errors.ExportError(
            f"the {type(model).__name__} takes {count:,} inputs, but features= and benchmark= have {len(names):,} "
            "together; pass the columns that it was trained on"
        )
    return np.arange(len(names))


def _collect_facts(model: Any) -> Mapping[str, bundle_model.Fact]:
    """Return the version and the classes that the model consists of."""
    objects = tuple(dict.fromkeys(type(part).__name__ for part in _iter_parts(model)))
    return {"framework": "scikit-learn", "version": sklearn.__version__, "objects": objects}


def _list_packages(model: Any) -> tuple[str, ...]:
    """Return the libraries of boosters in the model, with their versions; all other parts are stored as numbers."""
    libraries = dict.fromkeys(filter(None, map(_find_booster_library, _iter_parts(model))))
    return tuple(f"{name} {importlib.import_module(name).__version__}" for name in libraries)


def _iter_parts(model: Any) -> Iterator[Any]:
    """Yield a fitted object and those inside it, without the steps ``passthrough`` and ``drop``."""
    if model is None or isinstance(model, str):
        return
    yield model
    parts: list[Any] = []
    if isinstance(model, pipeline.Pipeline):
        parts = [step for _, step in model.steps]
    elif isinstance(model, compose.ColumnTransformer):
        parts = [step for _, step, _ in model.transformers_]
    elif isinstance(model, pipeline.FeatureUnion):
        parts = [step for _, step in model.transformer_list]
    elif isinstance(model, compose.TransformedTargetRegressor):
        parts = [model.regressor_, model.transformer_]
    elif _get_wrapped(model) is not None:
        parts = [_get_wrapped(model)]
    elif isinstance(model, members.ENSEMBLES):
        parts = [*model.estimators_, getattr(model, "final_estimator_", None)]
    for part in parts:
        yield from _iter_parts(_unwrap(part, ""))
