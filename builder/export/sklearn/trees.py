"""Convert scikit-learn's trees, forests and boosted trees.

Each step of a pipeline before them is kept in float64 and in its order, so that a row reaches the same leaves as in
scikit-learn.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import dummy, ensemble, tree

from builder import errors
from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.export.sklearn import compiler, estimators, expressions, steps, tree_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export.conversion import Array
    from builder.export.sklearn.expressions import BundleInputs, Expression

TREES = (tree.DecisionTreeRegressor, tree.DecisionTreeClassifier)
FORESTS = (
    ensemble.RandomForestRegressor,
    ensemble.RandomForestClassifier,
    ensemble.ExtraTreesRegressor,
    ensemble.ExtraTreesClassifier,
)
BOOSTED = (ensemble.GradientBoostingRegressor, ensemble.GradientBoostingClassifier)
HISTOGRAM = (ensemble.HistGradientBoostingRegressor, ensemble.HistGradientBoostingClassifier)


def convert_forest(
    model: Any, expression: Expression, inputs: BundleInputs, head: estimators.Head, path: str
) -> bundle_model.Trees:
    """Convert a tree, or a forest or bag of trees, whose prediction is the mean of its trees."""
    trees = [model] if isinstance(model, TREES) else list(model.estimators_)
    class_head: estimators.Head = ()
    if hasattr(model, "classes_"):
        read_values, class_head = _select_leaf_values(estimators.read_class_values(model, inputs, path))
    else:

        def read_values(tree: Any) -> Array:
            return estimators.reduce_outputs(np.asarray(tree.value)[:, :, 0], model, inputs, path)[:, 0]

    arrays = _read_trees(model, trees, read_values=read_values)
    # Which trees accept NaN depends on scikit-learn's version and on the criterion.
    if expressions.find_missing(expression).any() and not steps.accepts_missing(model.predict, model.n_features_in_):
        expressions.require_no_missing(expression, inputs)
    converted = _build_trees(expression, inputs, arrays, base=np.zeros(1), head=(*class_head, *head), rounded=True)
    return dataclasses.replace(converted, averaged=len(trees) > 1)


def convert_ada_boost(
    model: Any,
    expression: Expression,
    inputs: BundleInputs,
    head: estimators.Head,
    path: str,  # noqa: ARG001 - as the other functions
) -> bundle_model.Trees:
    """Convert an AdaBoostRegressor of decision trees, whose prediction is the weighted median of its trees."""
    count = len(model.estimators_)
    arrays = _read_trees(model, model.estimators_, outputs=range(count))
    expressions.require_no_missing(expression, inputs)
    median = estimators.build_median(model)
    return _build_trees(expression, inputs, arrays, base=np.zeros(count), head=(median, *head), rounded=True)


def convert_ada_boost_classifier(
    model: Any, expression: Expression, inputs: BundleInputs, head: estimators.Head, path: str
) -> bundle_model.Trees:
    """Convert an AdaBoostClassifier of decision trees, which vote for classes.

    See ``AdaBoostClassifier.decision_function`` in ``sklearn/ensemble/_weight_boosting.py`` of scikit-learn 1.9.
    """
    other = next((member for member in model.estimators_ if not isinstance(member, TREES)), None)
    if other is not None or getattr(model, "algorithm", "") == "SAMME.R":
        reason = f"members of type {type(other).__name__}" if other is not None else "algorithm='SAMME.R'"
        raise errors.ExportError(
            f"{steps.describe(model, path)} has {reason}, which a bundle does not support; {steps.ADVICE}"
        )
    class_values = estimators.read_class_values(model, inputs, path)
    count = len(model.classes_)
    scored = model.classes_ if count > 2 else model.classes_[1:]  # the scores of two classes are opposite
    values = []
    for member, weight in zip(model.estimators_, model.estimator_weights_, strict=False):
        votes = member.classes_[tree_arrays.read_class_shares(member.tree_).argmax(axis=1)]
        values += [np.where(votes == label, weight, -weight / (count - 1)) for label in scored]
    arrays = tree_arrays.from_sklearn_trees(
        [member.tree_ for member in model.estimators_ for _ in scored],
        values=values,
        outputs=np.tile(np.arange(len(scored)), len(model.estimators_)).tolist(),
    )
    gain = (1 / (count - 1) if count > 2 else 2) / model.estimator_weights_.sum()
    scale = bundle_model.make_node("affine", gain=np.full(len(scored), gain), shift=np.zeros(len(scored)))
    expressions.require_no_missing(expression, inputs)
    class_head = (scale, *estimators.build_expected_value(class_values))
    return _build_trees(expression, inputs, arrays, base=np.zeros(len(scored)), head=(*class_head, *head), rounded=True)


def convert_boosted(
    model: Any, expression: Expression, inputs: BundleInputs, head: estimators.Head, path: str
) -> bundle_model.Trees:
    """Convert a GradientBoosting model."""
    constant = (dummy.DummyRegressor, dummy.DummyClassifier)
    if not (isinstance(model.init_, constant) or (isinstance(model.init_, str) and model.init_ == "zero")):
        raise errors.ExportError(
            f"{steps.describe(model, path)} starts from the predictions of {type(model.init_).__name__}, its "
            f"init=, which a bundle does not support; train without init=, or {steps.ADVICE}"
        )
    # Any row will do, since the initial model is a constant.
    base = steps.call_quietly(model._raw_predict_init, np.zeros((1, model.n_features_in_)))[0]  # noqa: SLF001 - since 0.21
    rounds, outputs = model.estimators_.shape
    arrays = tree_arrays.from_sklearn_trees(
        [member.tree_ for member in model.estimators_.ravel()],
        weight=model.learning_rate,
        outputs=np.tile(np.arange(outputs), rounds).tolist(),
    )
    expressions.require_no_missing(expression, inputs)
    return _build_trees(
        expression, inputs, arrays, base=base, head=(*_build_link(model, inputs, path), *head), rounded=True
    )


def convert_histogram(
    model: Any, expression: Expression, inputs: BundleInputs, head: estimators.Head, path: str
) -> bundle_model.Trees:
    """Convert a HistGradientBoosting model, which accepts missing values."""
    categories = getattr(model, "is_categorical_", None)
    if categories is not None and np.any(categories):
        raise errors.ExportError(
            f"{steps.describe(model, path)} has {int(np.sum(categories)):,} categorical features, which a bundle "
            f"does not support; train it on numbers (categorical_features=None), or {steps.ADVICE}"
        )
    outputs = model.n_trees_per_iteration_
    predictors = [predictor for iteration in model._predictors for predictor in iteration]  # noqa: SLF001 - not public
    arrays = tree_arrays.from_hist_predictors(
        predictors, outputs=np.tile(np.arange(outputs), len(predictors) // outputs).tolist()
    )
    base = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001
    return _build_trees(
        expression, inputs, arrays, base=base, head=(*_build_link(model, inputs, path), *head), rounded=False
    )


def build_preprocessing(
    expression: Expression, inputs: BundleInputs
) -> tuple[bundle_model.Preprocessing | None, compiler.CompiledExpression]:
    """Return the preprocessing before trees, or None if there is none, and the compiled expression."""
    compiled = compiler.compile_expression(expression, inputs, exact=True)
    is_identity = np.isnan(compiled.imputation).all() and (compiled.centre == 0).all() and (compiled.scale == 1).all()
    if is_identity and not compiled.nodes:
        return None, compiled
    preprocessing = bundle_model.Preprocessing(
        imputation=compiled.imputation, centre=compiled.centre, scale=compiled.scale, layers=compiled.nodes
    )
    return preprocessing, compiled


def _read_trees(model: Any, trees: Sequence[Any], **options: Any) -> tree_arrays.Arrays:
    """Return the arrays of a model's decision trees, which compare the model's inputs."""
    arrays = tree_arrays.from_sklearn_trees([member.tree_ for member in trees], **options)
    columns = getattr(model, "estimators_features_", None)  # of a bag, whose members may have only some of its inputs
    if columns is not None:
        parts = zip(np.split(arrays["feature"], arrays["roots"][1:]), columns, strict=True)
        arrays["feature"] = np.concatenate(
            [np.where(feature < 0, -1, np.asarray(indices)[feature]).astype(np.int32) for feature, indices in parts]
        )
    return arrays


def _select_leaf_values(classes: Array) -> tuple[Callable[[Any], Array], estimators.Head]:
    """Return the function that reads what each node of a tree predicts, and the nodes after the mean over the trees.

    For two classes it reads the probability of the second, so that rows tie exactly if ``predict_proba(X)[:, 1]`` does;
    for more, their expected value, which needs one sum instead of one for each class.
    """
    if len(classes) == 2:
        return tree_arrays.read_leaf_values, estimators.build_interpolation(*classes)

    def read_expected_values(tree: Any) -> Array:
        values: Array = (tree_arrays.read_class_shares(tree) * classes).sum(axis=1)
        return values

    return read_expected_values, ()


def _build_link(model: Any, inputs: BundleInputs, path: str) -> estimators.Head:
    """Return the nodes from the sums over the trees to the prediction."""
    if hasattr(model, "classes_"):
        head = estimators.build_expected_value(estimators.read_class_values(model, inputs, path))
        if model.loss == "exponential":  # the probability of the second class is 1 / (1 + exp(-2 x))
            return (bundle_model.make_node("affine", gain=np.full(1, 2.0), shift=np.zeros(1)), *head)
        return head
    if model.loss in {"poisson", "gamma"}:  # both have a log link
        exp = activations.Activation(name="exp")
        return (bundle_model.make_node("affine", gain=np.ones(1), shift=np.zeros(1), activation=exp),)
    return ()


def _build_trees(
    expression: Expression,
    inputs: BundleInputs,
    arrays: tree_arrays.Arrays,
    *,
    base: Array,
    head: estimators.Head,
    rounded: bool,
) -> bundle_model.Trees:
    preprocessing, compiled = build_preprocessing(expression, inputs)
    if not compiled.nodes:
        feature = arrays["feature"]  # -1 at leaves
        arrays["feature"] = np.where(feature < 0, -1, compiled.sources[feature]).astype(np.int32)
    return bundle_model.Trees(
        **arrays,
        base=np.ascontiguousarray(base, dtype=np.float64),
        rounded=rounded,
        preprocessing=preprocessing,
        head=head,
    )
