"""Convert scikit-learn's linear models and networks.

A classifier predicts the expected value of its classes, the sum of p(class) * class: for the classes 0 and 1 that is
``predict_proba(X)[:, 1]``.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn import linear_model, neural_network
from sklearn.base import is_regressor

from builder import errors
from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.export import boosters
from builder.export.sklearn import compiler, expressions, steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.export.conversion import Array
    from builder.export.sklearn.expressions import BundleInputs, Expression

Head = tuple[bundle_model.Node, ...]
"""Nodes after the one value that a model predicts, each applied to the node before it."""

SIGMOID = activations.Activation(name="sigmoid")
EXP = activations.Activation(name="exp")

LOGISTIC = (linear_model.LogisticRegression,)
NETWORKS = (neural_network.MLPRegressor, neural_network.MLPClassifier)

_ACTIVATIONS: Mapping[str, str] = MappingProxyType(
    {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "exp": "exp"}
)


def read_class_values(model: Any, inputs: BundleInputs, path: str) -> Array:
    """Return the number that each class of a classifier counts as, its label by default: float64 (classes,).

    Raises:
        errors.ExportError: The classes are not numeric, or the model has several outputs.
    """
    classes = model.classes_
    if isinstance(classes, list) or (getattr(model, "n_outputs_", 1) != 1 and not isinstance(model, NETWORKS)):
        raise multiple_outputs_error(model, path)
    labels = np.asarray(classes).tolist()
    if inputs.class_values is not None:
        return np.array([inputs.class_values[label] for label in labels])
    if np.asarray(classes).dtype.kind not in "iufb":
        examples = ", ".join(map(repr, labels[:5]))
        raise errors.ExportError(
            f"{steps.describe(model, path)} has classes that are not numeric ({examples}), but the prediction is their "
            f"expected value; train on numbers, or pass output={labels[-1]!r} for the probability of that class"
        )
    return np.asarray(classes, dtype=np.float64)


def multiple_outputs_error(model: Any, path: str) -> errors.ExportError:
    """Return the error of a model with more than one target."""
    hint = "train on one target"
    if is_regressor(model):
        hint = 'pass output="mean" for their mean, or output=K for the one at index K, counted from 0'
    return errors.ExportError(
        f"{steps.describe(model, path)} has several outputs, but a bundle predicts one; {hint}, or {steps.ADVICE}"
    )


def reduce_outputs(values: Array, model: Any, inputs: BundleInputs, path: str) -> Array:
    """Return the numbers of the chosen output, or the mean over all: (..., outputs) to (..., 1).

    Raises:
        errors.ExportError: There are several outputs and none is chosen, or one that does not exist.
    """
    if inputs.output is not None:
        boosters.check_output(values.shape[-1], inputs.output)
    elif values.shape[-1] > 1:
        raise multiple_outputs_error(model, path)
    return values.mean(axis=-1, keepdims=True) if inputs.output == "mean" else values[..., [inputs.output or 0]]


def build_expected_value(values: Array) -> Head:
    """Return the nodes from a classifier's raw scores to the expected value of its classes.

    Args:
        values: float64 (classes,). Of two classes there is one score, that of the second; of more, one for each.
    """
    if len(values) > 2:
        last = bundle_model.make_node("dense", weights=values[:, None].copy(), bias=np.zeros(1))
        return (bundle_model.make_node("softmax"), last)
    probability = bundle_model.make_node("affine", gain=np.ones(1), shift=np.zeros(1), activation=SIGMOID)
    return (probability, *build_interpolation(*values))


def build_interpolation(low: float, high: float) -> Head:
    """Return the nodes from the probability of the second of two classes to their expected value."""
    if (low, high) == (0, 1):
        return ()
    return (bundle_model.make_node("affine", gain=np.array([high - low]), shift=np.array([low])),)


def find_link(model: Any) -> activations.Activation | None:
    """Return the activation if a regression predicts ``activation(X @ coef_ + intercept_)``; None if it does not.

    It compares the formula with the model's own predictions, so that it needs no list of linear models: identity for
    most, exp for a generalized linear model with a log link.
    """
    if not is_regressor(model) or not _has_coefficients(model):
        return None
    weights, bias = _read_coefficients(model)
    rows = _make_rows(model)
    predictions = np.asarray(steps.call_quietly(model.predict, rows), dtype=np.float64).reshape(len(rows), -1)
    scores = rows @ weights + bias
    if predictions.shape != scores.shape:
        return None
    tolerance = 1e-9 * (np.abs(rows) @ np.abs(weights) + np.abs(bias))  # float32 weights: predict computes in float64
    with np.errstate(over="ignore", invalid="ignore"):  # exp of a model that is not generalized
        candidates = ((activations.IDENTITY, scores, tolerance), (EXP, np.exp(scores), tolerance * np.exp(scores)))
        return next(
            (link for link, expected, bound in candidates if (np.abs(predictions - expected) <= bound).all()), None
        )


def is_logistic(model: Any) -> bool:
    """Return whether a classifier predicts the sigmoid or softmax of ``X @ coef_ + intercept_``.

    It compares the formula with the model's own predictions, as ``find_link``.
    """
    if not hasattr(model, "predict_proba") or not _has_coefficients(model):
        return False
    weights, bias = _read_coefficients(model)
    rows = _make_rows(model)
    scores = rows @ weights + bias
    if scores.shape[1] == 1:  # of the second of two classes
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    probabilities = np.asarray(steps.call_quietly(model.predict_proba, rows))
    return probabilities.shape == expected.shape and np.allclose(probabilities, expected, rtol=1e-9, atol=1e-12)


def _has_coefficients(model: Any) -> bool:
    """Return whether a model has ``intercept_`` and ``coef_``, with a number for each of its inputs."""
    # The coef_ of an SVR raises an error unless its kernel is linear.
    shape = np.shape(getattr(model, "coef_", ()))
    return hasattr(model, "intercept_") and bool(shape) and shape[-1] == model.n_features_in_


def _make_rows(model: Any) -> Array:
    """Return rows to compare predictions."""
    return np.random.default_rng(0).normal(size=(16, model.n_features_in_))


def convert_linear(
    model: Any, expression: Expression, inputs: BundleInputs, head: Head, path: str
) -> bundle_model.Model:
    """Convert a regression that has a link."""
    link = cast("activations.Activation", find_link(model))
    weights, bias = _read_coefficients(model)
    layer = _build_layer(
        reduce_outputs(weights, model, inputs, path), reduce_outputs(bias, model, inputs, path), link.name
    )
    return build_network(expression, inputs, (layer, *head))


def _read_coefficients(model: Any) -> tuple[Array, Array]:
    """Return the weights (features, outputs) and the bias (outputs,) of a linear model, both float64."""
    coefficients = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_  # after sparsify()
    weights = np.atleast_2d(np.asarray(coefficients, dtype=np.float64)).T
    bias = np.asarray(model.intercept_, dtype=np.float64).reshape(-1)
    if hasattr(model, "_x_mean"):  # a PLSRegression centres its inputs, and before scikit-learn 1.5 scales them too
        rows = np.eye(len(weights) + 1, len(weights), k=-1)  # zeros, then one input at a time
        bias, *units = np.asarray(steps.call_quietly(model.predict, rows), dtype=np.float64).reshape(len(rows), -1)
        weights = np.array(units) - bias
    return weights, np.broadcast_to(bias, weights.shape[1:]).copy()  # one 0 with fit_intercept=False


def convert_ada_boost(
    model: Any, expression: Expression, inputs: BundleInputs, head: Head, path: str
) -> bundle_model.Model:
    """Convert an AdaBoostRegressor of linear regressions.

    Raises:
        errors.ExportError: A member is not a linear regression.
    """
    other = next((member for member in model.estimators_ if find_link(member) is not activations.IDENTITY), None)
    if other is not None:
        raise errors.ExportError(
            f"{steps.describe(model, path)} has members of type {type(other).__name__}, but a bundle computes weighted "
            f"medians of decision trees and linear regressions only; {steps.ADVICE}"
        )
    weights, biases = zip(*map(_read_coefficients, model.estimators_), strict=True)
    layer = _build_layer(np.concatenate(weights, axis=1), np.concatenate(biases))
    return build_network(expression, inputs, (layer, build_median(model), *head))


def build_median(model: Any) -> bundle_model.Node:
    """Return the node from the predictions of an AdaBoostRegressor's members to their weighted median."""
    weights = np.asarray(model.estimator_weights_, dtype=np.float64)[: len(model.estimators_), None]
    # A power of 2 keeps the digits, which decide where the sum of some weights is exactly half of all.
    return bundle_model.make_node("median", weights=weights / 2.0 ** np.ceil(np.log2(weights.max())))


