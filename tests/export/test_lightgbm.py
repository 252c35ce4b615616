"""LightGBM boosters: the framework, the bundle and the pickle predict the same; unsupported parts are named."""

from __future__ import annotations

import gzip
import warnings
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors
from builder.bundle import prediction
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import read
from builder.export import export
from tests.support import pickles

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS = 300
QUIET: dict[str, Any] = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "min_data_in_bin": 1}
OBJECTIVES: tuple[dict[str, Any], ...] = (
    {"objective": "regression"},
    {"objective": "regression", "reg_sqrt": True},
    {"objective": "regression_l1"},
    {"objective": "regression_l1", "reg_sqrt": True},
    {"objective": "huber"},
    {"objective": "quantile", "alpha": 0.7},
    {"objective": "poisson"},
    {"objective": "tweedie"},
    {"objective": "binary", "sigmoid": 0.7},
    {"objective": "cross_entropy"},
    {"objective": "cross_entropy_lambda"},
    {"objective": "multiclass", "num_class": 3},
    {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.5},
)
BOOSTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"boosting": "dart"},
    {"boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1, "feature_fraction": 0.7},
    {"data_sample_strategy": "goss"},
    {"extra_trees": True},
)
MISSING: tuple[dict[str, Any], ...] = ({}, {"use_missing": False}, {"zero_as_missing": True})


def target(objective: str, random: np.random.Generator, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a target that fits the objective."""
    score = np.nan_to_num(x[:, 0]) + random.normal(size=len(x))
    if objective.startswith("multiclass"):
        return np.digitize(score, [0.0, 2.0]).astype(np.float64)
    if objective == "binary":
        return (score > 1).astype(np.float64)
    if objective.startswith("cross"):
        return 1 / (1 + np.exp(-score))
    return np.abs(score) if objective in {"poisson", "tweedie"} else score


@st.composite
def trained_boosters(draw: st.DrawFn) -> tuple[lgb.Booster, NDArray[np.float64], int]:
    """Train a booster of any objective, boosting type and handling of missing values, with categorical features."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    features = draw(st.integers(1, 8))
    x = random.integers(-1, 5, size=(ROWS, features)).astype(np.float64)
    x[:, ::3] += random.normal(size=x[:, ::3].shape).round(draw(st.integers(0, 12)))
    x[random.random(x.shape) < draw(st.sampled_from([0, 0.1, 0.5]))] = np.nan
    categorical = draw(st.lists(st.integers(0, features - 1), unique=True, max_size=3))
    for index in categorical:
        x[:, index] = np.where(random.random(ROWS) < 0.1, np.nan, random.integers(0, 70, ROWS))
    objective = draw(st.sampled_from(OBJECTIVES))
    boosting = draw(st.sampled_from(BOOSTINGS))
    tree: dict[str, Any] = {"num_leaves": draw(st.integers(2, 40)), "max_cat_to_onehot": draw(st.sampled_from([1, 4]))}
    if draw(st.booleans()) and objective["objective"] not in {"regression_l1", "quantile"} and not boosting:
        tree["linear_tree"] = True
    parameters = {**QUIET, **objective, **boosting, **tree, **draw(st.sampled_from(MISSING))}
    if tree.get("linear_tree"):
        parameters.pop("zero_as_missing", None)
    y = target(str(objective["objective"]), random, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        data = lgb.Dataset(x, y, categorical_feature=categorical, params=parameters)
        return lgb.train(parameters, data, draw(st.integers(1, 12))), x, features


def to_frame(inputs: NDArray[Any]) -> pd.DataFrame:
    frame = pd.DataFrame(inputs, columns=[f"feature_{index}" for index in range(inputs.shape[1])])
    return frame.assign(era=np.repeat(["0001", "0002"], len(frame))[: len(frame)])


def predict_expected(booster: lgb.Booster, inputs: NDArray[Any]) -> NDArray[np.float64]:
    outputs = np.asarray(booster.predict(inputs, num_threads=1))
    return outputs if outputs.ndim == 1 else outputs @ np.arange(outputs.shape[1])


@settings(max_examples=20)
@given(trained_boosters())
def test_framework_bundle_and_pickle_agree(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[lgb.Booster, NDArray[np.float64], int]
) -> None:
    booster, x, features = case
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    export(booster, folder, sample=x, features=[f"feature_{index}" for index in range(features)])
    bundle = read.read(folder)
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))
    random = np.random.default_rng(1)
    odd = x.copy()
    odd[::7] = random.choice([np.nan, 0.0, -0.0, 1e-36, -1e-30, 1e9, -3.0, 64.0, 200.0], size=odd[::7].shape)
    for inputs in (x, odd, odd[:1], odd.astype(np.float32), np.nan_to_num(x).clip(0, 100).astype(np.int8)):
        expected = predict_expected(booster, inputs)
        np.testing.assert_array_equal(prediction.predict(bundle.model, inputs.astype(np.float64)), expected)
        np.testing.assert_array_equal(raw(to_frame(inputs), None), expected)
    assert kinds.is_bounded(bundle.model) == (str(booster.params["objective"]) in {"binary", "cross_entropy"})


