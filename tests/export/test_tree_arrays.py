"""scikit-learn's trees as arrays: the framework, the bundle and the pickle predict the same, also for NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import ensemble, tree

from builder import errors
from builder.bundle import model, prediction
from builder.bundle.storage import read, write
from builder.export.sklearn import tree_arrays
from tests.support import bundles, pickles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

ROWS = 160
FORESTS: dict[str, dict[str, Any]] = {
    "RandomForestRegressor": {"n_estimators": 5},
    "ExtraTreesRegressor": {"n_estimators": 5, "max_depth": 7},
    "DecisionTreeRegressor": {"max_leaf_nodes": 12},
    "RandomForestClassifier": {"n_estimators": 4, "max_depth": 5},
    "GradientBoostingRegressor": {"n_estimators": 9, "init": "zero"},
    "HistGradientBoostingRegressor": {"max_iter": 12, "min_samples_leaf": 3},
}
TAKES_MISSING = [name for name in FORESTS if name != "GradientBoostingRegressor"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: OpenMP's threads wait actively, which is slow on a busy machine."""
    with threadpoolctl.threadpool_limits(1):
        yield


def train(name: str, inputs: NDArray[Any], target: NDArray[Any], **options: Any) -> Any:
    kind = getattr(tree, name, None) or getattr(ensemble, name)
    fitted = kind(random_state=1, **{**FORESTS[name], **options})
    return fitted.fit(inputs, target > 0.5 if name.endswith("Classifier") else target)


def convert(fitted: Any) -> model.Trees:
    """Convert a fitted model."""
    name = type(fitted).__name__
    if name.startswith("Hist"):
        arrays = tree_arrays.from_hist_predictors(
            [predictor for iteration in fitted._predictors for predictor in iteration]
        )
        return model.Trees(**arrays, base=fitted._baseline_prediction.reshape(-1), rounded=False)
    if name.startswith("Gradient"):
        sklearn_trees = [member.tree_ for member in fitted.estimators_[:, 0]]
        arrays = tree_arrays.from_sklearn_trees(sklearn_trees, weight=fitted.learning_rate)
    else:
        sklearn_trees = [member.tree_ for member in getattr(fitted, "estimators_", [fitted])]
        arrays = tree_arrays.from_sklearn_trees(sklearn_trees)
    return model.Trees(
        **arrays, base=np.zeros(1), rounded=True, averaged=len(sklearn_trees) > 1 and "Gradient" not in name
    )


def predict_framework(fitted: Any, inputs: NDArray[Any]) -> NDArray[np.float64]:
    """Return scikit-learn's predictions."""
    predictions = fitted.predict_proba(inputs)[:, 1] if hasattr(fitted, "predict_proba") else fitted.predict(inputs)
    return np.asarray(predictions, dtype=np.float64)


def make_rows(
    seed: int, *, is_integer: bool, missing: float, count: int = ROWS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return inputs (rows, 6) and a target that depends on them."""
    random = np.random.default_rng(seed)
    inputs = random.integers(0, 5, (count, 6)).astype(float) if is_integer else random.normal(size=(count, 6)) * 3
    target = np.tanh(inputs[:, 0] - inputs[:, 1]) / 3 + 0.5 + 0.1 * random.normal(size=count)
    inputs[random.random(inputs.shape) < missing] = np.nan
    return inputs, target


def assert_all_agree(fitted: Any, inputs: NDArray[np.float64]) -> None:
    """Compare the framework, the bundle and the pickle, on many rows and on one: predictions are equal."""
    trees = convert(fitted)
    expected = predict_framework(fitted, inputs)
    np.testing.assert_array_equal(prediction.predict(trees, inputs), expected)
    bundle = bundles.make_bundle(inputs.shape[1], network=trees)
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))
    live = pd.DataFrame(inputs, columns=list(bundle.features))
    np.testing.assert_array_equal(raw(live, None), expected)
    np.testing.assert_array_equal(raw(live.iloc[[3]], None), expected[[3]])
    if not np.isnan(inputs).any() and (inputs == inputs.round()).all():
        np.testing.assert_array_equal(raw(live.astype("int8"), None), raw(live, None))


@pytest.mark.parametrize("name", FORESTS)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**20), is_integer=st.booleans())
def test_arrays_predict_what_scikit_learn_does(name: str, seed: int, is_integer: bool) -> None:  # noqa: FBT001
    inputs, target = make_rows(seed, is_integer=is_integer, missing=0)
    assert_all_agree(train(name, inputs, target), make_rows(seed + 1, is_integer=is_integer, missing=0)[0])


@pytest.mark.parametrize("name", TAKES_MISSING)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**20), is_integer=st.booleans(), missing=st.sampled_from([0.05, 0.5]))
def test_missing_values_take_the_branch_of_scikit_learn(name: str, seed: int, is_integer: bool, missing: float) -> None:  # noqa: FBT001
    inputs, target = make_rows(seed, is_integer=is_integer, missing=missing)
    fitted = train(name, inputs, target)
    assert_all_agree(fitted, make_rows(seed + 1, is_integer=is_integer, missing=missing)[0])
    inputs[:, 0] = np.nan
    assert_all_agree(fitted, inputs)


@pytest.mark.parametrize("name", FORESTS)
def test_inputs_at_and_next_to_thresholds(name: str) -> None:
    """Numbers one float32 or float64 step from a threshold take the same branch as in scikit-learn."""
    inputs, target = make_rows(5, is_integer=False, missing=0)
    fitted = train(name, inputs, target)
    trees = convert(fitted)
    inner = trees.feature >= 0
    thresholds = trees.threshold[inner]
    rounded_thresholds = thresholds.astype(np.float32)
    steps = (np.nextafter(rounded_thresholds, np.float32(9e9)), np.nextafter(rounded_thresholds, np.float32(-9e9)))
    near = [thresholds, np.nextafter(thresholds, 9e9), np.nextafter(thresholds, -9e9), rounded_thresholds, *steps]
    probes = np.repeat(inputs[:1], len(near) * len(thresholds), axis=0)
    probes[np.arange(len(probes)), np.tile(trees.feature[inner], len(near))] = np.concatenate(near)
    assert_all_agree(fitted, probes)


def test_tree_of_one_leaf() -> None:
    inputs, _ = make_rows(1, is_integer=True, missing=0)
    for name in ("DecisionTreeRegressor", "RandomForestRegressor", "HistGradientBoostingRegressor"):
        assert_all_agree(train(name, inputs, np.full(ROWS, 0.25)), inputs)


def test_categorical_split_is_refused() -> None:
    inputs, target = make_rows(1, is_integer=True, missing=0)
    fitted = train("HistGradientBoostingRegressor", inputs, target, categorical_features=[0])
    with pytest.raises(errors.ExportError, match="splits feature 0 by categories"):
        convert(fitted)


def test_forest_round_trip(tmp_path: Path) -> None:
    inputs, target = make_rows(1, is_integer=False, missing=0.1)
    bundle = bundles.make_bundle(6, network=convert(train("RandomForestRegressor", inputs, target)))
    write.write(tmp_path / "b", bundle)
    restored = read.read(tmp_path / "b")
    np.testing.assert_array_equal(prediction.predict(restored.model, inputs), prediction.predict(bundle.model, inputs))
