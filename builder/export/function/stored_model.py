"""Predict functions of models that are stored as data: their source, and that of what they use, goes into the bundle.

They are callable as the tournament calls a function, and use nothing of this tool outside of ``inside.predict``.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd

from builder.inside.predict.ensemble import transform_predictions


class StoredModel:
    """Predicts with a model of a library from the columns that it was trained on.

    Attributes:
        model: The fitted model.
        features: Names of the feature columns, in the order of the model's inputs.
        benchmarks: Names of the benchmark columns, which follow the features.
        imputation: float64 (n,), replaces missing inputs; None if the model accepts them.
        has_names: Whether the model was trained on a frame with these names, else on an array.
        method: The method that predicts: ``predict`` or ``predict_proba``.
        weights: float64 (outputs,): what each output counts; None for a model with one.
    """

    def __init__(
        self,
        model: Any,
        features: list[str],
        benchmarks: list[str],
        imputation: Any,
        weights: Any,
        *,
        has_names: bool,
        method: str,
    ) -> None:
        self.model = model
        self.features = features
        self.benchmarks = benchmarks
        self.imputation = imputation
        self.weights = weights
        self.has_names = has_names
        self.method = method

    def __call__(self, live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> pd.DataFrame:
        """Return the predictions, with the index of the live features."""
        inputs = live_features[self.features].astype("float64")
        if self.benchmarks:
            columns = live_benchmark_models[self.benchmarks].reindex(live_features.index)
            inputs = pd.concat([inputs, columns.astype("float64")], axis=1)
        if self.imputation is not None:
            filled = np.where(inputs.isna(), self.imputation, inputs)
            inputs = pd.DataFrame(filled, index=inputs.index, columns=inputs.columns)
        outputs = np.asarray(self.predict_outputs(inputs), dtype=np.float64)
        values = outputs.reshape(-1) if self.weights is None else outputs.reshape(len(inputs), -1) @ self.weights
        return pd.DataFrame({"prediction": values}, index=live_features.index)

    def predict_outputs(self, inputs: pd.DataFrame) -> Any:
        """Return what the model predicts for a frame of its inputs."""
        return getattr(self.model, self.method)(inputs if self.has_names else inputs.to_numpy())


class StoredModule(StoredModel):
    """Predicts with a PyTorch module whose ``forward`` takes all inputs as one float32 tensor."""

    def predict_outputs(self, inputs: pd.DataFrame) -> Any:
        """Return what the module predicts, in blocks of rows, since a module may need much memory for each."""
        import torch  # noqa: PLC0415 - only this class needs it, where the model is and in the image

        values = torch.from_numpy(inputs.to_numpy(dtype=np.float32))
        with torch.no_grad():
            return torch.cat(
                [self.model(values[start : start + 1024]) for start in range(0, len(values), 1024)]
            ).numpy()


class StoredKeras(StoredModel):
    """Predicts with a model of Keras from one float32 array, without its progress bar."""

    def predict_outputs(self, inputs: pd.DataFrame) -> Any:
        """Return what the model predicts."""
        return self.model.predict(inputs.to_numpy(dtype=np.float32), verbose=0)


class ScriptedModule:
    """A TorchScript module, which is loaded from its file when it is called first, since it cannot be pickled."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.module: Any = None

    def __call__(self, *inputs: Any) -> Any:
        """Return what the module computes."""
        if self.module is None:
            import torch  # noqa: PLC0415 - as above

            self.module = torch.jit.load(io.BytesIO(self.content)).eval()
        return self.module(*inputs)

    def __getstate__(self) -> dict[str, Any]:
        return {"content": self.content, "module": None}

    forward = __call__

    def eval(self) -> ScriptedModule:
        """Return the module, which is always in this mode."""
        return self


class OwnModel:
    """Predicts with a model of a class of the user, from the live features, and benchmark columns.

    Attributes:
        model: Has a method ``predict``.
        features: The columns of the live features that it takes; None for all, also those that are not features.
        has_names: Whether it takes a frame, else an array.
        benchmarks: Names of the benchmark columns that are added to the live features.
    """

    def __init__(self, model: Any, features: list[str] | None, benchmarks: list[str]) -> None:
        self.model = model
        self.features = features
        self.has_names = True
        self.benchmarks = benchmarks

    def __call__(self, live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> pd.DataFrame:
        """Return the predictions, with the index of the live features."""
        if self.features is not None:
            live_features = live_features[self.features]
        if self.benchmarks:
            columns = live_benchmark_models[self.benchmarks].reindex(live_features.index)
            live_features = pd.concat([live_features, columns], axis=1)
        predictions = self.model.predict(live_features if self.has_names else live_features.to_numpy(dtype=np.float64))
        if isinstance(predictions, (pd.DataFrame, pd.Series)):
            predictions = predictions.reindex(live_features.index)
        values = np.asarray(predictions, dtype=np.float64).reshape(len(live_features))
        return pd.DataFrame({"prediction": values}, index=live_features.index)


class Blend:
    """Predicts with an ensemble of functions.

    Attributes:
        members: ``predict``, the number of its ``arguments``, ``weight``, ``transform`` and ``scope`` of each.
    """

    def __init__(self, members: list[dict[str, Any]]) -> None:
        self.members = members

    def __call__(self, live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> pd.DataFrame:
        """Return the predictions, with the index of the live features."""
        total = np.zeros(len(live_features))
        for member in self.members:
            # A member may change its frames, which must not change what the next one predicts.
            frames = (live_features.copy(), live_benchmark_models.copy())
            predictions = member["predict"](*frames[: member["arguments"]]).iloc[:, 0].reindex(live_features.index)
            values = transform_predictions(member, predictions.to_numpy(dtype=np.float64), live_features)
            total += member["weight"] * values
        total /= sum(abs(member["weight"]) for member in self.members)
        return pd.DataFrame({"prediction": total}, index=live_features.index)
