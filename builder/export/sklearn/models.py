"""Export scikit-learn: fitted models, pipelines, searches, voting regressors, transformed targets.

A pipeline's steps become part of the bundle, so that the pickle takes the raw features and does not need scikit-learn.
A classifier predicts the expected value of its classes, the sum of p(class) * class.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import sklearn
from sklearn import compose, ensemble, exceptions, model_selection, pipeline
from sklearn.base import is_classifier
from sklearn.utils import validation

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.export import conversion, frameworks, overrides
from builder.export.sklearn import estimators, expressions, steps, trees
from builder.export.sklearn.expressions import BundleInputs, Expression, Indices, InputColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from builder.export.conversion import Array

OPTIONS = frameworks.Options
OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"

_MODELS: tuple[tuple[tuple[type, ...], Callable[..., bundle_model.Model]], ...] = (
    (estimators.LINEAR, estimators.convert_linear),
    (estimators.LOGISTIC, estimators.convert_logistic),
    (estimators.NETWORKS, estimators.convert_perceptron),
    (trees.TREES + trees.FORESTS, trees.convert_forest),
    (trees.BOOSTED, trees.convert_boosted),
    (trees.HISTOGRAM, trees.convert_histogram),
)


# Objects whose prediction is made from that of other objects, which they contain.
_OUTER = (pipeline.Pipeline, compose.TransformedTargetRegressor, ensemble.VotingRegressor)


def feature_names(model: Any, _options: frameworks.Options | None = None) -> tuple[str, ...] | None:
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
    model: Any, spec: conversion.InputSpec, _options: frameworks.Options | None = None
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
    inputs = BundleInputs(names=names, imputation=spec.imputation, caller_imputed=np.zeros(len(names), dtype=bool))
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
            caller_imputed=inputs.caller_imputed,
            imputation=spec.imputation,
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
    caller_imputed: Any
    imputation: Array

    def __call__(self, inputs: Array) -> Array:
        rows = np.where(np.isnan(inputs) & self.caller_imputed, self.imputation, inputs)[:, self.order]
        data = rows if self.names is None else self._to_frame(rows)
        # The expected value: what a classifier of ordered classes says about a target from 0 to 1.
        if is_classifier(self.model):
            probabilities = steps.call_quietly(self.model.predict_proba, data)
            return np.asarray(probabilities, dtype=np.float64) @ np.asarray(self.model.classes_, dtype=np.float64)
        return np.asarray(steps.call_quietly(self.model.predict, data), dtype=np.float64).reshape(-1)

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
        if isinstance(model, _OUTER):
            _check_methods(model, path)
        if isinstance(model, pipeline.Pipeline):
            *before, (name, last) = model.steps
            for step_name, step in before:
                expression = steps.apply_transformer(
                    step, expression, self.inputs, steps.join_path(path, "step", step_name)
                )
            return self.convert(last, expression, head, steps.join_path(path, "step", name))
        if isinstance(model, compose.TransformedTargetRegressor):
            inverse = steps.invert_target(model.transformer_, steps.join_path(path, "part", "transformer"))
            return self.convert(model.regressor_, expression, (*inverse, *head), path)
        if isinstance(model, ensemble.VotingRegressor):
            return self._convert_vote(model, expression, head, path)
        if _find_booster_library(model):
            return self._convert_booster(model, expression, head)
        for classes, convert_model in _MODELS:
            if isinstance(model, classes):
                _check_methods(model, path)
                return convert_model(model, expression, self.inputs, head, path)
        raise errors.ExportError(f"{steps.describe(model, path)} cannot be expressed in a bundle; {steps.ADVICE}")

    def _convert_vote(
        self, model: Any, expression: Expression, head: estimators.Head, path: str
    ) -> bundle_model.Ensemble:
        vote = steps.describe(model, path)
        if head:
            raise errors.ExportError(
                f"{vote} is inside a TransformedTargetRegressor, which a bundle does not support; put one around each "
                "member"
            )
        # estimators_ has only the members that are not dropped, but weights has one for each of estimators.
        is_kept = [not (isinstance(member, str) and member == "drop") for _, member in model.estimators]
        names = [name for (name, _), kept in zip(model.estimators, is_kept, strict=True) if kept]
        weights = [1.0] * len(names)
        if model.weights is not None:
            weights = [float(weight) for weight, kept in zip(model.weights, is_kept, strict=True) if kept]
        if min(weights) < 0:
            raise errors.ExportError(f"{vote} has a negative weight, which a bundle does not support; {steps.ADVICE}")
        members = []
        for name, fitted, weight in zip(names, model.estimators_, weights, strict=True):
            if weight == 0:  # it changes no prediction, and a bundle's member must have a weight
                continue
            member = self.convert(fitted, expression, (), steps.join_path(path, "member", name))
            if isinstance(member, (bundle_model.Ensemble, bundle_model.Custom)):
                raise errors.ExportError(
                    f"{vote} has a vote as its member {name!r}, but a bundle does not support nested votes"
                )
            members.append(
                bundle_model.Member(
                    model=member, features=self.spec.features, benchmarks=self.spec.benchmarks, weight=weight
                )
            )
        return bundle_model.Ensemble(members=tuple(members))

    def _convert_booster(self, model: Any, expression: Expression, head: estimators.Head) -> bundle_model.Model:
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
        booster = cast("bundle_model.Booster", framework.convert(model, spec, framework.OPTIONS()).model)
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
        return dataclasses.replace(booster, preprocessing=preprocessing, head=(*booster.head, *head))


def _unwrap(model: Any, path: str) -> Any:
    """Return the best model of a search, or the object itself; ``path`` is its path, for the error."""
    searches = (model_selection.GridSearchCV, model_selection.RandomizedSearchCV)
    # All searches have it, also the halving ones and those of other libraries.
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    if isinstance(model, searches):
        raise errors.ExportError(f"{steps.describe(model, path)} has no best_estimator_; fit it with refit=True")
    return model


def _check_methods(model: Any, path: str) -> None:
    """Refuse a subclass that overrides scikit-learn's prediction."""
    override = overrides.find_override(model, ("predict", "predict_proba"))
    if override:
        raise errors.ExportError(
            f"{override} of {steps.describe(model, path)} overrides scikit-learn's method, which a bundle "
            f"implements; {steps.ADVICE}"
        )


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
    elif isinstance(model, ensemble.VotingRegressor):
        parts = list(model.estimators_)
    for part in parts:
        yield from _iter_parts(_unwrap(part, ""))
