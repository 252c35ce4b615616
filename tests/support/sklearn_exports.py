"""Export scikit-learn models, and compare the predictions of the framework, the bundle and the pickle."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_classifier

from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.bundle.storage import read
from builder.export import export
from tests.support import pickles

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = NDArray[np.float64]


def make_names(count: int) -> list[str]:
    """Return names of features."""
    return [f"feature_{index}" for index in range(count)]


def make_integers(rows: int, count: int, seed: int = 1) -> pd.DataFrame:
    """Return features like the tournament's: int8, 0 to 4."""
    values = np.random.default_rng(seed).integers(0, 5, size=(rows, count)).astype(np.int8)
    return pd.DataFrame(values, columns=make_names(count))


def make_floats(rows: int, count: int, seed: int = 1) -> pd.DataFrame:
    """Return float64 features of different scales."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, count)) * random.uniform(0.1, 30, size=count) + random.uniform(-9, 9, size=count)
    return pd.DataFrame(values, columns=make_names(count))


def set_missing(frame: pd.DataFrame, share: float = 0.1, seed: int = 2) -> pd.DataFrame:
    """Set a share of the values to NaN, but none in the first row."""
    values = frame.to_numpy(np.float64).copy()
    values[np.random.default_rng(seed).random(values.shape) < share] = np.nan
    values[0] = frame.to_numpy(np.float64)[0]
    return pd.DataFrame(values, columns=frame.columns)


def make_target(frame: pd.DataFrame, seed: int = 3) -> Array:
    """Return a target, 0 to 1, that depends on the features, not only linearly."""
    values = frame.fillna(frame.mean()).fillna(0).to_numpy(np.float64)
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9)
    random = np.random.default_rng(seed)
    score = values @ random.normal(size=values.shape[1]) + np.abs(values[:, 0]) + random.normal(size=len(values)) * 0.2
    scaled: Array = (score - score.min()) / (np.ptp(score) + 1e-9)
    return scaled


def make_classes(frame: pd.DataFrame, values: Sequence[float], seed: int = 3) -> NDArray[Any]:
    """Return a target of the given classes, each of which occurs."""
    labels: NDArray[Any] = np.asarray(values)[
        np.minimum((make_target(frame, seed) * len(values)).astype(int), len(values) - 1)
    ]
    labels[: len(values)] = values
    return labels


def predict_framework(model: Any, frame: Any) -> Array:
    """Return scikit-learn's predictions; of a classifier, the expected value of its classes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        warnings.filterwarnings("ignore", message="X has feature names, but")
        warnings.filterwarnings("ignore", message="Skipping features without any observed")
        if is_classifier(model):
            return np.asarray(model.predict_proba(frame) @ np.asarray(model.classes_, dtype=float))
        return np.asarray(model.predict(frame), dtype=np.float64)


def export_and_read(model: Any, sample: Any, **options: Any) -> bundle_model.Bundle:
    """Export a model, and read the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        export(model, path, sample=sample, **options)
        bundle = read.read(path)
        return dataclasses.replace(bundle, model=_load_files(bundle.model))


def _load_files(model: Any) -> Any:
    """Read the files of boosters into the model, since the folder is removed."""
    if isinstance(model, bundle_model.Ensemble):
        members = tuple(dataclasses.replace(member, model=_load_files(member.model)) for member in model.members)
        return dataclasses.replace(model, members=members)
    if isinstance(model, bundle_model.LightGbm) and isinstance(model.text, Path):
        return dataclasses.replace(model, text=model.text.read_bytes())
    if isinstance(model, (bundle_model.XgBoost, bundle_model.CatBoost)) and isinstance(model.content, Path):
        return dataclasses.replace(model, content=model.content.read_bytes())
    return model


def assert_agree(model: Any, sample: pd.DataFrame, *others: pd.DataFrame, **options: Any) -> bundle_model.Bundle:
    """Compare scikit-learn, the bundle and the pickle on the sample, on its first row, and on other frames."""
    bundle = export_and_read(model, sample, **options)
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))
    order = [*bundle.features, *bundle.benchmarks]
    expected = predict_framework(model, sample)
    bound = prediction.compute_tolerance(expected)
    for frame in (sample, sample.iloc[:1], *others):
        predictions = predict_framework(model, frame)
        inputs = frame[order].to_numpy(np.float64)
        np.testing.assert_allclose(prediction.predict(bundle.model, inputs), predictions, rtol=0, atol=bound)
        live = frame[list(bundle.features)]
        benchmarks = frame[list(bundle.benchmarks)] if bundle.benchmarks else None
        np.testing.assert_allclose(
            raw(live, benchmarks), predictions, rtol=0, atol=max(bound, prediction.compute_tolerance(predictions))
        )
    return bundle