def convert_logistic(
    model: Any, expression: Expression, inputs: BundleInputs, head: Head, path: str
) -> bundle_model.Model:
    """Convert a logistic regression, or another model of its formula."""
    values = read_class_values(model, inputs, path)
    one_vs_rest = getattr(model, "multi_class", None) == "ovr" or getattr(model, "solver", None) == "liblinear"
    if one_vs_rest and len(values) > 2:
        raise errors.ExportError(
            f"{steps.describe(model, path)} fits each of {len(values)} classes separately (one versus rest), which a "
            "bundle does not support; train it with another solver, which fits them together (multinomial)"
        )
    layer = _build_layer(*_read_coefficients(model))
    return build_network(expression, inputs, (layer, *build_expected_value(values), *head))


def convert_perceptron(
    model: Any, expression: Expression, inputs: BundleInputs, head: Head, path: str
) -> bundle_model.Model:
    """Convert an MLPRegressor or MLPClassifier."""
    layers = [
        _build_layer(weights, bias, model.activation)
        for weights, bias in zip(model.coefs_, model.intercepts_, strict=True)
    ]
    layers[-1] = dataclasses.replace(layers[-1], activation=activations.IDENTITY)
    if isinstance(model, neural_network.MLPClassifier):
        values = read_class_values(model, inputs, path)
        if (
            layers[-1]["weights"].shape[1] != (1 if len(values) == 2 else len(values))
            or model.out_activation_ == "identity"
        ):
            raise multiple_outputs_error(model, path)
        if (
            model.out_activation_ == "logistic" and len(values) > 2
        ):  # multilabel: the outputs are independent probabilities
            raise multiple_outputs_error(model, path)
        return build_network(expression, inputs, (*layers, *build_expected_value(values), *head))
    weights, bias = (reduce_outputs(layers[-1][name], model, inputs, path) for name in ("weights", "bias"))
    layers[-1] = _build_layer(weights, bias, model.out_activation_)
    return build_network(expression, inputs, (*layers, *head))


