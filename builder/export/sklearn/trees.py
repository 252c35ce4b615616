"""scikit-learn's trees, forests and boosted trees, after what a pipeline does to their inputs.

Each step of the pipeline is kept in float64 and in its order, so that a row ends in the leaf that scikit-learn chooses.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import dummy, ensemble, tree

from builder import errors
from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.export.sklearn import estimators, flow, steps, tree_arrays
from builder.export.sklearn import front as sklearn_front

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.export.conversion import Array

TREES = (tree.DecisionTreeRegressor, tree.DecisionTreeClassifier)
FORESTS = (
    ensemble.RandomForestRegressor,
    ensemble.RandomForestClassifier,
    ensemble.ExtraTreesRegressor,
    ensemble.ExtraTreesClassifier,
)
BOOSTED = (ensemble.GradientBoostingRegressor, ensemble.GradientBoostingClassifier)
HISTOGRAM = (ensemble.HistGradientBoostingRegressor, ensemble.HistGradientBoostingClassifier)


def forest(
    model: Any, expression: flow.Expression, inputs: flow.Inputs, tail: estimators.Tail, at: str
) -> bundle_model.Trees:
    """Translate a tree, or the mean of several."""
    trees = list(model.estimators_) if isinstance(model, FORESTS) else [model]
    if model.n_outputs_ != 1:
        raise estimators.several_outputs(model, at)
    classes = estimators.class_values(model, at) if hasattr(model, "classes_") else None
    values, after = _values_of(classes)
    arrays = tree_arrays.from_sklearn_trees([one.tree_ for one in trees], values=values)
    if flow.missing(expression).any() and not steps.takes_missing(model.predict, model.n_features_in_):
        flow.require(expression, inputs)
    made = _trees(expression, inputs, arrays, base=np.zeros(1), finish=(*after, *tail), rounded=True)
    return dataclasses.replace(made, averaged=len(trees) > 1)


def boosted(
    model: Any, expression: flow.Expression, inputs: flow.Inputs, tail: estimators.Tail, at: str
) -> bundle_model.Trees:
    """Translate GradientBoosting."""
    plain = (dummy.DummyRegressor, dummy.DummyClassifier)
    if not (isinstance(model.init_, plain) or (isinstance(model.init_, str) and model.init_ == "zero")):
        raise errors.ExportError(
            f"{steps.place(model, at)} begins from the predictions of {type(model.init_).__name__}, its init=, which a "
            f"bundle cannot hold; train without init=, or {steps.WAY_OUT}"
        )
    # The same for every row, the model that it begins from being a constant.
    base = steps.quietly(model._raw_predict_init, np.zeros((1, model.n_features_in_)))[0]  # noqa: SLF001 - since 0.21
    rounds, outputs = model.estimators_.shape
    arrays = tree_arrays.from_sklearn_trees(
        [one.tree_ for one in model.estimators_.ravel()],
        weight=model.learning_rate,
        outputs=np.tile(np.arange(outputs), rounds).tolist(),
    )
    flow.require(expression, inputs)
    return _trees(expression, inputs, arrays, base=base, finish=(*_after_boosting(model, at), *tail), rounded=True)


def histogram(
    model: Any, expression: flow.Expression, inputs: flow.Inputs, tail: estimators.Tail, at: str
) -> bundle_model.Trees:
    """Translate HistGradientBoosting, which takes missing values as they are."""
    categories = getattr(model, "is_categorical_", None)
    if categories is not None and np.any(categories):
        raise errors.ExportError(
            f"{steps.place(model, at)} has {int(np.sum(categories)):,} categorical features, which a bundle "
            f"cannot hold; train it on numbers (categorical_features=None), or {steps.WAY_OUT}"
        )
    outputs = model.n_trees_per_iteration_
    predictors = [one for of_round in model._predictors for one in of_round]  # noqa: SLF001 - there is no public way
    arrays = tree_arrays.from_hist_predictors(
        predictors, outputs=np.tile(np.arange(outputs), len(predictors) // outputs).tolist()
    )
    base = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001
    return _trees(expression, inputs, arrays, base=base, finish=(*_after_boosting(model, at), *tail), rounded=False)


def prepare(
    expression: flow.Expression, inputs: flow.Inputs
) -> tuple[bundle_model.Preprocessing | None, sklearn_front.Finished]:
    """Return what is done to the inputs before trees; None where that is nothing."""
    front = sklearn_front.finish(expression, inputs, exact=True)
    nothing = np.isnan(front.imputation).all() and (front.centre == 0).all() and (front.scale == 1).all()
    if nothing and not front.nodes:
        return None, front
    made = bundle_model.Preprocessing(
        imputation=front.imputation, centre=front.centre, scale=front.scale, layers=front.nodes
    )
    return made, front


def _values_of(classes: Array | None) -> tuple[Callable[[Any], Array], estimators.Tail]:
    """Return the function from a tree to what each of its nodes predicts, and the nodes over the mean of these.

    Of two classes that is the share of the second, so that rows tie where ``predict_proba(X)[:, 1]`` does. Of more it
    is their expected value: it needs one sum and not one for each class.
    """
    if classes is None:
        return tree_arrays.leaf_values, ()
    if len(classes) == 2:
        return tree_arrays.leaf_values, estimators.between(*classes)

    def values(one: Any) -> Array:
        found: Array = (tree_arrays.class_shares(one) * classes).sum(axis=1)
        return found

    return values, ()


def _after_boosting(model: Any, at: str) -> estimators.Tail:
    """Return the nodes from the sums over the trees to what is predicted."""
    if hasattr(model, "classes_"):
        finish = estimators.expected(estimators.class_values(model, at))
        if model.loss == "exponential":  # the share of the second class is 1 / (1 + exp(-2 x))
            return (bundle_model.make_node("affine", gain=np.full(1, 2.0), shift=np.zeros(1)), *finish)
        return finish
    if model.loss in {"poisson", "gamma"}:  # both have a logarithm as their link
        exp = activations.Activation(name="exp")
        return (bundle_model.make_node("affine", gain=np.ones(1), shift=np.zeros(1), activation=exp),)
    return ()


def _trees(
    expression: flow.Expression,
    inputs: flow.Inputs,
    arrays: tree_arrays.Arrays,
    *,
    base: Array,
    finish: estimators.Tail,
    rounded: bool,
) -> bundle_model.Trees:
    prepared, front = prepare(expression, inputs)
    if not front.nodes:
        # A leaf has no feature: -1.
        feature = arrays["feature"]
        arrays["feature"] = np.where(feature < 0, -1, front.sources[feature]).astype(np.int32)
    return bundle_model.Trees(
        **arrays,
        base=np.ascontiguousarray(base, dtype=np.float64),
        rounded=rounded,
        preprocessing=prepared,
        head=finish,
    )
