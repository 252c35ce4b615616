"""Networks, and linear models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tests.support.formulas import activations, nodes

if TYPE_CHECKING:
    from builder.bundle import model as bundle_model

Array = NDArray[np.float64]


def predict(model: bundle_model.Network, inputs: Array) -> Array:
    """Return what a network predicts: float64 (rows,)."""
    return nodes.run_nodes(model.layers, _scaled(model, inputs))[:, 0].copy()


def predict_linear(model: bundle_model.Linear, inputs: Array) -> Array:
    """Return what a linear model predicts: float64 (rows,)."""
    values = _scaled(model, inputs) @ model.weights.astype(np.float64) + model.bias.astype(np.float64)
    return activations.activate(model.activation, values)


def _scaled(model: bundle_model.Network | bundle_model.Linear, inputs: Array) -> Array:
    """Return the inputs imputed, centred and scaled: float64 (rows, n)."""
    expected = model.imputation.shape[0]
    if inputs.ndim != 2 or inputs.shape[1] != expected:
        raise ValueError(f"inputs are {inputs.shape}, the model takes (rows, {expected})")
    return nodes.scaled(inputs, imputation=model.imputation, centre=model.centre, scale=model.scale)