def build_network(
    expression: Expression, inputs: BundleInputs, nodes: Sequence[bundle_model.Node]
) -> bundle_model.Network | bundle_model.Linear:
    """Return a model of nodes over an expression; the first node is a layer, and each takes the node before it.

    A single layer over the inputs becomes a ``Linear``.
    """
    expressions.require_no_missing(expression, inputs)
    compiled = compiler.compile_expression(expression, inputs, exact=False)
    first, *rest = _merge_affine(nodes)
    if not compiled.nodes and first.op == "dense":
        # Inputs that the pipeline drops get the weight 0; one that it repeats gets the sum of its weights.
        weights = np.zeros((len(inputs.names), first["weights"].shape[1]))
        np.add.at(weights, compiled.sources, first["weights"])
        first = first.with_arrays(weights=weights)
    imputation = np.where(np.isnan(compiled.imputation), inputs.imputation, compiled.imputation)
    linear_activations = ("identity", "sigmoid")
    if not (compiled.nodes or rest) and first.op == "dense" and first.activation.name in linear_activations:
        return bundle_model.Linear(
            weights=np.ascontiguousarray(first["weights"][:, 0]),
            bias=first["bias"],
            activation=first.activation,
            imputation=imputation,
            centre=compiled.centre,
            scale=compiled.scale,
        )
    layers = (*compiled.nodes, first, *rest)
    return bundle_model.Network(layers=layers, imputation=imputation, centre=compiled.centre, scale=compiled.scale)


def _build_layer(weights: Any, bias: Any, activation: str = "identity") -> bundle_model.Node:
    """Return a dense layer in float64; scikit-learn's weights are float32 if it was trained on float32."""
    bias = np.asarray(bias, dtype=np.float64)
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    return bundle_model.make_node(
        "dense",
        weights=weights,
        bias=np.broadcast_to(bias, weights.shape[1:]).copy(),
        activation=activations.Activation(name=_ACTIVATIONS[activation]),
    )


def _merge_affine(nodes: Sequence[bundle_model.Node]) -> list[bundle_model.Node]:
    """Merge each affine node after a dense layer without activation into that layer."""
    merged: list[bundle_model.Node] = []
    for node in nodes:
        previous = merged[-1] if merged else node
        if node.op == "affine" and previous.op == "dense" and previous.activation.name == "identity":
            layer = previous.with_arrays(
                weights=previous["weights"] * node["gain"], bias=previous["bias"] * node["gain"] + node["shift"]
            )
            merged[-1] = dataclasses.replace(layer, activation=node.activation)
        else:
            merged.append(node)
    return merged