def make_rows(count: int = ROWS, features: int = 5) -> tuple[pd.DataFrame, pd.Series]:
    random = np.random.default_rng(3)
    names = [f"feature_{index}" for index in range(features)]
    x = pd.DataFrame(random.integers(0, 5, size=(count, features)).astype(np.int8), columns=names)
    return x, x["feature_0"] + x["feature_1"] * random.normal(size=count)


def raw_of(folder: Path) -> Any:
    return pickles.get_predict_raw(pickles.load_predict(read.read(folder)))


@pytest.mark.parametrize("kind", [lgb.LGBMRegressor, lgb.LGBMRanker, lgb.LGBMClassifier])
def test_wrapper_and_pickle_agree(tmp_path: Path, kind: Any) -> None:
    x, y = make_rows()
    more = {"group": [100, 200]} if kind is lgb.LGBMRanker else {}
    label = y if kind is lgb.LGBMRegressor else pd.Series(np.digitize(y, [0, 2, 4]))
    model = kind(n_estimators=20, num_leaves=7, verbose=-1, n_jobs=1).fit(x, label, **more)
    result = export(model, tmp_path / "bundle", sample=x)
    expected = model.predict_proba(x) @ model.classes_ if kind is lgb.LGBMClassifier else model.predict(x)
    np.testing.assert_array_equal(raw_of(tmp_path / "bundle")(x, None), expected)
    assert result.kind == "lightgbm"
    assert result.features == 5
    assert result.parity.rows == len(x)


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (1, 4)])
def test_two_classes_give_a_probability_or_expected_value(tmp_path: Path, labels: tuple[int, int]) -> None:
    x, y = make_rows()
    model = lgb.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(x, np.where(y > 2, labels[1], labels[0]))
    export(model, tmp_path / "bundle", sample=x)
    probabilities = model.predict_proba(x)
    np.testing.assert_allclose(raw_of(tmp_path / "bundle")(x, None), probabilities @ np.array(labels), atol=1e-14)
    assert kinds.is_bounded(read.read(tmp_path / "bundle").model) == (labels == (0, 1))


def test_only_trees_up_to_the_best_iteration_are_exported(tmp_path: Path) -> None:
    x, y = make_rows()
    booster = lgb.train(QUIET, lgb.Dataset(x, y), 30)
    booster.best_iteration = 7
    export(booster, tmp_path / "bundle", sample=x)
    bundle = read.read(tmp_path / "bundle")
    assert bundle.model.trees == bundle.trained["iterations"] == 7 < booster.num_trees()
    np.testing.assert_array_equal(raw_of(tmp_path / "bundle")(x, None), booster.predict(x))


def test_early_stopping_of_a_wrapper(tmp_path: Path) -> None:
    x, y = make_rows(600)
    model = lgb.LGBMRegressor(n_estimators=400, learning_rate=0.5, verbose=-1, n_jobs=1)
    stop = lgb.early_stopping(5, verbose=False)
    model.fit(x[:300], y[:300], eval_X=(x[300:],), eval_y=(y[300:],), callbacks=[stop])
    export(model, tmp_path / "bundle", sample=x)
    assert read.read(tmp_path / "bundle").model.trees == model.best_iteration_
    np.testing.assert_array_equal(raw_of(tmp_path / "bundle")(x, None), model.predict(x))


