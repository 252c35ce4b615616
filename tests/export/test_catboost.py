"""CatBoost models: the framework, the bundle and the pickle predict the same; unsupported parts are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import catboost as cb
import numpy as np
import pandas as pd
import pytest
from sklearn import pipeline, preprocessing

from builder import errors
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import read
from builder.export import export
from tests.support import pickles
from tests.support.trained_boosters import CATBOOST, ROWS, make_rows, with_missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


X, Y = make_rows()
CLASSES = np.digitize(Y, [1, 6])
GROUPS = np.repeat(np.arange(3), ROWS // 3)
CATEGORIES = ["feature_1", "feature_3"]


def regressor(**options: Any) -> Any:
    return cb.CatBoostRegressor(**CATBOOST, **options)


def classifier(**options: Any) -> Any:
    return cb.CatBoostClassifier(**CATBOOST, **options)


MODELS: dict[str, Callable[[], Any]] = {
    "regressor": lambda: regressor().fit(X, Y),
    "trained with missing values": lambda: regressor().fit(with_missing(X), Y),
    "poisson": lambda: regressor(loss_function="Poisson").fit(X, np.abs(Y)),
    "not symmetric": lambda: regressor(grow_policy="Lossguide").fit(X, Y),
    "two classes": lambda: classifier().fit(X, Y > 4),
    "two other classes": lambda: classifier().fit(X, np.where(Y > 4, 4, 1)),
    "three classes": lambda: classifier().fit(X, CLASSES),
    "one class against all": lambda: classifier(loss_function="MultiClassOneVsAll").fit(X, CLASSES),
    "ranker": lambda: cb.CatBoostRanker(**CATBOOST).fit(X, CLASSES, group_id=GROUPS),
    "plain": lambda: cb.CatBoost({"loss_function": "Logloss", **CATBOOST}).fit(X, Y > 4),
    "sum": lambda: cb.sum_models([regressor().fit(X, Y), regressor().fit(X, -Y)], weights=[1, 0.5]),
    "pipeline": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), regressor()).fit(X, Y),
}


def predict_expected(model: Any, x: pd.DataFrame) -> Any:
    """Return what the framework predicts: float64 (rows,)."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(x) @ np.asarray(model.classes_, dtype=np.float64)
    return model.predict(x)


def load_raw(folder: Path) -> Any:
    return pickles.get_predict_raw(pickles.load_predict(read.read(folder)))


