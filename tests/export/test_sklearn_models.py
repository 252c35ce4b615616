"""Each estimator of scikit-learn that can be expressed: the framework, the reference and the pickle agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    base,
    compose,
    ensemble,
    linear_model,
    model_selection,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from builder import errors
from builder.bundle import model as bundle_model
from tests.support import pickles
from tests.support import sklearn_exports as cases

# Whether the training has come to its end is no matter here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("one_thread"),
]

WHOLE = cases.whole(220, 6)
SPREAD = cases.spread(220, 6)
MLP = {"hidden_layer_sizes": (7, 5), "max_iter": 4000, "tol": 1e-2, "random_state": 1}

REGRESSORS = [
    linear_model.LinearRegression(),
    linear_model.LinearRegression(fit_intercept=False),
    linear_model.Ridge(2.0),
    linear_model.RidgeCV(),
    linear_model.Lasso(0.001),
    linear_model.ElasticNet(0.001),
    linear_model.HuberRegressor(max_iter=2000),
    svm.LinearSVR(max_iter=20000, random_state=1),
    tree.DecisionTreeRegressor(max_depth=5, random_state=1),
    tree.DecisionTreeRegressor(max_depth=1, criterion="absolute_error"),
    ensemble.RandomForestRegressor(9, max_depth=6, random_state=1),
    ensemble.RandomForestRegressor(5, criterion="poisson", random_state=1),
    ensemble.ExtraTreesRegressor(9, max_depth=6, random_state=1),
    ensemble.GradientBoostingRegressor(n_estimators=15, random_state=1),
    ensemble.GradientBoostingRegressor(n_estimators=9, loss="huber", init="zero", subsample=0.7, random_state=1),
    ensemble.GradientBoostingRegressor(n_estimators=9, loss="quantile", alpha=0.8),
    ensemble.HistGradientBoostingRegressor(max_iter=15),
    ensemble.HistGradientBoostingRegressor(max_iter=9, loss="poisson"),
    ensemble.HistGradientBoostingRegressor(max_iter=9, loss="absolute_error", max_leaf_nodes=4),
    *(neural_network.MLPRegressor(activation=name, **MLP) for name in ("identity", "logistic", "tanh", "relu")),
]
CLASSIFIERS = [
    linear_model.LogisticRegression(max_iter=5000),
    linear_model.LogisticRegressionCV(
        Cs=2, max_iter=5000, l1_ratios=(0,), use_legacy_attributes=False, scoring="neg_log_loss"
    ),
    tree.DecisionTreeClassifier(max_depth=4, random_state=1),
    ensemble.RandomForestClassifier(9, max_depth=5, random_state=1, class_weight="balanced"),
    ensemble.ExtraTreesClassifier(9, max_depth=5, random_state=1),
    ensemble.GradientBoostingClassifier(n_estimators=6, random_state=1),
    ensemble.HistGradientBoostingClassifier(max_iter=6),
    neural_network.MLPClassifier(**MLP),
]
CLASSES = {"two": (0, 1), "a bool": (False, True), "signs": (-1, 1), "five": (0.0, 0.25, 0.5, 0.75, 1.0)}


def name(model: Any) -> str:
    return type(model).__name__


@pytest.mark.parametrize("model", REGRESSORS, ids=name)
@pytest.mark.parametrize("frame", [WHOLE, SPREAD], ids=["whole", "spread"])
def test_a_regressor_predicts_what_it_did(model: Any, frame: Any) -> None:
    model.fit(frame, cases.target(frame))
    cases.assert_agree(model, frame)


@pytest.mark.parametrize("model", CLASSIFIERS, ids=name)
@pytest.mark.parametrize("values", CLASSES.values(), ids=CLASSES.keys())
def test_a_classifier_predicts_the_expected_value_of_its_classes(model: Any, values: Any) -> None:
    labels = cases.classes(WHOLE, values)
    if np.asarray(values).dtype.kind == "f":  # scikit-learn takes 0.25 for a regression's target
        labels = (labels * 4).astype(int)
    model.fit(WHOLE, labels)
    cases.assert_agree(model, WHOLE)


def test_two_classes_0_and_1_give_the_probability_of_1() -> None:
    model = linear_model.LogisticRegression().fit(WHOLE, cases.classes(WHOLE, (0, 1)))
    bundle = cases.assert_agree(model, WHOLE)
    assert isinstance(bundle.model, bundle_model.Linear)
    assert np.array_equal(model.predict_proba(WHOLE) @ [0, 1], model.predict_proba(WHOLE)[:, 1])


def test_the_exponential_loss_has_its_own_share() -> None:
    model = ensemble.GradientBoostingClassifier(n_estimators=6, loss="exponential").fit(
        WHOLE, cases.classes(WHOLE, (0, 1))
    )
    cases.assert_agree(model, WHOLE)


VOTES: dict[str, Any] = {
    "regression forest": ensemble.RandomForestRegressor(10, random_state=0),
    "extra trees": ensemble.ExtraTreesRegressor(30, random_state=0),
    "two classes": ensemble.RandomForestClassifier(10, random_state=0),
    "gradient boosting": ensemble.GradientBoostingRegressor(n_estimators=10),
    "histogram": ensemble.HistGradientBoostingRegressor(max_iter=10),
}


@pytest.mark.parametrize("name", VOTES)
def test_rows_tie_where_scikit_learns_do(name: str) -> None:
    """Few targets make many equal sums, and ranks take any difference between them for one."""
    sample, live = cases.whole(600, 8), cases.whole(800, 8, seed=9)
    random = np.random.default_rng(0)
    target = random.choice([0, 0.25, 0.5, 0.75, 1], p=[0.05, 0.2, 0.5, 0.2, 0.05], size=600)
    fitted = base.clone(VOTES[name]).fit(sample, target > 0.5 if name == "two classes" else target)
    predict = pickles.load_predict(cases.exported(fitted, sample))
    said = fitted.predict_proba(live)[:, 1] if name == "two classes" else fitted.predict(live)
    np.testing.assert_array_equal(pickles.get_predict_raw(predict)(live, None), said)
    ranks = predict(live.assign(era="X"), None)["prediction"]
    np.testing.assert_array_equal(ranks, pd.Series(said).rank(pct=True))


def test_a_network_for_counts_has_an_exponential_on_top() -> None:
    model = neural_network.MLPRegressor(loss="poisson", **MLP).fit(WHOLE, cases.target(WHOLE) + 1)
    cases.assert_agree(model, WHOLE)


@pytest.mark.parametrize(
    "model",
    [
        tree.DecisionTreeRegressor(max_depth=6, random_state=1),
        ensemble.RandomForestRegressor(7, random_state=1),
        ensemble.RandomForestClassifier(7, random_state=1),
        ensemble.ExtraTreesRegressor(7, random_state=1),
        ensemble.HistGradientBoostingRegressor(max_iter=12),
        ensemble.HistGradientBoostingClassifier(max_iter=12),
    ],
    ids=name,
)
def test_missing_values_go_where_the_trees_send_them(model: Any) -> None:
    for frame in (WHOLE, SPREAD):
        sample = cases.holed(frame)
        labels = cases.classes(frame, (0, 1, 2)) if hasattr(model, "predict_proba") else cases.target(frame)
        for train in (sample, frame):  # trained with some, and without any
            model.fit(train, labels)
            bundle = cases.assert_agree(model, sample, frame, cases.holed(frame, 0.9))
            assert np.isnan(bundle.golden.inputs).any()


def test_a_model_that_takes_no_missing_values_gets_the_medians_of_the_sample() -> None:
    model = ensemble.GradientBoostingRegressor(n_estimators=9).fit(WHOLE, cases.target(WHOLE))
    bundle = cases.exported(model, WHOLE)
    assert isinstance(bundle.model, bundle_model.Trees)
    assert bundle.model.preprocessing is not None
    np.testing.assert_array_equal(bundle.model.preprocessing.imputation, WHOLE.median())
    cases.assert_agree(model, WHOLE)


def test_float32_weights_are_kept() -> None:
    frame = WHOLE.astype(np.float32)
    model = neural_network.MLPRegressor(**MLP).fit(frame.to_numpy(), cases.target(frame).astype(np.float32))
    cases.assert_agree(model, WHOLE)


def test_a_search_gives_its_best_model() -> None:
    search = model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1.0]}, cv=2)
    bundle = cases.assert_agree(search.fit(WHOLE, cases.target(WHOLE)), WHOLE)
    assert bundle.trained["objects"] == ("Ridge",)
    inner = pipeline.make_pipeline(preprocessing.StandardScaler(), search)
    cases.assert_agree(inner.fit(WHOLE, cases.target(WHOLE)), WHOLE)


@pytest.mark.parametrize(
    ("back", "way"),
    [
        (np.log1p, {"func": np.log1p, "inverse_func": np.expm1}),
        (np.log, {"func": np.log, "inverse_func": np.exp}),
        (np.sqrt, {"func": np.sqrt, "inverse_func": np.square}),
        ("nothing", {}),
        ("standard", {"transformer": preprocessing.StandardScaler()}),
        ("scale alone", {"transformer": preprocessing.StandardScaler(with_mean=False)}),
        ("robust", {"transformer": preprocessing.RobustScaler()}),
        ("range", {"transformer": preprocessing.MinMaxScaler((-1, 3))}),
        ("largest", {"transformer": preprocessing.MaxAbsScaler()}),
        ("uniform", {"transformer": preprocessing.QuantileTransformer(n_quantiles=30)}),
        ("normal", {"transformer": preprocessing.QuantileTransformer(n_quantiles=30, output_distribution="normal")}),
        (
            "several",
            {"transformer": pipeline.make_pipeline(preprocessing.StandardScaler(), preprocessing.MinMaxScaler())},
        ),
    ],
)
def test_a_transformed_target_comes_back(back: Any, way: Any) -> None:
    labels = cases.target(WHOLE) + 0.5
    for inner in (
        linear_model.Ridge(),
        ensemble.RandomForestRegressor(5, max_depth=4, random_state=1),
        pipeline.make_pipeline(preprocessing.StandardScaler(), neural_network.MLPRegressor(**MLP)),
    ):
        model = compose.TransformedTargetRegressor(inner, check_inverse=False, **way).fit(WHOLE, labels)
        bundle = cases.assert_agree(model, WHOLE)
        linear = isinstance(inner, linear_model.Ridge) and back in ("nothing", "standard", "range", "largest")
        assert isinstance(bundle.model, bundle_model.Linear) or not linear


def test_facts_say_what_was_trained() -> None:
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge())
    bundle = cases.exported(model.fit(WHOLE, cases.target(WHOLE)), WHOLE)
    assert bundle.trained["framework"] == "scikit-learn"
    assert bundle.trained["objects"] == ("Pipeline", "StandardScaler", "Ridge")
    assert "version" in bundle.trained


def test_benchmarks_may_stand_among_the_features() -> None:
    frame = WHOLE.rename(columns={"feature_2": "bench"})
    frame["bench"] = np.linspace(0, 1, len(frame))
    for model in (linear_model.Ridge(), ensemble.RandomForestRegressor(5, random_state=1)):
        bundle = cases.assert_agree(model.fit(frame, cases.target(frame)), frame, benchmark="bench")
        assert bundle.benchmarks == ("bench",)
        assert "bench" not in bundle.features


def test_a_model_of_an_array_takes_its_names_from_the_sample_or_the_caller() -> None:
    model = linear_model.Ridge().fit(WHOLE.to_numpy(np.float64), cases.target(WHOLE))
    assert cases.exported(model, WHOLE).features == tuple(WHOLE.columns)
    named = cases.exported(model, WHOLE.to_numpy(), features=list("abcdef"))
    assert named.features == tuple("abcdef")
    with pytest.raises(errors.ExportError, match=r"the Ridge takes 6 inputs, and 5 are named"):
        cases.exported(model, WHOLE.iloc[:, :5])


def several() -> Any:
    return np.stack([cases.target(WHOLE), cases.target(WHOLE, 8)], axis=1)


@pytest.mark.parametrize(
    ("model", "labels", "said"),
    [
        (svm.SVR(), None, "SVR cannot be expressed in a bundle; export a function"),
        (linear_model.Ridge(), several(), "Ridge has several outputs"),
        (neural_network.MLPRegressor(**MLP), several(), "MLPRegressor has several outputs"),
        (tree.DecisionTreeRegressor(max_depth=3), several(), "DecisionTreeRegressor has several outputs"),
        (ensemble.RandomForestClassifier(3), several() > 0.5, "RandomForestClassifier has several outputs"),
        (neural_network.MLPClassifier(**MLP), several() > 0.5, "MLPClassifier has several outputs"),
        (
            linear_model.LogisticRegression(),
            np.where(cases.target(WHOLE) > 0.5, "up", "down"),
            "are no numbers .'down'",
        ),
        (
            ensemble.GradientBoostingRegressor(init=linear_model.Ridge(), n_estimators=3),
            None,
            "GradientBoostingRegressor begins from the predictions of Ridge",
        ),
        (
            ensemble.HistGradientBoostingRegressor(max_iter=3, categorical_features=[1]),
            None,
            "HistGradientBoostingRegressor has 1 categorical features",
        ),
        (
            compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.cbrt, inverse_func=lambda y: y**3),
            None,
            "the target's inverse_func <lambda> at part 'transformer' cannot be expressed",
        ),
        (
            compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=preprocessing.PowerTransformer()),
            None,
            "the target's PowerTransformer at part 'transformer' cannot be expressed",
        ),
        (
            model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [1.0, 2.0]}, cv=2, refit=False),
            None,
            "GridSearchCV has no best_estimator_; fit it with refit=True",
        ),
    ],
)
def test_what_cannot_be_expressed_is_named(model: Any, labels: Any, said: str) -> None:
    model.fit(WHOLE, cases.target(WHOLE) if labels is None else labels)
    with pytest.raises(errors.ExportError, match=said):
        cases.exported(model, WHOLE)


class Clipped(linear_model.Ridge):
    """Predicts in its own way where no row of a sample may show it."""

    def predict(self, rows: Any) -> Any:
        return np.clip(super().predict(rows), -5, 5)


def test_a_subclass_that_predicts_in_its_own_way_is_named() -> None:
    model = Clipped().fit(WHOLE, cases.target(WHOLE))
    with pytest.raises(errors.ExportError, match=r"Clipped\.predict of Clipped is not scikit-learn's own"):
        cases.exported(model, WHOLE)
    with pytest.raises(errors.ExportError, match=r"Clipped\.predict of Clipped at step 'clipped' is not"):
        cases.exported(pipeline.make_pipeline(model), WHOLE)


@pytest.mark.parametrize("model", [linear_model.Ridge(), pipeline.make_pipeline(linear_model.Ridge())], ids=name)
def test_a_model_that_is_not_fitted_is_named(model: Any) -> None:
    with pytest.raises(errors.ExportError, match=r"is not fitted; train it first"):
        cases.exported(model, WHOLE)
