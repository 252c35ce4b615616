"""Attributes that are set after a definition, names that other code needs, and annotations of dataclasses."""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from builder.inside import predict_inputs
from tests.support import pickles
from tests.support.functions import FEATURES, export_and_read, sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

json = {"weight": 0.125}
abs = 0.5  # noqa: A001 - a name that other code of the bundle uses, as it happens in notebooks
LONG = {f"key_{index}": index / 400 for index in range(400)}


class Config:
    features = None
    weights: ClassVar[dict[str, float]] = {}
    scale = 1


Config.features = FEATURES  # type: ignore[assignment]
Config.weights["feature_0"] = 0.5
Config.training = sample()  # type: ignore[attr-defined]


class Ridge:
    weights: Any


def score(self: Ridge, inputs: Any) -> Any:
    return inputs.to_numpy(dtype=float) @ self.weights


Ridge.score = score  # type: ignore[attr-defined]
ridge = Ridge()
ridge.weights = np.array([0.1, 0.05, 0.02, 0.01])


@dataclass
class Step:
    factor: InitVar[float]
    _: KW_ONLY
    weight: float = 0.2
    shared: ClassVar[tuple[float, ...]] = (0.1, 0.3)

    def __post_init__(self, factor: float) -> None:
        self.weight *= factor


def from_class(live_features: pd.DataFrame) -> pd.DataFrame:
    values = live_features[Config.features].mean(axis=1) * Config.weights["feature_0"] * Config.scale / 4
    return values.to_frame("prediction")


def from_itself(live_features: pd.DataFrame) -> pd.DataFrame:
    return (live_features[FEATURES] @ from_itself.weights).to_frame("prediction")  # type: ignore[attr-defined]


from_itself.weights = np.full(4, 0.05)  # type: ignore[attr-defined]


def from_added_method(live_features: pd.DataFrame) -> pd.DataFrame:
    values = ridge.score(live_features[FEATURES])  # type: ignore[attr-defined]
    return pd.DataFrame({"prediction": values}, index=live_features.index)


def from_dataclass(live_features: pd.DataFrame) -> pd.DataFrame:
    step = Step(2.0, weight=0.4)
    count = len(dataclasses.fields(step))
    return (live_features["feature_0"] * step.weight * step.shared[0] / count).to_frame("prediction")


def shadow(live_features: pd.DataFrame) -> pd.DataFrame:
    values = live_features["feature_0"] * json["weight"] * abs + LONG["key_7"]
    return values.to_frame("prediction")


def predict_bundle(model: Any, folder: Path) -> Any:
    _, bundle = export_and_read(model, folder, rank=None)
    live = sample()[FEATURES].assign(era="0001")
    frames = (live, pd.DataFrame(index=live.index))
    return bundle, predict_inputs.call_predict(pickles.load_predict(bundle), *frames)


@pytest.mark.parametrize("function", [from_class, from_itself, from_added_method, from_dataclass])
def test_bundle_predicts_what_the_function_does(function: Callable[..., Any], tmp_path: Path) -> None:
    bundle, predictions = predict_bundle(function, tmp_path)
    np.testing.assert_allclose(predictions, function(sample())["prediction"], atol=1e-12)
    assert not any("training" in name for name in bundle.model.files)  # no function uses it


def test_names_of_builtins_and_modules(tmp_path: Path) -> None:
    _, predictions = predict_bundle([shadow, from_class], tmp_path)
    expected = (shadow(sample()) + from_class(sample()))["prediction"] / 2
    np.testing.assert_allclose(predictions, expected, atol=1e-12)