@pytest.mark.parametrize("name", MODELS)
def test_model_and_pickle_agree(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    result = export(model, tmp_path / "bundle", sample=X)
    raw = load_raw(tmp_path / "bundle")
    for rows in (X, with_missing(X), X.astype("Int8"), X.iloc[:, ::-1]):
        expected = predict_expected(model, rows.astype(np.float64)[X.columns])
        np.testing.assert_allclose(raw(rows, None), expected, rtol=1e-12)
    assert (result.kind, result.features) == ("catboost", 5)
    bundle = read.read(tmp_path / "bundle")
    assert kinds.is_bounded(bundle.model) == (name == "two classes")


@pytest.mark.parametrize("dtype", ["int8", "str", "category"])
def test_categories_are_whole_numbers(dtype: str, tmp_path: Path) -> None:
    frame = X.astype(dict.fromkeys(CATEGORIES, dtype))
    model = regressor(cat_features=CATEGORIES, one_hot_max_size=2).fit(frame, Y)
    export(model, tmp_path / "bundle", sample=X)
    raw = load_raw(tmp_path / "bundle")
    np.testing.assert_array_equal(raw(X, None), model.predict(frame))
    np.testing.assert_array_equal(raw(X.astype(np.float64), None), model.predict(frame))
    missing = X.astype(np.float64)
    missing.loc[::3, "feature_1"] = np.nan
    absent = X.assign(feature_1=X["feature_1"].where(missing["feature_1"].notna(), -1)).astype(
        dict.fromkeys(CATEGORIES, "int64")
    )
    np.testing.assert_array_equal(raw(missing, None), model.predict(absent))
    with pytest.raises(
        errors.ExportError, match=r"category 'feature_1' has 0\.5 in the sample; expected whole numbers"
    ):
        export(model, tmp_path / "other", sample=X.assign(feature_1=0.5))


@pytest.mark.parametrize("size", [2, 9])
def test_categories_trained_as_decimals_are_refused(size: int, tmp_path: Path) -> None:
    frame = X.assign(feature_1=X["feature_1"].astype(float).astype(str))
    model = regressor(cat_features=CATEGORIES, one_hot_max_size=size).fit(frame, Y)
    with pytest.raises(
        errors.ExportError, match=r"category 'feature_1' was trained as strings such as [0-4]\.0, which"
    ):
        export(model, tmp_path / "bundle", sample=X)


@pytest.mark.parametrize("output", [1, "mean"])
def test_one_of_several_outputs_or_their_mean_is_exported(output: Any, tmp_path: Path) -> None:
    model = regressor(loss_function="MultiRMSE").fit(X, np.stack([Y, X["feature_2"]], axis=1))
    with pytest.raises(errors.ExportError, match="predicts 2 numbers for each row"):
        export(model, tmp_path / "bundle", sample=X)
    export(model, tmp_path / "bundle", sample=X, output=output)
    outputs = model.predict(X)
    expected = outputs.mean(axis=1) if output == "mean" else outputs[:, output]
    np.testing.assert_allclose(load_raw(tmp_path / "bundle")(X, None), expected, rtol=1e-12)


def test_only_trees_up_to_the_best_iteration_are_exported(tmp_path: Path) -> None:
    options = {**CATBOOST, "iterations": 60, "learning_rate": 1.0, "use_best_model": True}
    model = cb.CatBoostRegressor(**options).fit(X[:200], Y[:200], eval_set=(X[200:], Y[200:]))
    export(model, tmp_path / "bundle", sample=X)
    assert read.read(tmp_path / "bundle").trained["iterations"] == model.best_iteration_ + 1 < 60
    np.testing.assert_array_equal(load_raw(tmp_path / "bundle")(X, None), model.predict(X))


def test_two_trainings_have_the_same_bytes_without_metadata(tmp_path: Path) -> None:
    for name in ("one", "two"):
        model = cb.CatBoostRegressor(**CATBOOST, train_dir=f"/srv/someone/{name}").fit(X, Y)
        export(model, tmp_path / name, sample=X)
    first, second = ((tmp_path / name / "model.cbm").read_bytes() for name in ("one", "two"))
    assert first == second
    assert b"someone" not in first
    assert "someone" in model.get_metadata()["params"]


def test_members_of_an_ensemble_of_several_frameworks(tmp_path: Path) -> None:
    import xgboost as xgb
    from sklearn import linear_model

    models = [regressor().fit(X, Y), xgb.XGBRegressor(n_estimators=3).fit(X, Y), linear_model.Ridge().fit(X, Y)]
    export(models, tmp_path / "bundle", sample=X)
    expected = np.mean([model.predict(X) for model in models], axis=0)
    np.testing.assert_allclose(load_raw(tmp_path / "bundle")(X, None), expected, rtol=1e-5, atol=1e-5)


def get_error(tmp_path: Path, model: Any, sample: Any, **options: Any) -> str:
    with pytest.raises(errors.ExportError) as caught:
        export(model, tmp_path / "bundle", sample=sample, **options)
    assert not (tmp_path / "bundle").exists()
    return str(caught.value)


class Halved(cb.CatBoostRegressor):
    def predict(self, *args: Any, **options: Any) -> Any:
        return super().predict(*args, **options) / 2


def test_model_that_overrides_a_method_is_stored(tmp_path: Path) -> None:
    model = Halved(**CATBOOST).fit(X, Y)
    result = export(model, tmp_path / "bundle", sample=X, rank=None)
    assert result.notes[0].startswith("not written as numbers: Halved.predict overrides CatBoost's method")
    golden = read.read(tmp_path / "bundle").golden
    np.testing.assert_allclose(golden.predictions, model.predict(pd.DataFrame(golden.inputs, columns=X.columns)))


def test_unsupported_model_is_named(tmp_path: Path) -> None:
    words = np.where(Y > 4, "up", "down")
    assert "CatBoostRegressor is not trained" in get_error(tmp_path, cb.CatBoostRegressor(), X)
    assert "'down'" in get_error(tmp_path, classifier().fit(X, words), X)
    assert "takes 5 features, but features= has 4" in get_error(
        tmp_path, regressor().fit(X, Y), X, features=list(X.columns)[:4]
    )
    numbered = regressor().fit(X.to_numpy(), Y)
    assert "pass features=" in get_error(tmp_path, numbered, X.to_numpy())
