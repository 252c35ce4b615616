"""scikit-learn's trees as arrays: the framework, the reference and the unpickled predict agree, on NaN too."""

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
    """Keep OpenMP from waiting in turns for a machine that does other things too."""
    with threadpoolctl.threadpool_limits(1):
        yield


def trained(name: str, inputs: NDArray[Any], target: NDArray[Any], **options: Any) -> Any:
    kind = getattr(tree, name, None) or getattr(ensemble, name)
    fitted = kind(random_state=1, **{**FORESTS[name], **options})
    return fitted.fit(inputs, target > 0.5 if name.endswith("Classifier") else target)


def trees_of(fitted: Any) -> model.Trees:
    """Return a fitted model in this tool's terms."""
    name = type(fitted).__name__
    if name.startswith("Hist"):
        arrays = tree_arrays.from_hist_predictors([one for trees in fitted._predictors for one in trees])
        return model.Trees(**arrays, base=fitted._baseline_prediction.reshape(-1), rounded=False)
    if name.startswith("Gradient"):
        own = [one.tree_ for one in fitted.estimators_[:, 0]]
        arrays = tree_arrays.from_sklearn_trees(own, weight=fitted.learning_rate)
    else:
        own = [one.tree_ for one in getattr(fitted, "estimators_", [fitted])]
        arrays = tree_arrays.from_sklearn_trees(own)
    return model.Trees(**arrays, base=np.zeros(1), rounded=True, averaged=len(own) > 1 and "Gradient" not in name)


def said_by(fitted: Any, inputs: NDArray[Any]) -> NDArray[np.float64]:
    """Return what the framework predicts."""
    said = fitted.predict_proba(inputs)[:, 1] if hasattr(fitted, "predict_proba") else fitted.predict(inputs)
    return np.asarray(said, dtype=np.float64)


def rows(seed: int, *, whole: bool, holes: float, count: int = ROWS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return inputs (rows, 6) and a target that depends on them."""
    random = np.random.default_rng(seed)
    inputs = random.integers(0, 5, (count, 6)).astype(float) if whole else random.normal(size=(count, 6)) * 3
    target = np.tanh(inputs[:, 0] - inputs[:, 1]) / 3 + 0.5 + 0.1 * random.normal(size=count)
    inputs[random.random(inputs.shape) < holes] = np.nan
    return inputs, target


def assert_all_agree(fitted: Any, inputs: NDArray[np.float64]) -> None:
    """Compare the framework, the reference, and the pickle on many rows and on one: to the last bit."""
    trees = trees_of(fitted)
    expected = said_by(fitted, inputs)
    np.testing.assert_array_equal(prediction.predict(trees, inputs), expected)
    made = bundles.make_bundle(inputs.shape[1], network=trees)
    raw = pickles.get_predict_raw(pickles.load_predict(made))
    live = pd.DataFrame(inputs, columns=list(made.features))
    np.testing.assert_array_equal(raw(live, None), expected)
    np.testing.assert_array_equal(raw(live.iloc[[3]], None), expected[[3]])
    if not np.isnan(inputs).any() and (inputs == inputs.round()).all():
        np.testing.assert_array_equal(raw(live.astype("int8"), None), raw(live, None))


@pytest.mark.parametrize("name", FORESTS)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**20), whole=st.booleans())
def test_arrays_predict_what_scikit_learn_does(name: str, seed: int, whole: bool) -> None:  # noqa: FBT001
    inputs, target = rows(seed, whole=whole, holes=0)
    assert_all_agree(trained(name, inputs, target), rows(seed + 1, whole=whole, holes=0)[0])


@pytest.mark.parametrize("name", TAKES_MISSING)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**20), whole=st.booleans(), holes=st.sampled_from([0.05, 0.5]))
def test_missing_values_go_where_scikit_learn_sends_them(name: str, seed: int, whole: bool, holes: float) -> None:  # noqa: FBT001
    inputs, target = rows(seed, whole=whole, holes=holes)
    fitted = trained(name, inputs, target)
    assert_all_agree(fitted, rows(seed + 1, whole=whole, holes=holes)[0])
    inputs[:, 0] = np.nan
    assert_all_agree(fitted, inputs)


@pytest.mark.parametrize("name", FORESTS)
def test_thresholds_themselves_and_the_next_numbers(name: str) -> None:
    """Whatever is a float32 or float64 step from a threshold goes to the side that scikit-learn sends it to."""
    inputs, target = rows(5, whole=False, holes=0)
    fitted = trained(name, inputs, target)
    trees = trees_of(fitted)
    inner = trees.feature >= 0
    at = trees.threshold[inner]
    single = at.astype(np.float32)
    steps = (np.nextafter(single, np.float32(9e9)), np.nextafter(single, np.float32(-9e9)))
    near = [at, np.nextafter(at, 9e9), np.nextafter(at, -9e9), single, *steps]
    probes = np.repeat(inputs[:1], len(near) * len(at), axis=0)
    probes[np.arange(len(probes)), np.tile(trees.feature[inner], len(near))] = np.concatenate(near)
    assert_all_agree(fitted, probes)


def test_a_tree_of_one_leaf() -> None:
    inputs, _ = rows(1, whole=True, holes=0)
    for name in ("DecisionTreeRegressor", "RandomForestRegressor", "HistGradientBoostingRegressor"):
        assert_all_agree(trained(name, inputs, np.full(ROWS, 0.25)), inputs)


def test_categories_are_refused_by_name() -> None:
    inputs, target = rows(1, whole=True, holes=0)
    fitted = trained("HistGradientBoostingRegressor", inputs, target, categorical_features=[0])
    with pytest.raises(errors.ExportError, match="splits feature 0 by categories"):
        trees_of(fitted)


def test_a_bundle_keeps_the_forest(tmp_path: Path) -> None:
    inputs, target = rows(1, whole=False, holes=0.1)
    made = bundles.make_bundle(6, network=trees_of(trained("RandomForestRegressor", inputs, target)))
    write.write(tmp_path / "b", made)
    back = read.read(tmp_path / "b")
    np.testing.assert_array_equal(prediction.predict(back.model, inputs), prediction.predict(made.model, inputs))
