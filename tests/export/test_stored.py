"""Models that are stored as data: which columns, outputs and rows they are called with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import base, linear_model, neighbors, pipeline

from builder.inside import predict_inputs
from tests.support import pickles
from tests.support.functions import FEATURES, export_and_read, get_error, sample

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("one_thread")

X = sample()[FEATURES]
TARGET = X.to_numpy(dtype=float) @ [0.1, 0.05, 0.02, 0.01]
RIDGE = linear_model.Ridge().fit(X, TARGET)


class Clipped(lightgbm.LGBMRegressor):
    def predict(self, *arguments: Any, **options: Any) -> Any:
        return np.clip(super().predict(*arguments, **options), 0.2, 0.4)


class ByName(base.RegressorMixin, base.BaseEstimator):
    def predict(self, inputs: pd.DataFrame) -> Any:
        return inputs["feature_1"] / 4


class Wrapper:
    def __init__(self) -> None:
        self.ridge = RIDGE

    def predict(self, inputs: Any) -> Any:
        return self.ridge.predict(inputs)


class Line:
    def predict(self, inputs: Any) -> Any:
        return inputs[:, :2] @ [0.1, 0.05]


class Submission(Wrapper):
    def predict(self, inputs: Any, benchmarks: Any) -> Any:  # type: ignore[override]
        near = benchmarks["bench"].reindex(inputs.index).fillna(0.5)
        return (near / 2 + self.ridge.predict(inputs[FEATURES]) / 4).to_frame("prediction")


class Centred(torch.nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(inputs - inputs.mean(dim=0)).mean(dim=1)


def predict_bundle(model: Any, folder: Path, **options: Any) -> Any:
    _, bundle = export_and_read(model, folder, rank=None, **options)
    live = sample()
    frames = (live.drop(columns=["bench", "target"]).assign(data_type="live"), live[["bench"]])
    return predict_inputs.call_predict(pickles.load_predict(bundle), *frames)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Clipped(n_estimators=4, verbose=-1, n_jobs=1).fit(X.to_numpy(), TARGET), None),
        (ByName(), X["feature_1"] / 4),
        (Wrapper(), RIDGE.predict(X)),
        (Line(), X.iloc[:, :2] @ [0.1, 0.05]),
        (Submission(), sample()["bench"] / 2 + RIDGE.predict(X) / 4),
    ],
    ids=["names that LightGBM made up", "columns by name", "no era", "an array", "both frames"],
)
def test_model_gets_the_inputs_that_it_takes(model: Any, expected: Any, tmp_path: Path) -> None:
    options = {"benchmark": "bench"} if isinstance(model, Submission) else {}
    if expected is None:
        expected = model.predict(X.to_numpy())
    np.testing.assert_allclose(predict_bundle(model, tmp_path, **options), expected, atol=1e-9)


def test_probability_of_one_class(tmp_path: Path) -> None:
    model = neighbors.KNeighborsClassifier(20).fit(X, np.array([3, 5, 7])[X["feature_0"] % 3])
    np.testing.assert_array_equal(predict_bundle(model, tmp_path, output="5"), model.predict_proba(X)[:, 1])


def test_module_that_mixes_rows_is_refused(tmp_path: Path) -> None:
    message = get_error(Centred(), tmp_path)
    assert "stored as data, it fails too: the module predicts something else for a row when" in message


def test_member_that_changes_its_frame_does_not_change_the_next(tmp_path: Path) -> None:
    def scale(live_features: pd.DataFrame) -> pd.DataFrame:
        live_features[FEATURES] = live_features[FEATURES] / 4
        return live_features[FEATURES].mean(axis=1).to_frame("prediction")

    expected = (X.mean(axis=1) / 4 + RIDGE.predict(X)) / 2
    np.testing.assert_allclose(predict_bundle([scale, RIDGE], tmp_path), expected, atol=1e-9)


def test_output_of_a_function_is_refused(tmp_path: Path) -> None:
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        return (live_features[["feature_0"]] / 4).set_axis(["prediction"], axis=1)

    assert "member 1: invalid value 0 for output; a function has no outputs" in get_error(
        [RIDGE, predict], tmp_path, output=[None, 0]
    )


def test_path_in_an_object_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = pipeline.make_pipeline(linear_model.Ridge(), memory=str(tmp_path / "cache")).fit(X, TARGET)

    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"prediction": model.predict(live_features[FEATURES])}, index=live_features.index)

    result, _ = export_and_read(predict, tmp_path)
    assert [note for note in result.notes if note.startswith("`model` has the path") and "image does not have" in note]
