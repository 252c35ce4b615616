"""What models predict and what post-processing does, as the formulas are printed: independent of the predict source.

One step after the other in plain float64: nothing is folded, no float32, no blocks.
A LightGBM booster is run by its library.
"""

from __future__ import annotations

import gzip
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from builder.bundle import model as bundle_model
from tests.support.formulas import activations, ensemble, network, nodes, trees

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Array", "activations", "network", "nodes", "predict"]

Array = NDArray[np.float64]


def _lightgbm(model: bundle_model.LightGbm, inputs: Array) -> Array:
    """Return what a booster predicts: float64 (rows,); inputs with categories are their positions in the lists."""
    import lightgbm

    prepared = nodes.prepared(model.preprocessing, inputs)
    values = prepared.copy()
    for categories in model.categories:
        for column in categories.inputs:
            values[:, column] = np.nan
            for position, value in enumerate(categories.values):
                values[prepared[:, column] == value, column] = position
    text = model.text if isinstance(model.text, bytes) else model.text.read_bytes()
    outputs = lightgbm.Booster(model_str=gzip.decompress(text).decode()).predict(values)
    return nodes.run_nodes(model.head, np.asarray(outputs).reshape(len(values), -1))[:, 0].copy()


_KINDS: Mapping[type, Callable[[Any, Array], Array]] = MappingProxyType(
    {
        bundle_model.Network: network.predict,
        bundle_model.Linear: network.predict_linear,
        bundle_model.Trees: trees.predict,
        bundle_model.LightGbm: _lightgbm,
    }
)


def predict(model: bundle_model.Model, inputs: Array, *, eras: NDArray[Any] | None = None) -> Array:
    """Predict before post-processing.

    Args:
        model: The model, its arrays float32 or float64.
        inputs: float64 (rows, n): features, then benchmark columns, in their own units; NaN where missing.
        eras: Which era each row is of (rows,), for ensembles that go by it; None: all are one.

    Returns:
        float64 (rows,). Not finite where the numbers leave float64's range.
    """
    if isinstance(model, bundle_model.Ensemble):
        predictions = [predict(item.model, ensemble.inputs_of(item, model, inputs)) for item in model.members]
        return ensemble.combine(model, predictions, eras)
    with np.errstate(over="ignore", invalid="ignore"):
        return _KINDS[type(model)](model, inputs)