def test_pandas_categories_are_matched_by_value(tmp_path: Path) -> None:
    x, y = make_rows(600)
    with_categories = x.copy()
    with_categories["feature_1"] = pd.Categorical(x["feature_1"])
    with_categories["feature_3"] = pd.Categorical(x["feature_3"], categories=[3, 1, 4, 0])  # 2 is missing
    booster = lgb.train({**QUIET, "max_cat_to_onehot": 1}, lgb.Dataset(with_categories, y), 20)
    export(booster, tmp_path / "bundle", sample=with_categories)
    expected = booster.predict(with_categories)
    np.testing.assert_array_equal(raw_of(tmp_path / "bundle")(x, None), expected)
    unknown_values = x.astype(np.float64)
    unknown_values.loc[:50, "feature_1"] = [2.5, np.nan, 9.0] * 17
    as_frame = unknown_values.assign(
        feature_1=pd.Categorical(unknown_values["feature_1"]), feature_3=pd.Categorical(unknown_values["feature_3"])
    )
    np.testing.assert_array_equal(raw_of(tmp_path / "bundle")(unknown_values, None), booster.predict(as_frame))


def test_booster_loaded_from_text_gives_the_same_bundle(tmp_path: Path) -> None:
    x, y = make_rows()
    x = x.assign(feature_2=pd.Categorical(x["feature_2"]))
    booster = lgb.train(QUIET, lgb.Dataset(x, y), 5)
    export(booster, tmp_path / "one", sample=x)
    export(lgb.Booster(model_str=booster.model_to_string()), tmp_path / "two", sample=x)
    name = "model.txt.gz"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_text_has_no_paths_and_counts_of_the_training(tmp_path: Path) -> None:
    x, y = make_rows()
    paths = {"input_model": "", "output_model": "/srv/someone/model.txt", "machine_list_filename": "/srv/hosts"}
    booster = lgb.train({**QUIET, **paths}, lgb.Dataset(x, y), 5)
    assert "/srv" in booster.model_to_string()
    export(booster, tmp_path / "bundle", sample=x)
    text = gzip.decompress((tmp_path / "bundle" / "model.txt.gz").read_bytes()).decode()
    assert "/" not in text
    assert "count" not in text
    assert text.endswith("\nend of trees\n")
    np.testing.assert_array_equal(lgb.Booster(model_str=text).predict(x), booster.predict(x))


def test_benchmarks_are_inputs_after_the_features(tmp_path: Path) -> None:
    x, y = make_rows()
    index = pd.Index([f"n{index:015x}" for index in range(len(x))], name="id")
    x = x.assign(v53_lgbm=np.random.default_rng(2).random(len(x))).set_index(index)
    model = lgb.LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1).fit(x, y.to_numpy())
    export(model, tmp_path / "bundle", sample=x, benchmark="v53_lgbm")
    others = x[["v53_lgbm"]].iloc[::-1]
    np.testing.assert_array_equal(raw_of(tmp_path / "bundle")(x.drop(columns="v53_lgbm"), others), model.predict(x))


def test_names_with_spaces_are_accepted_in_features(tmp_path: Path) -> None:
    x, y = make_rows(features=2)
    x.columns = ["a feature", "another"]
    booster = lgb.train(QUIET, lgb.Dataset(x, y), 3)
    export(booster, tmp_path / "bundle", sample=x, features=["a feature", "another"])
    assert read.read(tmp_path / "bundle").features == ("a feature", "another")


def get_error(tmp_path: Path, model: Any, sample: Any, **options: Any) -> str:
    with pytest.raises(errors.ExportError) as caught:
        export(model, tmp_path / "bundle", sample=sample, **options)
    assert not (tmp_path / "bundle").exists()
    return str(caught.value)


def test_unsupported_model_is_named(tmp_path: Path) -> None:
    x, y = make_rows()
    with_names = lgb.train(QUIET, lgb.Dataset(x, y), 2)
    numbered = lgb.train(QUIET, lgb.Dataset(x.to_numpy(np.float64), y), 2)
    assert "LGBMRegressor has no booster" in get_error(tmp_path, lgb.LGBMRegressor(), x)
    assert "pass features=" in get_error(tmp_path, numbered, x.to_numpy(np.float64))
    assert "takes 5 features, but features= has 4" in get_error(
        tmp_path, numbered, x.to_numpy()[:, :4], features=["a", "b", "c", "d"]
    )
    other = ["feature_0", "feature_1", "feature_2", "feature_3", "feature_9"]
    assert "input 4 is 'feature_9', but that of the booster is 'feature_4'" in get_error(
        tmp_path, with_names, x.rename(columns={"feature_4": "feature_9"}), features=other
    )
    assert "input 1 is 'feature_2', but that of the booster is 'feature_1'" in get_error(
        tmp_path, with_names, x, benchmark="feature_1"
    )
    folds = lgb.cv(QUIET, lgb.Dataset(x, y), 2, nfold=2, stratified=False, return_cvbooster=True)
    assert "export model.boosters" in get_error(tmp_path, folds["cvbooster"], x)


