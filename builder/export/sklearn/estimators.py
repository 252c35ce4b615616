"""scikit-learn's linear models and networks, after what a pipeline does to their inputs.

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
from builder.export.sklearn import flow, steps
from builder.export.sklearn import front as sklearn_front

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.export.conversion import Array

Tail = tuple[bundle_model.Node, ...]
"""Nodes over the one value that a model predicts, each taking the node before it."""

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
"""Those that predict ``X @ coef_ + intercept_``; Lasso is an ElasticNet, and the rest of Lars' family are Lars."""

LOGISTIC = (linear_model.LogisticRegression,)
NETWORKS = (neural_network.MLPRegressor, neural_network.MLPClassifier)

_ACTIVATIONS: Mapping[str, str] = MappingProxyType(
    {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "exp": "exp"}
)


def class_values(model: Any, at: str) -> Array:
    """Return the classes of a classifier as float64 (classes,).

    Raises:
        errors.ExportError: They are no numbers, or it has several outputs.
    """
    classes = model.classes_
    if isinstance(classes, list) or (getattr(model, "n_outputs_", 1) != 1 and not isinstance(model, NETWORKS)):
        raise several_outputs(model, at)
    if np.asarray(classes).dtype.kind not in "iufb":
        shown = ", ".join(map(repr, np.asarray(classes).tolist()[:5]))
        raise errors.ExportError(
            f"{steps.place(model, at)} has classes that are no numbers ({shown}), and what is predicted is their "
            "expected value; train on numbers"
        )
    return np.asarray(classes, dtype=np.float64)


def several_outputs(model: Any, at: str) -> errors.ExportError:
    """Return the error of a model with more than one target."""
    where = steps.place(model, at)
    return errors.ExportError(
        f"{where} has several outputs, and a bundle predicts one; train on one target, or {steps.WAY_OUT}"
    )


def expected(values: Array) -> Tail:
    """Return the nodes from a classifier's raw scores to the expected value of its classes.

    Args:
        values: float64 (classes,). With two there is one score, of the second; with more, one each.
    """
    if len(values) > 2:
        last = bundle_model.make_node("dense", weights=values[:, None].copy(), bias=np.zeros(1))
        return (bundle_model.make_node("softmax"), last)
    share = bundle_model.make_node("affine", gain=np.ones(1), shift=np.zeros(1), activation=SIGMOID)
    return (share, *between(*values))


def between(low: float, high: float) -> Tail:
    """Return the nodes from the share of the second of two classes to their expected value."""
    if (low, high) == (0, 1):
        return ()
    return (bundle_model.make_node("affine", gain=np.array([high - low]), shift=np.array([low])),)


def linear(model: Any, expression: flow.Expression, inputs: flow.Inputs, tail: Tail, at: str) -> bundle_model.Model:
    """Translate a linear regression."""
    weights = np.asarray(model.coef_, dtype=np.float64)
    if weights.ndim > 1 and weights.shape[0] != 1:
        raise several_outputs(model, at)
    bias = np.asarray(model.intercept_, dtype=np.float64).reshape(-1)
    return network(expression, inputs, (_layer(weights.reshape(-1, 1), bias), *tail))


def logistic(model: Any, expression: flow.Expression, inputs: flow.Inputs, tail: Tail, at: str) -> bundle_model.Model:
    """Translate a logistic regression."""
    values = class_values(model, at)
    one_by_one = getattr(model, "multi_class", None) == "ovr" or getattr(model, "solver", None) == "liblinear"
    if one_by_one and len(values) > 2:
        raise errors.ExportError(
            f"{steps.place(model, at)} fits each of {len(values)} classes by itself (one versus rest), which a bundle "
            "cannot hold; train it with another solver, as multinomial"
        )
    weights = np.asarray(model.coef_, dtype=np.float64).T
    bias = np.asarray(model.intercept_, dtype=np.float64).reshape(-1)
    return network(expression, inputs, (_layer(weights, bias), *expected(values), *tail))


def perceptron(model: Any, expression: flow.Expression, inputs: flow.Inputs, tail: Tail, at: str) -> bundle_model.Model:
    """Translate scikit-learn's own networks."""
    layers = [
        _layer(weights, bias, model.activation) for weights, bias in zip(model.coefs_, model.intercepts_, strict=True)
    ]
    layers[-1] = dataclasses.replace(layers[-1], activation=activations.IDENTITY)
    if isinstance(model, neural_network.MLPClassifier):
        values = class_values(model, at)
        if (
            layers[-1]["weights"].shape[1] != (1 if len(values) == 2 else len(values))
            or model.out_activation_ == "identity"
        ):
            raise several_outputs(model, at)
        if model.out_activation_ == "logistic" and len(values) > 2:  # several labels at once
            raise several_outputs(model, at)
        return network(expression, inputs, (*layers, *expected(values), *tail))
    if layers[-1]["weights"].shape[1] != 1:
        raise several_outputs(model, at)
    out = activations.Activation(name=_ACTIVATIONS[model.out_activation_])
    layers[-1] = dataclasses.replace(layers[-1], activation=out)
    return network(expression, inputs, (*layers, *tail))


def network(
    expression: flow.Expression, inputs: flow.Inputs, nodes: Sequence[bundle_model.Node]
) -> bundle_model.Network | bundle_model.Linear:
    """Return nodes over an expression, each taking the node before it, the first being a layer, as a model.

    One layer right over the inputs is a ``Linear``.
    """
    flow.require(expression, inputs)
    front = sklearn_front.finish(expression, inputs, exact=False)
    first, *rest = _folded(nodes)
    if not front.nodes and first.op == "dense":
        # Inputs that the pipeline drops have no weight.
        weights = np.zeros((len(inputs.names), first["weights"].shape[1]))
        np.add.at(weights, front.sources, first["weights"])
        first = first.with_arrays(weights=weights)
    imputation = np.where(np.isnan(front.imputation), inputs.imputation, front.imputation)
    linear_kinds = ("identity", "sigmoid")
    if not (front.nodes or rest) and first.op == "dense" and first.activation.name in linear_kinds:
        return bundle_model.Linear(
            weights=np.ascontiguousarray(first["weights"][:, 0]),
            bias=first["bias"],
            activation=first.activation,
            imputation=imputation,
            centre=front.centre,
            scale=front.scale,
        )
    layers = (*front.nodes, first, *rest)
    return bundle_model.Network(layers=layers, imputation=imputation, centre=front.centre, scale=front.scale)


def _layer(weights: Any, bias: Any, activation: str = "identity") -> bundle_model.Node:
    """Return a dense layer in float64; scikit-learn trains in float32 where it is given that."""
    bias = np.asarray(bias, dtype=np.float64)
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    return bundle_model.make_node(
        "dense",
        weights=weights,
        bias=np.broadcast_to(bias, weights.shape[1:]).copy(),  # fit_intercept=False leaves one zero
        activation=activations.Activation(name=_ACTIVATIONS[activation]),
    )


def _folded(nodes: Sequence[bundle_model.Node]) -> list[bundle_model.Node]:
    """Return the nodes with what is affine after a layer taken into it."""
    found: list[bundle_model.Node] = []
    for node in nodes:
        before = found[-1] if found else node
        if node.op == "affine" and before.op == "dense" and before.activation.name == "identity":
            joined = before.with_arrays(
                weights=before["weights"] * node["gain"], bias=before["bias"] * node["gain"] + node["shift"]
            )
            found[-1] = dataclasses.replace(joined, activation=node.activation)
        else:
            found.append(node)
    return found
