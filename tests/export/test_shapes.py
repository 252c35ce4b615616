"""The ten shapes in which people write predict functions, each exported from a notebook by one call."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import numpy as np
import pytest

from builder.bundle.storage import read
from tests.support import notebooks, pickles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ("barebones", "predict"),
        ("target_ensemble", "predict_ensemble"),
        ("feature_neutral", "predict_neutral"),
        ("xgboost_factory", "predict"),
        ("stack", "predict_stack"),
        ("stack", "predict_by_hand"),
        ("callable_class", "predictor"),
        ("numpy_network", "predict"),
        ("own_wrapper", "predict"),
        ("torch_classes", "predictor"),
        ("torch_classes", "predict_closure"),
        ("engineered", "predict"),
    ],
)
@pytest.mark.usefixtures("one_thread")
def test_a_bundle_predicts_what_the_function_does(
    shape: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = notebooks.export_function(shape, name, tmp_path, monkeypatch)
    frames = notebooks.make_frames(60, np.random.default_rng(6))
    expected = predict(*frames[: len(inspect.signature(predict).parameters)])
    loaded = pickles.load_predict(read.read(tmp_path / "mine"))
    predictions = loaded(*frames[: len(inspect.signature(loaded).parameters)])
    assert expected["prediction"].nunique() > 10
    np.testing.assert_allclose(predictions["prediction"], expected["prediction"], atol=1e-12)
    assert predictions.index.equals(frames[0].index)
