"""Training the official examples again on the real rows reproduces the committed bundles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from builder.bundle.storage import read
from configs.train import examples, mlp, rows
from tests.support import official, pickles

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ROOT / "configs" / "bundles"


@pytest.fixture(scope="module")
def retrained(rows_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the bundles, trained as a person does, and the output of the script."""
    folder = tmp_path_factory.mktemp("examples")
    command = [sys.executable, "-m", "configs.train.examples", "--rows", str(rows_folder), "--out", str(folder)]
    result = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


each = pytest.mark.parametrize("example", examples.EXAMPLES, ids=[example.name for example in examples.EXAMPLES])


@each
def test_the_retrained_bundle_predicts_like_the_committed_one(
    retrained: tuple[Path, str], rows_folder: Path, example: examples.Example
) -> None:
    live = pd.read_parquet(rows_folder / "validation.parquet")
    new, committed = (read.read(folder / example.name) for folder in (retrained[0], BUNDLES))
    assert (new.features, new.post) == (committed.features, committed.post)
    ours, theirs = (pickles.get_predict_raw(pickles.load_predict(bundle))(live, None) for bundle in (new, committed))
    if new.trained["version"] == committed.trained["version"]:
        np.testing.assert_array_equal(ours, theirs)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9  # another version of LightGBM may choose other splits among equal ones


@each
def test_predictions_are_those_of_the_official_code(rows_folder: Path, example: examples.Example) -> None:
    live = pd.read_parquet(rows_folder / "validation.parquet")
    folder = BUNDLES / example.name
    predict = pickles.load_predict(read.read(folder))
    before, after = getattr(official, example.name)(official.load_boosters(folder), live)
    assert np.abs(pickles.get_predict_raw(predict)(live, None) - before).max() <= 1e-6 * np.ptp(before)
    predictions = predict(live, None)["prediction"]
    steps = (
        (predictions - after).abs() * len(live)
        if example.name != "example_model"
        else (predictions - after).abs() / np.ptp(before)
    )
    assert steps.max() < 1e-6


def test_the_exported_model_predicts_like_the_trained_one(retrained: tuple[Path, str], rows_folder: Path) -> None:
    training_rows = mlp.load(rows_folder, "train")
    model = examples.train(training_rows, "target")
    assert isinstance(model, lightgbm.LGBMRegressor)
    live = mlp.load(rows_folder, "validation")
    predictions = pickles.get_predict_raw(pickles.load_predict(read.read(retrained[0] / "example_model")))(live, None)
    np.testing.assert_array_equal(predictions, model.predict(live[list(mlp.feature_names(live))]))


def test_the_score_is_printed(retrained: tuple[Path, str]) -> None:
    assert retrained[1].count("correlation with target, era by era: mean ") == len(examples.EXAMPLES)


@each
def test_no_golden_row_is_a_row_of_the_tournament(rows_folder: Path, example: examples.Example) -> None:
    bundle = read.read(BUNDLES / example.name)
    frames = [pd.read_parquet(rows_folder / f"{stem}.parquet") for stem in rows.FILES]
    training_rows = pd.concat(frames)[list(bundle.features)].to_numpy("float64")
    for golden in bundle.golden.inputs:
        assert np.isclose(training_rows, golden, rtol=0, atol=1e-5).sum(axis=1).max() < len(bundle.features) // 2
