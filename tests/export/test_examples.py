"""The official examples: the pickles predict what the same functions do, written with pandas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.bundle.storage import read
from builder.config import model as config_model
from configs.train import examples
from tests.support import official, pickles

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("example_model", "hello", "neutralization", "target_ensemble")
FEATURES = [f"feature_x{number}" for number in range(1, 51)]

each = pytest.mark.parametrize("name", NAMES)


def load_config(name: str) -> config_model.Config:
    return config_model.load(ROOT / "configs" / "examples" / f"{name}.yaml")


def find_bundle(example_config: config_model.Config) -> Path:
    """Return the bundle's folder of an example's config."""
    assert isinstance(example_config.bundle, Path)
    return example_config.bundle


def live(rows: int, *, seed: int = 3, is_int8: bool = False) -> pd.DataFrame:
    """Return live features with many duplicate rows, for ties; with NaN unless int8."""
    random = np.random.default_rng(seed)
    values = random.random((rows, 50)).astype(np.float32)
    if is_int8:
        values = random.integers(0, 2, size=values.shape).astype(np.int8)
    else:
        values[random.random(values.shape) < 0.02] = np.nan
    values[rows // 2 :] = values[random.integers(0, rows // 2, size=rows - rows // 2)]
    index = pd.Index([f"n{row:015x}" for row in range(rows)], name="id")
    frame = pd.DataFrame(values, index=index, columns=FEATURES)
    frame.insert(0, "era", [f"{era:04}" for era in random.integers(1, 9, size=rows)])
    return frame.iloc[:, [0, *random.permutation(50) + 1]]


def rank_limits(values: NDArray[np.float64], tolerance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and highest percent rank of each value if values within the tolerance may swap."""
    ordered = np.sort(values)
    lowest = np.searchsorted(ordered, values - tolerance, side="left") + 1
    highest = np.searchsorted(ordered, values + tolerance, side="right")
    return lowest / len(values), highest / len(values)


@each
@pytest.mark.parametrize("is_int8", [False, True])
def test_raw_predictions_are_equal(name: str, is_int8: bool) -> None:  # noqa: FBT001
    example_config = load_config(name)
    frame = live(1_200, is_int8=is_int8)
    raw = pickles.get_predict_raw(pickles.load_predict(read.read(find_bundle(example_config))))(frame, None)
    expected, _ = getattr(official, name)(official.load_boosters(find_bundle(example_config)), frame)
    assert np.abs(raw - expected).max() <= 1e-6 * np.ptp(expected)
    assert not np.abs(raw - expected).max()  # exactly, since both use the same LightGBM


@pytest.mark.parametrize("name", ["example_model", "hello", "target_ensemble"])
@pytest.mark.parametrize("is_int8", [False, True])
def test_final_predictions_are_equal_even_for_ties(name: str, is_int8: bool) -> None:  # noqa: FBT001
    example_config = load_config(name)
    frame = live(1_200, seed=8, is_int8=is_int8)
    predictions = pickles.load_predict(read.read(find_bundle(example_config)))(frame, None)
    _, expected = getattr(official, name)(official.load_boosters(find_bundle(example_config)), frame)
    pd.testing.assert_frame_equal(predictions, expected.to_frame("prediction"), check_exact=True)


def test_neutralized_ranks_differ_only_for_equal_values() -> None:
    example_config = load_config("neutralization")
    frame = live(1_200, seed=9, is_int8=True)
    models = official.load_boosters(find_bundle(example_config))
    predictions = pickles.load_predict(read.read(find_bundle(example_config)))(frame, None)["prediction"]
    raw, _ = official.neutralization(models, frame)
    values = official.neutralise(raw, frame[official.GROUP]).to_numpy()
    low, high = rank_limits(values, tolerance=1e-12 * np.ptp(values))  # equal rows differ by rounding
    assert ((predictions >= low - 1e-12) & (predictions <= high + 1e-12)).all()
    is_certain = low == high
    assert is_certain.any()
    assert not is_certain.all()


@each
def test_configs_match_bundles(name: str) -> None:
    example_config = load_config(name)
    bundle = read.read(find_bundle(example_config))
    assert example_config.name == name
    assert example_config.post == bundle.post
    assert bundle.features == tuple(FEATURES)
    assert bundle.trained["framework"] == "lightgbm"
    assert sum(path.stat().st_size for path in find_bundle(example_config).iterdir()) < 1_000_000


@each
def test_bundles_predict_their_golden_rows(name: str) -> None:
    bundle = read.read(find_bundle(load_config(name)))
    expected, bounds = prediction.predict_with_tolerances(bundle.model, bundle.golden.inputs.astype(np.float64))
    assert (np.abs(bundle.golden.predictions - expected) <= bounds).all()
    assert np.isnan(bundle.golden.inputs).any()


def test_ensemble_has_a_model_for_each_target() -> None:
    bundle = read.read(find_bundle(load_config("target_ensemble")))
    assert isinstance(bundle.model, bundle_model.Ensemble)
    assert [member.transform for member in bundle.model.members] == ["rank"] * 7
    assert bundle.trained["members"] == tuple(
        f"{target.removeprefix('target_')}: lightgbm {bundle.trained['version']}" for target in examples.TARGETS
    )


@each
def test_trained_and_exported_bundle_predicts_the_same(name: str, tmp_path: Path) -> None:
    """It trains on synthetic rows; tests/system trains on the tournament's."""
    example = next(example for example in examples.EXAMPLES if example.name == name)
    rows = live(240, seed=4, is_int8=True).assign(data_type="train")
    rows.loc[rows.index[160:], "data_type"] = "validation"
    target: Any = (rows["feature_x1"] | rows["feature_x2"]).astype("float32")
    rows = rows.assign(target=target, **dict.fromkeys(examples.TARGETS, target))
    examples.make(example, rows, tmp_path / name)
    bundle = read.read(tmp_path / name)
    assert bundle.post == read.read(find_bundle(load_config(name))).post
    frame = live(300, seed=5)
    predictions = pickles.get_predict_raw(pickles.load_predict(bundle))(frame, None)
    expected, _ = getattr(official, name)(official.load_boosters(tmp_path / name), frame)
    assert np.abs(predictions - expected).max() <= 1e-6 * np.ptp(expected)
