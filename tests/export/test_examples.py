"""The official examples, side by side: our pickles against the same functions written straightforwardly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.bundle.storage import read
from builder.config import model as config
from configs.train import examples
from tests.support import official, pickles

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("example_model", "hello", "neutralization", "target_ensemble")
FEATURES = [f"feature_x{number}" for number in range(1, 51)]

each = pytest.mark.parametrize("name", NAMES)


def chosen(name: str) -> config.Config:
    return config.load(ROOT / "configs" / "examples" / f"{name}.yaml")


def bundle_of(settings: config.Config) -> Path:
    """Return the folder that an example's config names."""
    assert isinstance(settings.bundle, Path)
    return settings.bundle


def live(rows: int, *, seed: int = 3, whole: bool = False) -> pd.DataFrame:
    """Return live features: many of the rows are there twice or more, for ties; with NaN unless whole numbers."""
    random = np.random.default_rng(seed)
    values = random.random((rows, 50)).astype(np.float32)
    if whole:
        values = random.integers(0, 2, size=values.shape).astype(np.int8)
    else:
        values[random.random(values.shape) < 0.02] = np.nan
    values[rows // 2 :] = values[random.integers(0, rows // 2, size=rows - rows // 2)]
    index = pd.Index([f"n{row:015x}" for row in range(rows)], name="id")
    frame = pd.DataFrame(values, index=index, columns=FEATURES)
    frame.insert(0, "era", [f"{era:04}" for era in random.integers(1, 9, size=rows)])
    return frame.iloc[:, [0, *random.permutation(50) + 1]]


def open_to(values: NDArray[np.float64], near: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and highest percent rank that each value may have when those so near may change places."""
    ordered = np.sort(values)
    lowest = np.searchsorted(ordered, values - near, side="left") + 1
    highest = np.searchsorted(ordered, values + near, side="right")
    return lowest / len(values), highest / len(values)


@each
@pytest.mark.parametrize("whole", [False, True])
def test_before_post_processing_nothing_differs(name: str, whole: bool) -> None:  # noqa: FBT001
    settings = chosen(name)
    frame = live(1_200, whole=whole)
    raw = pickles.get_predict_raw(pickles.load_predict(read.read(bundle_of(settings))))(frame, None)
    expected, _ = getattr(official, name)(official.load_boosters(bundle_of(settings)), frame)
    assert np.abs(raw - expected).max() <= 1e-6 * np.ptp(expected)
    assert not np.abs(raw - expected).max()  # and, the library being the same, not even that


@pytest.mark.parametrize("name", ["example_model", "hello", "target_ensemble"])
@pytest.mark.parametrize("whole", [False, True])
def test_after_it_nothing_differs_ties_included(name: str, whole: bool) -> None:  # noqa: FBT001
    settings = chosen(name)
    frame = live(1_200, seed=8, whole=whole)
    got = pickles.load_predict(read.read(bundle_of(settings)))(frame, None)
    _, expected = getattr(official, name)(official.load_boosters(bundle_of(settings)), frame)
    pd.testing.assert_frame_equal(got, expected.to_frame("prediction"), check_exact=True)


def test_neutralised_ranks_differ_nowhere_that_the_values_do_not() -> None:
    settings = chosen("neutralization")
    frame = live(1_200, seed=9, whole=True)
    models = official.load_boosters(bundle_of(settings))
    got = pickles.load_predict(read.read(bundle_of(settings)))(frame, None)["prediction"]
    raw, _ = official.neutralization(models, frame)
    values = official.neutralise(raw, frame[official.GROUP]).to_numpy()
    low, high = open_to(values, near=1e-12 * np.ptp(values))  # rows that are alike in all that matters are so near
    assert ((got >= low - 1e-12) & (got <= high + 1e-12)).all()
    alone = low == high
    assert alone.any()
    assert not alone.all()


@each
def test_the_configs_say_what_the_bundles_say(name: str) -> None:
    settings = chosen(name)
    made = read.read(bundle_of(settings))
    assert settings.name == name
    assert settings.post == made.post
    assert made.features == tuple(FEATURES)
    assert made.trained["framework"] == "lightgbm"
    assert sum(path.stat().st_size for path in bundle_of(settings).iterdir()) < 1_000_000


@each
def test_the_bundles_predict_their_golden_rows(name: str) -> None:
    made = read.read(bundle_of(chosen(name)))
    expected, bounds = prediction.predict_with_tolerances(made.model, made.golden.inputs.astype(np.float64))
    assert (np.abs(made.golden.predictions - expected) <= bounds).all()
    assert np.isnan(made.golden.inputs).any()


def test_the_ensemble_has_a_model_for_each_target() -> None:
    made = read.read(bundle_of(chosen("target_ensemble")))
    assert isinstance(made.model, bundle_model.Ensemble)
    assert [one.transform for one in made.model.members] == ["rank"] * 7
    assert made.trained["members"] == tuple(
        f"{target.removeprefix('target_')}: lightgbm {made.trained['version']}" for target in examples.TARGETS
    )


@each
def test_training_anew_and_exporting_gives_such_a_bundle(name: str, tmp_path: Path) -> None:
    """On rows of our own: those of the tournament are fetched in tests/system alone."""
    example = next(one for one in examples.EXAMPLES if one.name == name)
    rows = live(240, seed=4, whole=True).assign(data_type="train")
    rows.loc[rows.index[160:], "data_type"] = "validation"
    target: Any = (rows["feature_x1"] | rows["feature_x2"]).astype("float32")
    rows = rows.assign(target=target, **dict.fromkeys(examples.TARGETS, target))
    examples.make(example, rows, tmp_path / name)
    made = read.read(tmp_path / name)
    assert made.post == read.read(bundle_of(chosen(name))).post
    frame = live(300, seed=5)
    got = pickles.get_predict_raw(pickles.load_predict(made))(frame, None)
    expected, _ = getattr(official, name)(official.load_boosters(tmp_path / name), frame)
    assert np.abs(got - expected).max() <= 1e-6 * np.ptp(expected)
