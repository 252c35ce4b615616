"""scikit-learn's objects exported, and what the framework, the reference and the unpickled predict say of them."""

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


def names(count: int) -> list[str]:
    """Return names of features."""
    return [f"feature_{place}" for place in range(count)]


def whole(rows: int, count: int, seed: int = 1) -> pd.DataFrame:
    """Return features as the tournament has them: int8, 0 to 4."""
    values = np.random.default_rng(seed).integers(0, 5, size=(rows, count)).astype(np.int8)
    return pd.DataFrame(values, columns=names(count))


def spread(rows: int, count: int, seed: int = 1) -> pd.DataFrame:
    """Return float64 features of unlike sizes."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, count)) * random.uniform(0.1, 30, size=count) + random.uniform(-9, 9, size=count)
    return pd.DataFrame(values, columns=names(count))


def holed(frame: pd.DataFrame, share: float = 0.1, seed: int = 2) -> pd.DataFrame:
    """Return the frame with NaN in places, at least one row without any."""
    values = frame.to_numpy(np.float64).copy()
    values[np.random.default_rng(seed).random(values.shape) < share] = np.nan
    values[0] = frame.to_numpy(np.float64)[0]
    return pd.DataFrame(values, columns=frame.columns)


def target(frame: pd.DataFrame, seed: int = 3) -> Array:
    """Return a target that depends on the features, not in a line alone; 0 to 1."""
    values = frame.fillna(frame.mean()).fillna(0).to_numpy(np.float64)
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9)
    random = np.random.default_rng(seed)
    score = values @ random.normal(size=values.shape[1]) + np.abs(values[:, 0]) + random.normal(size=len(values)) * 0.2
    scaled: Array = (score - score.min()) / (np.ptp(score) + 1e-9)
    return scaled


def classes(frame: pd.DataFrame, values: Sequence[float], seed: int = 3) -> NDArray[Any]:
    """Return a target of so many classes, all of them there."""
    found: NDArray[Any] = np.asarray(values)[
        np.minimum((target(frame, seed) * len(values)).astype(int), len(values) - 1)
    ]
    found[: len(values)] = values
    return found


def framework_says(model: Any, frame: Any) -> Array:
    """Return what scikit-learn itself predicts; of a classifier, its classes weighted by their probabilities."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        warnings.filterwarnings("ignore", message="X has feature names, but")
        warnings.filterwarnings("ignore", message="Skipping features without any observed")
        if is_classifier(model):
            return np.asarray(model.predict_proba(frame) @ np.asarray(model.classes_, dtype=float))
        return np.asarray(model.predict(frame), dtype=np.float64)


def exported(model: Any, sample: Any, **options: Any) -> bundle_model.Bundle:
    """Return the bundle of a model, written and read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        export(model, path, sample=sample, **options)
        bundle = read.read(path)
        return dataclasses.replace(bundle, model=_held(bundle.model))


def _held(model: Any) -> Any:
    """Return the model with the texts of boosters in it, not in the folder."""
    if isinstance(model, bundle_model.Ensemble):
        members = tuple(dataclasses.replace(member, model=_held(member.model)) for member in model.members)
        return dataclasses.replace(model, members=members)
    if isinstance(model, bundle_model.LightGbm) and isinstance(model.text, Path):
        return dataclasses.replace(model, text=model.text.read_bytes())
    return model


def assert_agree(model: Any, sample: pd.DataFrame, *others: pd.DataFrame, **options: Any) -> bundle_model.Bundle:
    """Export a model; it, the reference and the unpickled predict agree on the sample, on its first row, on others."""
    bundle = exported(model, sample, **options)
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))
    order = [*bundle.features, *bundle.benchmarks]
    expected = framework_says(model, sample)
    bound = prediction.compute_tolerance(expected)
    for frame in (sample, sample.iloc[:1], *others):
        says = framework_says(model, frame)
        inputs = frame[order].to_numpy(np.float64)
        np.testing.assert_allclose(prediction.predict(bundle.model, inputs), says, rtol=0, atol=bound)
        live = frame[list(bundle.features)]
        benchmarks = frame[list(bundle.benchmarks)] if bundle.benchmarks else None
        np.testing.assert_allclose(
            raw(live, benchmarks), says, rtol=0, atol=max(bound, prediction.compute_tolerance(says))
        )
    return bundle
