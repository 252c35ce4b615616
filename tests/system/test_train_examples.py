"""The official examples trained anew on the real rows: the committed bundles come out again."""

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
def made(fetched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the bundles, made as a person does, and what was printed."""
    folder = tmp_path_factory.mktemp("examples")
    command = [sys.executable, "-m", "configs.train.examples", "--rows", str(fetched), "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


each = pytest.mark.parametrize("example", examples.EXAMPLES, ids=[one.name for one in examples.EXAMPLES])


@each
def test_the_remade_bundle_predicts_the_real_rows_as_the_committed_one(
    made: tuple[Path, str], fetched: Path, example: examples.Example
) -> None:
    live = pd.read_parquet(fetched / "validation.parquet")
    remade, committed = (read.read(folder / example.name) for folder in (made[0], BUNDLES))
    assert (remade.features, remade.post) == (committed.features, committed.post)
    ours, theirs = (pickles.get_predict_raw(pickles.load_predict(bundle))(live, None) for bundle in (remade, committed))
    if remade.trained["version"] == committed.trained["version"]:
        np.testing.assert_array_equal(ours, theirs)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9  # another LightGBM may break ties between splits in another way


@each
def test_real_rows_are_predicted_as_by_the_straightforward_version(fetched: Path, example: examples.Example) -> None:
    live = pd.read_parquet(fetched / "validation.parquet")
    folder = BUNDLES / example.name
    predict = pickles.load_predict(read.read(folder))
    before, after = getattr(official, example.name)(official.load_boosters(folder), live)
    assert np.abs(pickles.get_predict_raw(predict)(live, None) - before).max() <= 1e-6 * np.ptp(before)
    got = predict(live, None)["prediction"]
    steps = (got - after).abs() * len(live) if example.name != "example_model" else (got - after).abs() / np.ptp(before)
    assert steps.max() < 1e-6


def test_the_trained_model_itself_is_what_is_exported(made: tuple[Path, str], fetched: Path) -> None:
    known = mlp.load(fetched, "train")
    model = examples.train(known, "target")
    assert isinstance(model, lightgbm.LGBMRegressor)
    live = mlp.load(fetched, "validation")
    got = pickles.get_predict_raw(pickles.load_predict(read.read(made[0] / "example_model")))(live, None)
    np.testing.assert_array_equal(got, model.predict(live[list(mlp.feature_names(live))]))


def test_the_score_is_printed(made: tuple[Path, str]) -> None:
    assert made[1].count("correlation with target, era by era: mean ") == len(examples.EXAMPLES)


@each
def test_no_golden_row_is_a_row_of_the_tournament(fetched: Path, example: examples.Example) -> None:
    bundle = read.read(BUNDLES / example.name)
    frames = [pd.read_parquet(fetched / f"{stem}.parquet") for stem in rows.FILES]
    known = pd.concat(frames)[list(bundle.features)].to_numpy("float64")
    for golden in bundle.golden.inputs:
        assert np.isclose(known, golden, rtol=0, atol=1e-5).sum(axis=1).max() < len(bundle.features) // 2
