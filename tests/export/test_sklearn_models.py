"""Each supported estimator of scikit-learn: the framework, the bundle and the pickle predict the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    base,
    compose,
    cross_decomposition,
    discriminant_analysis,
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

# The tests do not depend on convergence.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("one_thread", "numbers_only"),
]

INTEGERS = cases.make_integers(220, 6)
FLOATS = cases.make_floats(220, 6)
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
    svm.SVR(kernel="linear"),
    cross_decomposition.PLSRegression(2),
    linear_model.ARDRegression(),
    linear_model.GammaRegressor(),
    linear_model.LassoLarsCV(),
    linear_model.PoissonRegressor(),
    linear_model.RANSACRegressor(random_state=1),
    linear_model.SGDRegressor(random_state=1),
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
    discriminant_analysis.LinearDiscriminantAnalysis(),
]
CLASSES = {"two": (0, 1), "a bool": (False, True), "signs": (-1, 1), "five": (0.0, 0.25, 0.5, 0.75, 1.0)}


def name(model: Any) -> str:
    return type(model).__name__


@pytest.mark.parametrize("model", REGRESSORS, ids=name)
@pytest.mark.parametrize("frame", [INTEGERS, FLOATS], ids=["whole", "spread"])
def test_regressor_predicts_the_same(model: Any, frame: Any) -> None:
    model.fit(frame, cases.make_target(frame) + 0.1)  # not 0, which a GammaRegressor refuses
    cases.assert_agree(model, frame)


@pytest.mark.parametrize("model", CLASSIFIERS, ids=name)
@pytest.mark.parametrize("values", CLASSES.values(), ids=CLASSES.keys())
def test_classifier_predicts_the_expected_value_of_its_classes(model: Any, values: Any) -> None:
    labels = cases.make_classes(INTEGERS, values)
    if np.asarray(values).dtype.kind == "f":  # scikit-learn refuses fractions as classes
        labels = (labels * 4).astype(int)
    model.fit(INTEGERS, labels)
    cases.assert_agree(model, INTEGERS)


def test_classes_0_and_1_give_the_probability_of_1() -> None:
    model = linear_model.LogisticRegression().fit(INTEGERS, cases.make_classes(INTEGERS, (0, 1)))
    bundle = cases.assert_agree(model, INTEGERS)
    assert isinstance(bundle.model, bundle_model.Linear)
    assert np.array_equal(model.predict_proba(INTEGERS) @ [0, 1], model.predict_proba(INTEGERS)[:, 1])


def test_exponential_loss() -> None:
    model = ensemble.GradientBoostingClassifier(n_estimators=6, loss="exponential").fit(
        INTEGERS, cases.make_classes(INTEGERS, (0, 1))
    )
    cases.assert_agree(model, INTEGERS)


TIED: dict[str, Any] = {
    "regression forest": ensemble.RandomForestRegressor(10, random_state=0),
    "extra trees": ensemble.ExtraTreesRegressor(30, random_state=0),
    "two classes": ensemble.RandomForestClassifier(10, random_state=0),
    "gradient boosting": ensemble.GradientBoostingRegressor(n_estimators=10),
    "histogram": ensemble.HistGradientBoostingRegressor(max_iter=10),
}


@pytest.mark.parametrize("name", TIED)
def test_rows_tie_as_in_scikit_learn(name: str) -> None:
    """Few distinct targets make many equal sums, whose ranks differ if a single bit does."""
    sample, live = cases.make_integers(600, 8), cases.make_integers(800, 8, seed=9)
    random = np.random.default_rng(0)
    target = random.choice([0, 0.25, 0.5, 0.75, 1], p=[0.05, 0.2, 0.5, 0.2, 0.05], size=600)
    fitted = base.clone(TIED[name]).fit(sample, target > 0.5 if name == "two classes" else target)
    predict = pickles.load_predict(cases.export_and_read(fitted, sample))
    expected = fitted.predict_proba(live)[:, 1] if name == "two classes" else fitted.predict(live)
    np.testing.assert_array_equal(pickles.get_predict_raw(predict)(live, None), expected)
    ranks = predict(live.assign(era="X"), None)["prediction"]
    np.testing.assert_array_equal(ranks, pd.Series(expected).rank(pct=True))


def test_poisson_network_ends_in_an_exponential() -> None:
    model = neural_network.MLPRegressor(loss="poisson", **MLP).fit(INTEGERS, cases.make_target(INTEGERS) + 1)
    cases.assert_agree(model, INTEGERS)


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
def test_trees_accept_missing_values(model: Any) -> None:
    for frame in (INTEGERS, FLOATS):
        sample = cases.set_missing(frame)
        labels = cases.make_classes(frame, (0, 1, 2)) if hasattr(model, "predict_proba") else cases.make_target(frame)
        for train in (sample, frame):  # trained with and without missing values
            model.fit(train, labels)
            bundle = cases.assert_agree(model, sample, frame, cases.set_missing(frame, 0.9))
            assert np.isnan(bundle.golden.inputs).any()


def test_missing_values_become_the_medians_of_the_sample() -> None:
    model = ensemble.GradientBoostingRegressor(n_estimators=9).fit(INTEGERS, cases.make_target(INTEGERS))
    bundle = cases.export_and_read(model, INTEGERS)
    assert isinstance(bundle.model, bundle_model.Trees)
    assert bundle.model.preprocessing is not None
    np.testing.assert_array_equal(bundle.model.preprocessing.imputation, INTEGERS.median())
    cases.assert_agree(model, INTEGERS)


def test_float32_weights() -> None:
    frame = INTEGERS.astype(np.float32)
    model = neural_network.MLPRegressor(**MLP).fit(frame.to_numpy(), cases.make_target(frame).astype(np.float32))
    cases.assert_agree(model, INTEGERS)


def test_search_exports_its_best_model() -> None:
    search = model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1.0]}, cv=2)
    bundle = cases.assert_agree(search.fit(INTEGERS, cases.make_target(INTEGERS)), INTEGERS)
    assert bundle.trained["objects"] == ("Ridge",)
    inner = pipeline.make_pipeline(preprocessing.StandardScaler(), search)
    cases.assert_agree(inner.fit(INTEGERS, cases.make_target(INTEGERS)), INTEGERS)


@pytest.mark.parametrize(
    ("transformation", "arguments"),
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
def test_transformed_target(transformation: Any, arguments: Any) -> None:
    labels = cases.make_target(INTEGERS) + 0.5
    for inner in (
        linear_model.Ridge(),
        ensemble.RandomForestRegressor(5, max_depth=4, random_state=1),
        pipeline.make_pipeline(preprocessing.StandardScaler(), neural_network.MLPRegressor(**MLP)),
    ):
        model = compose.TransformedTargetRegressor(inner, check_inverse=False, **arguments).fit(INTEGERS, labels)
        bundle = cases.assert_agree(model, INTEGERS)
        linear = isinstance(inner, linear_model.Ridge) and transformation in ("nothing", "standard", "range", "largest")
        assert isinstance(bundle.model, bundle_model.Linear) or not linear


def test_facts() -> None:
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge())
    bundle = cases.export_and_read(model.fit(INTEGERS, cases.make_target(INTEGERS)), INTEGERS)
    assert bundle.trained["framework"] == "scikit-learn"
    assert bundle.trained["objects"] == ("Pipeline", "StandardScaler", "Ridge")
    assert "version" in bundle.trained


def test_benchmark_may_be_among_the_features() -> None:
    frame = INTEGERS.rename(columns={"feature_2": "bench"})
    frame["bench"] = np.linspace(0, 1, len(frame))
    for model in (linear_model.Ridge(), ensemble.RandomForestRegressor(5, random_state=1)):
        bundle = cases.assert_agree(model.fit(frame, cases.make_target(frame)), frame, benchmark="bench")
        assert bundle.benchmarks == ("bench",)
        assert "bench" not in bundle.features


def test_model_of_an_array_gets_names_from_the_sample_or_caller() -> None:
    model = linear_model.Ridge().fit(INTEGERS.to_numpy(np.float64), cases.make_target(INTEGERS))
    assert cases.export_and_read(model, INTEGERS).features == tuple(INTEGERS.columns)
    bundle = cases.export_and_read(model, INTEGERS.to_numpy(), features=list("abcdef"))
    assert bundle.features == tuple("abcdef")
    with pytest.raises(
        errors.ExportError, match=r"the Ridge takes 6 inputs, but features= and benchmark= have 5 together"
    ):
        cases.export_and_read(model, INTEGERS.iloc[:, :5])


@pytest.mark.parametrize(
    "model",
    [
        linear_model.RANSACRegressor(random_state=1),
        model_selection.GridSearchCV(linear_model.RANSACRegressor(random_state=1), {"max_trials": [9]}, cv=2),
        model_selection.FixedThresholdClassifier(tree.DecisionTreeClassifier(max_depth=3)),
        ensemble.BaggingRegressor(linear_model.Ridge(), 2, random_state=1),
    ],
    ids=name,
)
def test_names_are_those_of_the_training(model: Any) -> None:
    """These models train what they contain on arrays without names."""
    is_classifier = hasattr(model, "predict_proba")
    model.fit(INTEGERS, cases.make_classes(INTEGERS, (0, 1)) if is_classifier else cases.make_target(INTEGERS))
    bundle = cases.assert_agree(model, INTEGERS)
    sample = INTEGERS.iloc[:, ::-1].assign(other=1)
    assert cases.export_and_read(model, sample).features == bundle.features == tuple(INTEGERS.columns)


def make_two_targets() -> Any:
    return np.stack([cases.make_target(INTEGERS), cases.make_target(INTEGERS, 8)], axis=1)


@pytest.mark.parametrize(
    ("model", "labels", "message"),
    [
        (svm.SVR(), None, "SVR cannot be expressed in a bundle; see docs/export/predict-function.md"),
        (linear_model.Ridge(), make_two_targets(), "Ridge has several outputs"),
        (neural_network.MLPRegressor(**MLP), make_two_targets(), "MLPRegressor has several outputs"),
        (
            tree.DecisionTreeRegressor(max_depth=3),
            make_two_targets(),
            "DecisionTreeRegressor has several outputs",
        ),
        (
            ensemble.RandomForestClassifier(3),
            make_two_targets() > 0.5,
            "RandomForestClassifier has several outputs",
        ),
        (neural_network.MLPClassifier(**MLP), make_two_targets() > 0.5, "MLPClassifier has several outputs"),
        (
            linear_model.LogisticRegression(),
            np.where(cases.make_target(INTEGERS) > 0.5, "up", "down"),
            "are not numeric .'down'",
        ),
        (
            ensemble.GradientBoostingRegressor(init=linear_model.Ridge(), n_estimators=3),
            None,
            "GradientBoostingRegressor starts from the predictions of Ridge",
        ),
        (
            ensemble.HistGradientBoostingRegressor(max_iter=3, categorical_features=[1]),
            None,
            "HistGradientBoostingRegressor has 1 categorical features",
        ),
        (
            compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.cbrt, inverse_func=lambda y: y**3),
            None,
            "inverse_func at part 'transformer' is <lambda>, which cannot be expressed",
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
def test_unsupported_model_is_named(model: Any, labels: Any, message: str) -> None:
    model.fit(INTEGERS, cases.make_target(INTEGERS) if labels is None else labels)
    with pytest.raises(errors.ExportError, match=message):
        cases.export_and_read(model, INTEGERS)


class Clipped(linear_model.Ridge):
    """Overrides predict in a way that the rows of the sample do not show."""

    def predict(self, rows: Any) -> Any:
        return np.clip(super().predict(rows), -5, 5)


def test_subclass_that_overrides_predict_is_named() -> None:
    model = Clipped().fit(INTEGERS, cases.make_target(INTEGERS))
    with pytest.raises(errors.ExportError, match=r"Clipped\.predict of Clipped overrides scikit-learn's method"):
        cases.export_and_read(model, INTEGERS)
    with pytest.raises(errors.ExportError, match=r"Clipped\.predict of Clipped at step 'clipped' overrides"):
        cases.export_and_read(pipeline.make_pipeline(model), INTEGERS)


@pytest.mark.parametrize("model", [linear_model.Ridge(), pipeline.make_pipeline(linear_model.Ridge())], ids=name)
def test_unfitted_model_is_named(model: Any) -> None:
    with pytest.raises(errors.ExportError, match=r"is not fitted; train it first"):
        cases.export_and_read(model, INTEGERS)
