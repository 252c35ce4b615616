"""scikit-learn: a fitted model, a pipeline that ends in one, a search, a vote, a transformed target.

What a pipeline does to the inputs is put into the bundle, so that the pickle takes the features as they come and needs
no scikit-learn. A classifier predicts the expected value of its classes (``estimators``).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from sklearn import compose, ensemble, exceptions, model_selection, pipeline
from sklearn.base import is_classifier
from sklearn.utils import validation

from builder import errors
from builder.bundle import model as bundle_model
from builder.export import conversion, frameworks, overrides
from builder.export.sklearn import estimators, flow, steps, trees

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from builder.export.conversion import Array

Options = frameworks.Options
OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"

_MODELS: tuple[tuple[tuple[type, ...], Callable[..., bundle_model.Model]], ...] = (
    (estimators.LINEAR, estimators.linear),
    (estimators.LOGISTIC, estimators.logistic),
    (estimators.NETWORKS, estimators.perceptron),
    (trees.TREES + trees.FORESTS, trees.forest),
    (trees.BOOSTED, trees.boosted),
    (trees.HISTOGRAM, trees.histogram),
)


_OUTER = (pipeline.Pipeline, compose.TransformedTargetRegressor, ensemble.VotingRegressor)


def feature_names(model: Any, _options: frameworks.Options | None = None) -> tuple[str, ...] | None:
    """Return the names that the object itself knows, in its inputs' order; None where it was trained on an array."""
    model = _unwrapped(model, "")
    if isinstance(model, pipeline.Pipeline):
        for _, step in model.steps:
            if not isinstance(step, str) and step is not None:
                names = feature_names(step)
                if names is not None:
                    return names
        return None
    if _is_lightgbm(model):
        from builder.export import lightgbm_models  # noqa: PLC0415 - only where there is one

        return lightgbm_models.feature_names(model)
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else tuple(str(name) for name in names)


