"""XGBoost models: the framework, the bundle and the pickle predict the same; unsupported parts are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn import ensemble, model_selection, pipeline, preprocessing

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import read
from builder.export import export
from tests.support import pickles
from tests.support.trained_boosters import ROWS, XGBOOST, make_rows, with_missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X, Y = make_rows()
CLASSES = np.digitize(Y, [1, 6])
GROUPS = np.repeat(np.arange(3), ROWS // 3)
OBJECTIVES: dict[str, Any] = {
    "binary:logistic": Y > 4,
    "binary:logitraw": Y > 4,
    "count:poisson": np.abs(Y),
    "multi:softmax": CLASSES,
    "multi:softprob": CLASSES,
    "rank:pairwise": CLASSES,
    "reg:absoluteerror": Y,
    "reg:gamma": np.abs(Y) + 0.1,
    "reg:logistic": Y > 4,
    "reg:squarederror": Y,
    "reg:tweedie": np.abs(Y),
}
MODELS: dict[str, Callable[[], Any]] = {
    "regressor": lambda: xgb.XGBRegressor(**XGBOOST).fit(X, Y),
    "trained with missing values": lambda: xgb.XGBRegressor(**XGBOOST).fit(with_missing(X), Y),
    "a number is missing": lambda: xgb.XGBRegressor(missing=2, **XGBOOST).fit(X, Y),
    "dart": lambda: xgb.XGBRegressor(booster="dart", rate_drop=0.5, **XGBOOST).fit(X, Y),
    "linear": lambda: xgb.XGBRegressor(booster="gblinear", n_estimators=6, n_jobs=1).fit(X, Y),
    "forest": lambda: xgb.XGBRFRegressor(**XGBOOST).fit(X, Y),
    "linear classes": lambda: xgb.XGBClassifier(booster="gblinear", n_estimators=6, n_jobs=1).fit(X, CLASSES),
    "softmax": lambda: xgb.XGBClassifier(objective="multi:softmax", **XGBOOST).fit(X, CLASSES),
    "two classes": lambda: xgb.XGBClassifier(**XGBOOST).fit(X, Y > 4),
    "three classes": lambda: xgb.XGBClassifier(**XGBOOST).fit(X, CLASSES),
    "ranker": lambda: xgb.XGBRanker(**XGBOOST).fit(X, CLASSES, qid=GROUPS),
    "custom objective": lambda: xgb.XGBRegressor(objective=squares, **XGBOOST).fit(X, Y),
    "search": lambda: model_selection.GridSearchCV(xgb.XGBRegressor(**XGBOOST), {"max_depth": [2]}, cv=2).fit(X, Y),
    "pipeline": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), xgb.XGBRegressor(**XGBOOST)).fit(X, Y),
    "vote": lambda: ensemble.VotingRegressor([("a", xgb.XGBRegressor(**XGBOOST))]).fit(X, Y),
}


def squares(labels: Any, predicted: Any) -> Any:
    return predicted - labels, np.ones_like(predicted)


def predict_expected(model: Any, x: pd.DataFrame) -> Any:
    """Return what the framework predicts: float64 (rows,)."""
    if isinstance(model, xgb.Booster):
        values = np.asarray(model.predict(xgb.DMatrix(x, enable_categorical=True)), dtype=np.float64)
    elif hasattr(model, "predict_proba"):
        values = np.asarray(model.predict_proba(x), dtype=np.float64)
    else:
        values = np.asarray(model.predict(x), dtype=np.float64)
    return values if values.ndim == 1 else values @ np.arange(values.shape[1])


def load_raw(folder: Path) -> Any:
    return pickles.get_predict_raw(pickles.load_predict(read.read(folder)))


@pytest.mark.parametrize("name", MODELS)
def test_model_and_pickle_agree(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    export(model, tmp_path / "bundle", sample=X)
    raw = load_raw(tmp_path / "bundle")
    for rows in (X, with_missing(X), X.astype("Int8"), X.iloc[:, ::-1]):
        expected = predict_expected(model, rows.astype(np.float64)[X.columns])
        np.testing.assert_allclose(raw(rows, None), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_booster_and_pickle_agree(objective: str, tmp_path: Path) -> None:
    data = xgb.DMatrix(X, OBJECTIVES[objective], qid=GROUPS if objective.startswith("rank") else None)
    number = {"num_class": 3} if objective.startswith("multi") else {}
    model = xgb.train({"objective": objective, "max_depth": 3, "nthread": 1, **number}, data, 5)
    result = export(model, tmp_path / "bundle", sample=X)
    np.testing.assert_allclose(load_raw(tmp_path / "bundle")(X, None), predict_expected(model, X), rtol=1e-6)
    assert (result.kind, result.features) == ("xgboost", 5)
    bundle = read.read(tmp_path / "bundle")
    assert bundle.model.objective == objective
    assert kinds.is_bounded(bundle.model) == (objective in {"binary:logistic", "reg:logistic"})
    assert bundle.trained["iterations"] == 5


def test_a_base_score_is_one_number_that_all_versions_read(tmp_path: Path) -> None:
    """XGBoost before 3.1 reads the list that 3.1 writes as 0.5: seen with 3.0.2 and 1.7.5."""
    export(xgb.XGBRegressor(**XGBOOST).fit(X, Y), tmp_path / "one", sample=X)
    export(xgb.XGBClassifier(**XGBOOST).fit(X, CLASSES), tmp_path / "three", sample=X)
    single, three = (read.read(tmp_path / name).model for name in ("one", "three"))
    for content in (single.content, three.content):
        text = content.read_bytes()
        assert text.count(b"base_scoreSL") == 1
        assert text[text.index(b"base_scoreSL") + 20 :][:1] in b"0123456789"
    assert single.margins == ()
    assert len(set(three.margins)) == three.outputs == 3


def test_a_dart_is_a_gbtree_that_all_versions_read(tmp_path: Path) -> None:
    """XGBoost 3.4 writes the weights of the trees where 3.2 and 3.0.2 ignore them: seen with 3.4.1."""
    export(MODELS["dart"](), tmp_path / "bundle", sample=X)
    content = read.read(tmp_path / "bundle").model.content.read_bytes()
    assert b"weight_drop" not in content
    assert b"dart" not in content


@pytest.mark.parametrize("output", [0, 1, "mean"])
def test_one_of_several_outputs_or_their_mean_is_exported(output: Any, tmp_path: Path) -> None:
    targets = np.stack([Y, X["feature_2"]], axis=1)
    model = xgb.XGBRegressor(**XGBOOST).fit(X, targets)
    with pytest.raises(errors.ExportError, match=r'predicts 2 numbers for each row .* pass output="mean"'):
        export(model, tmp_path / "bundle", sample=X)
    with pytest.raises(errors.ExportError, match="invalid value 2 for output; expected an integer from 0 to 1"):
        export(model, tmp_path / "bundle", sample=X, output=2)
    export(model, tmp_path / "bundle", sample=X, output=output)
    outputs = model.predict(X).astype(np.float64)
    expected = outputs.mean(axis=1) if output == "mean" else outputs[:, output]
    np.testing.assert_allclose(load_raw(tmp_path / "bundle")(X, None), expected, rtol=1e-6)


def test_only_iterations_that_the_framework_uses_are_exported(tmp_path: Path) -> None:
    model = xgb.XGBRegressor(n_estimators=40, learning_rate=1.0, max_depth=4, n_jobs=1, early_stopping_rounds=3)
    model.fit(X[:200], Y[:200], eval_set=[(X[200:], Y[200:])], verbose=False)
    rounds = model.get_booster().num_boosted_rounds()
    assert model.best_iteration + 1 < rounds
    wrapper = export(model, tmp_path / "wrapper", sample=X)
    booster = export(model.get_booster(), tmp_path / "booster", sample=X)
    assert wrapper.notes == ()
    assert f"all {rounds} iterations are exported" in str(booster)
    np.testing.assert_array_equal(load_raw(tmp_path / "wrapper")(X, None), model.predict(X))
    expected = model.get_booster().predict(xgb.DMatrix(X))
    np.testing.assert_array_equal(load_raw(tmp_path / "booster")(X, None), expected)
    assert read.read(tmp_path / "wrapper").trained["iterations"] == model.best_iteration + 1


def test_pandas_categories_are_matched_by_value(tmp_path: Path) -> None:
    column = X["feature_3"].where(X["feature_3"] != 2)
    frame = X.assign(feature_3=pd.Categorical(column, categories=[3, 1, 4, 0]))
    for booster in ("gbtree", "dart"):
        model = xgb.XGBRegressor(enable_categorical=True, booster=booster, **XGBOOST).fit(frame, Y)
        export(model, tmp_path / booster, sample=frame)
        live = X.assign(feature_3=column.fillna(9))  # unknown in training
        np.testing.assert_allclose(load_raw(tmp_path / booster)(live, None), model.predict(frame), rtol=1e-6, atol=1e-6)
    with pytest.raises(errors.ExportError, match="has 9 in the sample, which is not one of its 4 pandas categories"):
        export(model, tmp_path / "bundle", sample=live)


def test_categories_that_are_codes_stay_as_they_are(tmp_path: Path) -> None:
    types = ["int", "c", "int", "int", "int"]
    data = xgb.DMatrix(X.to_numpy(), Y, feature_types=types, feature_names=list(X.columns))
    model = xgb.train({"max_depth": 3, "nthread": 1}, data, 5)
    export(model, tmp_path / "bundle", sample=X)
    np.testing.assert_array_equal(load_raw(tmp_path / "bundle")(X, None), model.predict(data))


def test_two_exports_have_the_same_bytes_without_attributes_and_names(tmp_path: Path) -> None:
    model = xgb.XGBRegressor(**XGBOOST).fit(X, Y).get_booster()
    model.set_attr(folder="/srv/someone")
    export(model, tmp_path / "one", sample=X)
    loaded = xgb.Booster()
    loaded.load_model(model.save_raw("json"))
    export(loaded, tmp_path / "two", sample=X)
    first, second = ((tmp_path / name / "model.ubj").read_bytes() for name in ("one", "two"))
    assert first == second
    assert b"someone" not in first
    assert b"feature_0" not in first
    assert (model.attr("folder"), model.feature_names) == ("/srv/someone", list(X.columns))


def test_benchmarks_and_members_of_an_ensemble(tmp_path: Path) -> None:
    index = pd.Index([f"n{row:015x}" for row in range(ROWS)], name="id")
    rows = X.assign(v53_lgbm=np.random.default_rng(2).random(ROWS)).set_index(index)
    models = [xgb.XGBRegressor(**XGBOOST).fit(rows, Y.to_numpy()), MODELS["two classes"]()]
    export(models, tmp_path / "bundle", sample=rows, benchmark="v53_lgbm", weights=[3, 1])
    assert sorted(path.name for path in (tmp_path / "bundle").glob("*.ubj")) == ["m0.model.ubj", "m1.model.ubj"]
    expected = 0.75 * predict_expected(models[0], rows) + 0.25 * predict_expected(models[1], rows[X.columns])
    actual = load_raw(tmp_path / "bundle")(rows[X.columns], rows[["v53_lgbm"]].iloc[::-1])
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    assert isinstance(read.read(tmp_path / "bundle").model, bundle_model.Ensemble)


def get_error(tmp_path: Path, model: Any, sample: Any, **options: Any) -> str:
    with pytest.raises(errors.ExportError) as caught:
        export(model, tmp_path / "bundle", sample=sample, **options)
    assert not (tmp_path / "bundle").exists()
    return str(caught.value)


class Halved(xgb.XGBRegressor):
    def predict(self, *args: Any, **options: Any) -> Any:
        return super().predict(*args, **options) / 2


def test_model_that_overrides_a_method_is_stored(tmp_path: Path) -> None:
    model = Halved(**XGBOOST).fit(X, Y)
    result = export(model, tmp_path / "bundle", sample=X, rank=None)
    assert result.notes[0].startswith("not written as numbers: Halved.predict overrides XGBoost's method")
    golden = read.read(tmp_path / "bundle").golden
    np.testing.assert_allclose(
        golden.predictions, model.predict(pd.DataFrame(golden.inputs, columns=X.columns)), rtol=1e-6
    )


def test_unsupported_model_is_named(tmp_path: Path) -> None:
    regressor = MODELS["regressor"]()
    assert "XGBRegressor has no booster" in get_error(tmp_path, xgb.XGBRegressor(), X)
    assert "takes 5 features, but features= has 4" in get_error(tmp_path, regressor, X, features=list(X.columns)[:4])
    assert "output=0 is for models with several outputs" in get_error(tmp_path, regressor, X, output=0)
    words = X.assign(feature_3=pd.Categorical(X["feature_3"].map(lambda value: "abcde"[value])))
    model = xgb.XGBRegressor(enable_categorical=True, **XGBOOST).fit(words, Y)
    assert "categories of 'feature_3' are not numeric" in get_error(tmp_path, model, X)
    numbered = xgb.XGBRegressor(**XGBOOST).fit(X.to_numpy(), Y)
    assert "pass features=" in get_error(tmp_path, numbered, X.to_numpy())
