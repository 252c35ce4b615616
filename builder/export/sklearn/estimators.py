"""Convert scikit-learn's linear models and networks.

A classifier predicts the expected value of its classes, the sum of p(class) * class: for the classes 0 and 1 that is
``predict_proba(X)[:, 1]``.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import linear_model, neural_network, svm

from builder import errors
from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.export.sklearn import compiler, expressions, steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.export.conversion import Array
    from builder.export.sklearn.expressions import BundleInputs, Expression

Head = tuple[bundle_model.Node, ...]
"""Nodes after the one value that a model predicts, each applied to the node before it."""

SIGMOID = activations.Activation(name="sigmoid")

LINEAR = (
    linear_model.ARDRegression,
    linear_model.BayesianRidge,
    linear_model.ElasticNet,
    linear_model.ElasticNetCV,
    linear_model.HuberRegressor,
    linear_model.Lars,
    linear_model.LinearRegression,
    linear_model.OrthogonalMatchingPursuit,
    linear_model.OrthogonalMatchingPursuitCV,
    linear_model.QuantileRegressor,
    linear_model.Ridge,
    linear_model.RidgeCV,
    linear_model.LassoCV,
    linear_model.SGDRegressor,
    linear_model.TheilSenRegressor,
    svm.LinearSVR,
)
"""Models that predict ``X @ coef_ + intercept_``. Lasso is a subclass of ElasticNet, and LassoLars of Lars."""

LOGISTIC = (linear_model.LogisticRegression,)
NETWORKS = (neural_network.MLPRegressor, neural_network.MLPClassifier)

_ACTIVATIONS: Mapping[str, str] = MappingProxyType(
    {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "exp": "exp"}
)


def read_class_values(model: Any, path: str) -> Array:
    """Return the classes of a classifier as float64 (classes,).

    Raises:
        errors.ExportError: The classes are not numeric, or the model has several outputs.
    """
    classes = model.classes_
    if isinstance(classes, list) or (getattr(model, "n_outputs_", 1) != 1 and not isinstance(model, NETWORKS)):
        raise multiple_outputs_error(model, path)
    if np.asarray(classes).dtype.kind not in "iufb":
        examples = ", ".join(map(repr, np.asarray(classes).tolist()[:5]))
        raise errors.ExportError(
            f"{steps.describe(model, path)} has classes that are not numeric ({examples}), but the prediction is their "
            "expected value; train on numbers"
        )
    return np.asarray(classes, dtype=np.float64)


def multiple_outputs_error(model: Any, path: str) -> errors.ExportError:
    """Return the error of a model with more than one target."""
    return errors.ExportError(
        f"{steps.describe(model, path)} has several outputs, but a bundle predicts one; train on one target, or "
        f"{steps.ADVICE}"
    )


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


def convert_linear(
    model: Any, expression: Expression, inputs: BundleInputs, head: Head, path: str
) -> bundle_model.Model:
    """Convert a linear regression."""
    weights = np.asarray(model.coef_, dtype=np.float64)
    if weights.ndim > 1 and weights.shape[0] != 1:
        raise multiple_outputs_error(model, path)
    bias = np.asarray(model.intercept_, dtype=np.float64).reshape(-1)
    return build_network(expression, inputs, (_build_layer(weights.reshape(-1, 1), bias), *head))


def convert_logistic(
    model: Any, expression: Expression, inputs: BundleInputs, head: Head, path: str
) -> bundle_model.Model:
    """Convert a logistic regression."""
    values = read_class_values(model, path)
    one_vs_rest = getattr(model, "multi_class", None) == "ovr" or getattr(model, "solver", None) == "liblinear"
    if one_vs_rest and len(values) > 2:
        raise errors.ExportError(
            f"{steps.describe(model, path)} fits each of {len(values)} classes separately (one versus rest), which a "
            "bundle does not support; train it with another solver, which fits them together (multinomial)"
        )
    weights = np.asarray(model.coef_, dtype=np.float64).T
    bias = np.asarray(model.intercept_, dtype=np.float64).reshape(-1)
    return build_network(expression, inputs, (_build_layer(weights, bias), *build_expected_value(values), *head))


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
        values = read_class_values(model, path)
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
    if layers[-1]["weights"].shape[1] != 1:
        raise multiple_outputs_error(model, path)
    out = activations.Activation(name=_ACTIVATIONS[model.out_activation_])
    layers[-1] = dataclasses.replace(layers[-1], activation=out)
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
        bias=np.broadcast_to(bias, weights.shape[1:]).copy(),  # one 0 with fit_intercept=False
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