def convert(
    model: Any, given: conversion.InputSpec, _options: frameworks.Options | None = None
) -> conversion.ConvertedModel:
    """Return a fitted scikit-learn object in this tool's terms.

    Raises:
        errors.ExportError: It has a part that cannot be expressed, or it is not fitted.
    """
    model = _unwrapped(model, "")
    try:
        validation.check_is_fitted(model)
    except exceptions.NotFittedError:
        raise errors.ExportError(f"{type(model).__name__} is not fitted; train it first") from None
    except TypeError:
        raise errors.ExportError(f"{type(model).__name__} is no model; {steps.WAY_OUT}") from None
    names = (*given.features, *given.benchmarks)
    order = _order(model, names)
    start = flow.InputColumns(sources=order, imputation=np.full(len(order), np.nan))
    inputs = flow.Inputs(names=names, imputation=given.imputation, filled=np.zeros(len(names), dtype=bool))
    while True:  # a member of a vote that takes no missing values decides for the members before it
        filled = inputs.filled.copy()
        made = _Walk(inputs=inputs, given=given).model(model, start, (), "")
        if (filled == inputs.filled).all():
            break
    known = feature_names(model)
    return conversion.ConvertedModel(
        model=made,
        predict=_Predict(model=model, order=order, names=known, filled=inputs.filled, imputation=given.imputation),
        takes_missing=not inputs.filled.all(),
        facts=_facts(model),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Predict:
    """scikit-learn's own prediction for inputs in the bundle's order."""

    model: Any
    order: flow.Places
    names: tuple[str, ...] | None
    filled: Any
    imputation: Array

    def __call__(self, inputs: Array) -> Array:
        rows = np.where(np.isnan(inputs) & self.filled, self.imputation, inputs)[:, self.order]
        given = rows if self.names is None else self._frame(rows)
        if is_classifier(self.model):
            shares = steps.quietly(self.model.predict_proba, given)
            return np.asarray(shares, dtype=np.float64) @ np.asarray(self.model.classes_, dtype=np.float64)
        return np.asarray(steps.quietly(self.model.predict, given), dtype=np.float64).reshape(-1)

    def _frame(self, rows: Array) -> Any:
        import pandas as pd  # noqa: PLC0415 - a model that was trained on an array does without

        return pd.DataFrame(rows, columns=list(self.names or ()))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Walk:
    """From an object down to the model in it."""

    inputs: flow.Inputs
    given: conversion.InputSpec

    def model(self, model: Any, expression: flow.Expression, tail: estimators.Tail, at: str) -> bundle_model.Model:
        """Return an object after an expression, and before nodes over what it predicts."""
        model = _unwrapped(model, at)
        if isinstance(model, _OUTER):
            _check_methods(model, at)
        if isinstance(model, pipeline.Pipeline):
            *before, (name, last) = model.steps
            for step_name, step in before:
                expression = steps.through(step, expression, self.inputs, steps.below(at, "step", step_name))
            return self.model(last, expression, tail, steps.below(at, "step", name))
        if isinstance(model, compose.TransformedTargetRegressor):
            back = steps.way_back(model.transformer_, steps.below(at, "part", "transformer"))
            return self.model(model.regressor_, expression, (*back, *tail), at)
        if isinstance(model, ensemble.VotingRegressor):
            return self._vote(model, expression, tail, at)
        if _is_lightgbm(model):
            return self._booster(model, expression, tail)
        for kinds, known in _MODELS:
            if isinstance(model, kinds):
                _check_methods(model, at)
                return known(model, expression, self.inputs, tail, at)
        raise errors.ExportError(f"{steps.place(model, at)} cannot be expressed in a bundle; {steps.WAY_OUT}")

    def _vote(self, model: Any, expression: flow.Expression, tail: estimators.Tail, at: str) -> bundle_model.Ensemble:
        where = steps.place(model, at)
        if tail:
            raise errors.ExportError(
                f"{where} is inside a TransformedTargetRegressor, which a bundle cannot hold; "
                "put one around each member"
            )
        named = [(name, one) for name, one in model.estimators if not (isinstance(one, str) and one == "drop")]
        weights = [1.0] * len(named)
        if model.weights is not None:
            pairs = zip(model.estimators, model.weights, strict=True)
            weights = [float(weight) for (_, one), weight in pairs if not (isinstance(one, str) and one == "drop")]
        if min(weights) < 0:
            raise errors.ExportError(f"{where} has a weight below 0, which a bundle cannot hold; {steps.WAY_OUT}")
        members = []
        for (name, _), fitted, weight in zip(named, model.estimators_, weights, strict=True):
            if weight == 0:
                continue
            made = self.model(fitted, expression, (), steps.below(at, "member", name))
            if isinstance(made, (bundle_model.Ensemble, bundle_model.Custom)):
                raise errors.ExportError(
                    f"{where} has a vote as its member {name!r}; a bundle holds votes of one level"
                )
            members.append(
                bundle_model.Member(
                    model=made, features=self.given.features, benchmarks=self.given.benchmarks, weight=weight
                )
            )
        return bundle_model.Ensemble(members=tuple(members))

    def _booster(self, model: Any, expression: flow.Expression, tail: estimators.Tail) -> bundle_model.Model:
        from builder.export import lightgbm_models  # noqa: PLC0415 - only where there is one

        count = flow.width(expression)
        given = conversion.InputSpec(
            features=lightgbm_models.feature_names(model) or tuple(f"value_{place}" for place in range(count)),
            benchmarks=(),
            sample=np.zeros((1, count)),
            imputation=np.zeros(count),
        )
        made = lightgbm_models.convert(model, given).model
        if not isinstance(made, bundle_model.LightGbm):
            raise TypeError(f"{type(made).__name__} came of a booster")
        prepared, front = trees.prepare(expression, self.inputs)
        every = np.arange(len(self.inputs.names))
        if not front.nodes and not np.array_equal(front.sources, every):
            prepared = bundle_model.Preprocessing(
                imputation=front.imputation,
                centre=front.centre,
                scale=front.scale,
                layers=(bundle_model.make_node("select", places=front.sources.astype(np.int32)),),
            )
        return dataclasses.replace(made, preprocessing=prepared, head=(*made.head, *tail))


def _unwrapped(model: Any, at: str) -> Any:
    """Return the best model of a search, or the object itself."""
    searches = (model_selection.GridSearchCV, model_selection.RandomizedSearchCV)
    while hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    if isinstance(model, searches):
        raise errors.ExportError(f"{steps.place(model, at)} has no best_estimator_; fit it with refit=True")
    return model


def _check_methods(model: Any, at: str) -> None:
    """Make sure that a model predicts as scikit-learn's of its kind does.

    Raises:
        errors.ExportError: A subclass has its own way.
    """
    own = overrides.find_override(model, ("predict", "predict_proba"))
    if own:
        raise errors.ExportError(
            f"{own} of {steps.place(model, at)} is not scikit-learn's own, which a bundle has; {steps.WAY_OUT}"
        )


def _is_lightgbm(model: Any) -> bool:
    return any(base.__module__.partition(".")[0] == "lightgbm" for base in type(model).__mro__)


def _order(model: Any, names: tuple[str, ...]) -> flow.Places:
    """Return which of the bundle's inputs each of the model's own is: benchmarks may stand among its features."""
    known = feature_names(model)
    if known is not None and sorted(known) == sorted(names):
        at = {name: place for place, name in enumerate(names)}
        return np.array([at[name] for name in known], dtype=np.intp)
    wanted = getattr(model, "n_features_in_", len(names) if known is None else len(known))
    if wanted != len(names):
        raise errors.ExportError(
            f"the {type(model).__name__} takes {wanted:,} inputs, and {len(names):,} are named "
            "(features, then benchmark columns); pass features= and benchmark= as it was trained on them"
        )
    return np.arange(len(names))


def _facts(model: Any) -> Mapping[str, bundle_model.Fact]:
    """Return what trained the model."""
    found = list(_parts(model))
    facts: dict[str, bundle_model.Fact] = {
        "framework": "scikit-learn",
        "version": sklearn.__version__,
        "objects": tuple(dict.fromkeys(type(part).__name__ for part in found)),
    }
    if any(_is_lightgbm(part) for part in found):
        import lightgbm  # noqa: PLC0415 - there is a model of it

        facts["lightgbm"] = lightgbm.__version__
    return facts


def _parts(model: Any) -> Iterator[Any]:
    """Yield an object and the fitted ones inside it; those that only pass on or drop columns are none."""
    if model is None or isinstance(model, str):
        return
    yield model
    below: list[Any] = []
    if isinstance(model, pipeline.Pipeline):
        below = [step for _, step in model.steps]
    elif isinstance(model, compose.ColumnTransformer):
        below = [step for _, step, _ in model.transformers_]
    elif isinstance(model, pipeline.FeatureUnion):
        below = [step for _, step in model.transformer_list]
    elif isinstance(model, compose.TransformedTargetRegressor):
        below = [model.regressor_, model.transformer_]
    elif isinstance(model, ensemble.VotingRegressor):
        below = list(model.estimators_)
    for part in below:
        yield from _parts(_unwrapped(part, ""))