def test_classes_and_categories_must_be_numeric(tmp_path: Path) -> None:
    x, y = make_rows()
    words = np.where(y > 2, "up", "down")
    model = lgb.LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1).fit(x, words)
    assert "'down'" in get_error(tmp_path, model, x)
    with_letters = x.assign(feature_3=pd.Categorical(x["feature_3"].map(lambda value: "abcde"[value])))
    booster = lgb.train(QUIET, lgb.Dataset(with_letters, y), 2)
    assert "categories of 'feature_3' are not numeric ('a')" in get_error(tmp_path, booster, x)
    assert "columns that are not numeric" in get_error(tmp_path, booster, with_letters)
    ordered = x.assign(feature_3=pd.Categorical(x["feature_3"], ordered=True))
    booster = lgb.train(QUIET, lgb.Dataset(ordered, y), 2)
    assert "it is unknown which columns" in get_error(tmp_path, booster, ordered)


def test_ordered_categories_are_not_mistaken_for_another_column(tmp_path: Path) -> None:
    """A booster lists the categories of all columns, ordered ones too, without the names of the columns."""
    random = np.random.default_rng(5)
    names = [f"feature_{index}" for index in range(4)]
    x = pd.DataFrame(random.integers(0, 5, (ROWS, 4)), columns=names)
    coded = x.assign(feature_0=pd.Categorical(10 * (x["feature_0"] + 1), ordered=True))
    y = x["feature_0"] + (x["feature_1"] == 2)
    booster = lgb.train(QUIET, lgb.Dataset(coded, y, categorical_feature=["feature_1"]), 5)
    assert "it is unknown which columns" in get_error(tmp_path, booster, coded)
    assert "'feature_1' has" in get_error(tmp_path, booster, coded.astype("float64"))


class Halved(lgb.LGBMRegressor):
    """Predicts half of what LightGBM does."""

    def predict(self, *args: Any, **options: Any) -> Any:
        return super().predict(*args, **options) / 2


@pytest.mark.parametrize(
    ("kind", "options", "note"),
    [
        (Halved, {}, "Halved.predict overrides LightGBM's method"),
        (
            lgb.LGBMClassifier,
            {"pred_early_stop": True},
            "LGBMClassifier has pred_early_stop, so that its predict skips",
        ),
    ],
)
def test_wrapper_that_predicts_otherwise_is_stored(kind: Any, options: Any, note: str, tmp_path: Path) -> None:
    x, y = make_rows()
    fitted = kind(n_estimators=9, verbose=-1, n_jobs=1, **options).fit(x, y > 2)
    result = export(fitted, tmp_path / "bundle", sample=x, rank=None)
    assert result.notes[0].startswith(f"not written as numbers: {note}")
    expected = fitted.predict_proba(x)[:, 1] if options else fitted.predict(x)
    np.testing.assert_allclose(
        pickles.load_predict(read.read(tmp_path / "bundle"))(x, None)["prediction"], expected, rtol=1e-12
    )


def test_custom_objective_predicts_raw_sums(tmp_path: Path) -> None:
    x, y = make_rows()

    def squares(predicted: Any, data: Any) -> Any:
        return predicted - data.get_label(), np.ones(len(predicted))

    booster = lgb.train({**QUIET, "objective": squares}, lgb.Dataset(x, y), 10)
    export(booster, tmp_path / "bundle", sample=x)
    np.testing.assert_array_equal(raw_of(tmp_path / "bundle")(x, None), booster.predict(x))


def test_names_with_spaces_need_features(tmp_path: Path) -> None:
    x, y = make_rows()
    spaced = x.rename(columns=lambda name: name.replace("_", " "))
    model = lgb.LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1).fit(spaced, y)
    with pytest.raises(errors.ExportError, match="replaces spaces in names by _: pass features="):
        export(model, tmp_path / "bundle", sample=spaced)
    assert export(model, tmp_path / "bundle", sample=spaced, features=list(spaced.columns)).features == x.shape[1]


def test_home_folder_in_path_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    x, y = make_rows()
    export(lgb.LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1).fit(x, y), "~/model.bundle.zip", sample=x)
    assert (tmp_path / "model.bundle.zip").is_file()
