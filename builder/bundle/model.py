"""What a bundle holds: frozen values whose arrays are never written to.

``n`` stands for the number of inputs: the features, then the benchmark columns. An array may be float32 or float64,
each by itself; it is kept as it is, C-contiguous and in the machine's byte order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder import post as postprocessing
    from builder.bundle import activations

Floats = NDArray[np.float32 | np.float64]
Fact = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One dense layer: ``activation(x @ weights + bias)``.

    Attributes:
        weights: float32 or float64 (n_in, n_out). PyTorch and ONNX's Gemm keep the transpose of it.
        bias: float32 or float64 (n_out,).
        activation: What is done to each output.
    """

    weights: Floats
    bias: Floats
    activation: activations.Activation


@dataclass(frozen=True, kw_only=True, eq=False)
class Mlp:
    """A network of dense layers over n inputs, with what is done to the inputs first.

    An input that is NaN becomes its imputation; then ``(x - centre) / scale``; then the layers, the last of which has
    one output.

    Attributes:
        layers: One or more; the first takes n inputs.
        imputation: float32 or float64 (n,), in the inputs' own units, within 1e6 of zero.
        centre: float32 or float64 (n,), in the inputs' own units, within 1e6 of zero.
        scale: float32 or float64 (n,), from 1e-9 to 1e9.
    """

    layers: tuple[Layer, ...]
    imputation: Floats
    centre: Floats
    scale: Floats


Model = Mlp


@dataclass(frozen=True, kw_only=True, eq=False)
class Golden:
    """Some rows, and what the framework that trained the model predicts for them.

    Attributes:
        inputs: float32 or float64 (rows, n) with at least one row: features, then benchmark columns, in the bundle's
            order and in their own units; NaN where missing.
        predictions: float64 (rows,): what the framework predicted, before post-processing.
    """

    inputs: Floats
    predictions: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A trained model, all that it takes to predict with it, and rows to prove it by.

    Attributes:
        features: Distinct names of the feature columns, in the order of the model's inputs.
        benchmarks: Distinct names of benchmark columns that are inputs after the features; often none.
        model: The numbers.
        golden: Rows to prove the prediction by.
        post: Steps done to the predictions, in order; often one rank per era.
        trained: Where it came from: framework, version, seed, scores and the like. A value is a string, a number, a
            boolean or a tuple of strings; no path, user or host, since bundles are shared.
    """

    features: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()
    model: Model
    golden: Golden
    post: tuple[postprocessing.Step, ...] = ()
    trained: Mapping[str, Fact] = field(default_factory=dict)


def parameters(model: Model) -> int:
    """Return how many trained numbers the model has: weights and biases, not the treatment of the inputs."""
    return sum(layer.weights.size + layer.bias.size for layer in model.layers)
