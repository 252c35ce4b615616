"""Pipelines and column transformers: the framework, the bundle and the pickle predict the same."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import special
from sklearn import (
    base,
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    neural_network,
    pipeline,
    preprocessing,
    random_projection,
    tree,
)

from builder import errors
from builder.bundle import model as bundle_model
from tests.support import pickles
from tests.support import sklearn_exports as cases

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Skipping features without any observed values"),
    pytest.mark.filterwarnings("ignore:n_quantiles"),
    pytest.mark.filterwarnings("ignore:Bins whose width are too small"),
    pytest.mark.usefixtures("one_thread", "numbers_only"),
]

INTEGERS = cases.make_integers(160, 6)
FLOATS = cases.make_floats(160, 6)
MISSING = cases.set_missing(FLOATS)
NAMES = list(INTEGERS.columns)

STEPS = {
    "standard": preprocessing.StandardScaler(),
    "centred": preprocessing.StandardScaler(with_std=False),
    "scaled": preprocessing.StandardScaler(with_mean=False),
    "range": preprocessing.MinMaxScaler((-2, 1)),
    "clipped": preprocessing.MinMaxScaler(clip=True),
    "robust": preprocessing.RobustScaler(),
    "unit": preprocessing.RobustScaler(unit_variance=True, with_centering=False, quantile_range=(10, 90)),
    "largest": preprocessing.MaxAbsScaler(),
    "uniform": preprocessing.QuantileTransformer(n_quantiles=20),
    "normal": preprocessing.QuantileTransformer(n_quantiles=20, output_distribution="normal"),
    "pca": decomposition.PCA(3),
    "whitened": decomposition.PCA(0.9, whiten=True, svd_solver="full"),
    "identity": preprocessing.FunctionTransformer(),
    "passed": "passthrough",
    "selected": feature_selection.SelectKBest(feature_selection.f_regression, k=3),
}


def make_models() -> dict[str, Any]:
    """Return small unfitted models."""
    return {
        "ridge": linear_model.Ridge(),
        "mlp": neural_network.MLPRegressor(hidden_layer_sizes=(6,), max_iter=60, random_state=1),
        "forest": ensemble.RandomForestRegressor(5, max_depth=5, random_state=1),
        "boosted": ensemble.GradientBoostingRegressor(n_estimators=6, random_state=1),
        "histogram": ensemble.HistGradientBoostingRegressor(max_iter=6),
    }


def fit(*steps: Any, frame: pd.DataFrame) -> Any:
    return pipeline.make_pipeline(*steps).fit(frame, cases.make_target(frame))


# Steps that are never imputed before, so that the random pipelines below do without them.
MORE_STEPS = {
    "products": preprocessing.PolynomialFeatures(),
    "interactions": preprocessing.PolynomialFeatures(3, interaction_only=True, include_bias=False),
    "expit": pipeline.make_pipeline(preprocessing.StandardScaler(), preprocessing.FunctionTransformer(special.expit)),
    "absolute": preprocessing.FunctionTransformer(np.abs),
    "svd": decomposition.TruncatedSVD(3),
    "factors": decomposition.FactorAnalysis(2),
    "pools": cluster.FeatureAgglomeration(3),
    "projection": random_projection.GaussianRandomProjection(3, random_state=1),
}


@pytest.mark.parametrize("step", MORE_STEPS)
def test_nonlinear_step_or_projection_before_a_model(step: str) -> None:
    for model in (linear_model.Ridge(), tree.DecisionTreeRegressor(max_depth=4)):
        for frame in (INTEGERS, FLOATS):
            cases.assert_agree(fit(MORE_STEPS[step], model, frame=frame), frame, frame * 2 - 1)


def test_only_selected_products_are_computed() -> None:
    steps = preprocessing.PolynomialFeatures(), feature_selection.SelectKBest(feature_selection.f_regression, k=4)
    with warnings.catch_warnings(category=UserWarning, action="ignore"):  # the constant has no correlation
        model = fit(*steps, linear_model.Ridge(), frame=INTEGERS)
    bundle = cases.assert_agree(model, INTEGERS)
    assert isinstance(bundle.model, bundle_model.Network)
    [product] = [node for node in bundle.model.layers if node.op == "product"]
    assert product["factors"].shape[1] < 4


def test_functions_of_scaled_columns_and_their_products() -> None:
    steps = (
        preprocessing.MinMaxScaler(),
        preprocessing.FunctionTransformer(np.log1p),
        preprocessing.PolynomialFeatures(interaction_only=True),
        preprocessing.MinMaxScaler(),
    )
    cases.assert_agree(fit(*steps, linear_model.Ridge(), frame=INTEGERS), INTEGERS, INTEGERS + 3)


# All tree models share the code path of the forest, so that two steps are enough for the others.
@pytest.mark.parametrize(
    ("step", "model"),
    [
        *((step, model) for step in STEPS for model in ("ridge", "mlp", "forest")),
        *((step, model) for step in ("standard", "uniform") for model in ("boosted", "histogram")),
    ],
)
def test_step_before_a_model(step: str, model: str) -> None:
    for frame in (INTEGERS, FLOATS):
        # The other rows exceed the range of the training: quantiles and clips have limits.
        cases.assert_agree(fit(STEPS[step], make_models()[model], frame=frame.iloc[:120]), frame, frame * 2 - 1)


def test_imputing_and_scaling_become_preprocessing_of_the_bundle() -> None:
    model = fit(
        impute.SimpleImputer(),
        preprocessing.StandardScaler(),
        preprocessing.MinMaxScaler(),
        linear_model.Ridge(),
        frame=MISSING,
    )
    bundle = cases.assert_agree(model, MISSING, FLOATS)
    assert isinstance(bundle.model, bundle_model.Linear)
    np.testing.assert_allclose(bundle.model.imputation, model[0].statistics_)
    assert np.isnan(bundle.golden.inputs).any()
    network = fit(
        preprocessing.StandardScaler(), neural_network.MLPRegressor(hidden_layer_sizes=(4,), max_iter=20), frame=FLOATS
    )
    fitted = cases.export_and_read(network, FLOATS).model
    assert isinstance(fitted, bundle_model.Network)
    assert len(fitted.layers) == 2
    np.testing.assert_array_equal(fitted.centre, network[0].mean_)


@pytest.mark.parametrize(
    "imputer",
    [
        impute.SimpleImputer(strategy="median"),
        impute.SimpleImputer(strategy="most_frequent"),
        impute.SimpleImputer(strategy="constant", fill_value=1.5),
    ],
    ids=lambda imputer: imputer.strategy,
)
@pytest.mark.parametrize("model", make_models().values(), ids=make_models().keys())
def test_imputer_before_or_after_a_scaler(imputer: Any, model: Any) -> None:
    cases.assert_agree(fit(imputer, preprocessing.RobustScaler(), model, frame=MISSING), MISSING, FLOATS)
    scalers = (preprocessing.StandardScaler(), preprocessing.MinMaxScaler())
    cases.assert_agree(fit(*scalers, imputer, model, frame=MISSING), MISSING, FLOATS)


def test_value_equal_to_the_median_is_within_the_bound() -> None:
    """Missing inputs become the float32 of the median if quantiles repeat, but scikit-learn uses the float64."""
    frame = FLOATS.iloc[:41].copy()
    frame.iloc[31:, 0] = np.nan
    median = float(frame["feature_0"].median())
    assert (frame["feature_0"] == median).sum() == 1
    assert float(np.float32(median)) != median
    steps = (impute.SimpleImputer(strategy="median"), preprocessing.QuantileTransformer(n_quantiles=20))
    cases.assert_agree(fit(*steps, make_models()["mlp"], frame=frame), frame)


def test_column_without_values_is_dropped_or_kept() -> None:
    frame = MISSING.assign(feature_2=np.nan)
    for keep in (False, True):
        imputer = impute.SimpleImputer(keep_empty_features=keep)
        for model in make_models().values():
            fitted = fit(imputer, preprocessing.StandardScaler(), model, frame=frame)
            cases.assert_agree(fitted, frame, MISSING)


BEFORE_TREES: dict[str, Any] = {
    "two scalers": (preprocessing.StandardScaler(), preprocessing.RobustScaler()),
    "a range, then a scaler": (preprocessing.MinMaxScaler(), preprocessing.StandardScaler()),
    "quantiles, then a scaler": (preprocessing.QuantileTransformer(n_quantiles=50), preprocessing.StandardScaler()),
    "two transformer": (pipeline.make_union(preprocessing.StandardScaler(), "passthrough"),),
}


@pytest.mark.parametrize("before", BEFORE_TREES.values(), ids=BEFORE_TREES)
def test_steps_before_trees_are_exact(before: Any) -> None:
    """The last bit decides the branch of a row whose value equals a threshold."""
    trees = (ensemble.HistGradientBoostingRegressor(max_iter=10), ensemble.RandomForestRegressor(7, random_state=0))
    for frame in (cases.make_floats(500, 6), cases.make_integers(500, 6)):
        for last in trees:
            model = pipeline.make_pipeline(*map(base.clone, before), base.clone(last)).fit(
                frame, cases.make_target(frame)
            )
            raw = pickles.get_predict_raw(pickles.load_predict(cases.export_and_read(model, frame[:10])))
            np.testing.assert_array_equal(raw(frame, None), model.predict(frame))


def test_quantiles_of_many_inputs_use_float64() -> None:
    """The float32 of 0.1 differs from the float64 of the quantile 0.1."""
    values = np.random.default_rng(1).choice([0.1, 0.2, 0.3, 0.4, 0.5], size=(200, 300))
    frame = pd.DataFrame(values, columns=cases.make_names(300))
    steps = (preprocessing.QuantileTransformer(n_quantiles=100, output_distribution="normal"), linear_model.Ridge())
    cases.assert_agree(fit(*steps, frame=frame), frame)
    cases.assert_agree(fit(preprocessing.StandardScaler(), *steps, frame=frame), frame)


def test_missing_values_stay_missing_through_steps() -> None:
    for step in ("standard", "clipped", "uniform", "normal"):
        for model in (ensemble.HistGradientBoostingRegressor(max_iter=6), tree.DecisionTreeRegressor(max_depth=5)):
            cases.assert_agree(fit(STEPS[step], model, frame=MISSING), MISSING, FLOATS)


@pytest.mark.parametrize("model", make_models().values(), ids=make_models().keys())
def test_column_transformer(model: Any) -> None:
    numbers = pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())
    transformer = compose.ColumnTransformer(
        [
            ("numbers", numbers, ["feature_4", "feature_1"]),
            ("shares", preprocessing.QuantileTransformer(n_quantiles=15), [0]),
            ("none", "drop", ["feature_2"]),
            ("same", "passthrough", lambda frame: [name for name in frame.columns if name.endswith("3")]),
            ("nothing", preprocessing.StandardScaler(), []),
        ],
        remainder=preprocessing.MinMaxScaler(),
    )
    frame = FLOATS.copy()
    frame["feature_1"] = MISSING["feature_1"]
    bundle = cases.assert_agree(fit(transformer, model, frame=frame), frame, FLOATS)
    assert np.isnan(bundle.golden.inputs).any()


@pytest.mark.parametrize("model", make_models().values(), ids=make_models().keys())
def test_column_in_several_branches(model: Any) -> None:
    transformer = compose.ColumnTransformer(
        [
            ("plain", "passthrough", slice(0, 3)),
            ("scaled", preprocessing.StandardScaler(), [False, True, True, True, False, False]),
            ("pca", pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(2)), NAMES),
        ]
    )
    cases.assert_agree(fit(transformer, model, frame=FLOATS), FLOATS)
    both = pipeline.make_union(preprocessing.StandardScaler(), decomposition.PCA(2, whiten=True))
    after = compose.ColumnTransformer([("a", "passthrough", [7, 1]), ("b", preprocessing.RobustScaler(), [7, 6, 0])])
    cases.assert_agree(fit(both, after, model, frame=FLOATS), FLOATS)


def test_subset_of_columns_needs_no_node() -> None:
    transformer = compose.ColumnTransformer([("some", preprocessing.StandardScaler(), ["feature_5", "feature_2"])])
    for name, model in make_models().items():
        fitted = cases.assert_agree(
            fit(transformer, model, frame=FLOATS), FLOATS, MISSING if name == "histogram" else FLOATS
        )
        if isinstance(fitted.model, bundle_model.Trees):
            assert fitted.model.preprocessing is not None
            assert not fitted.model.preprocessing.layers
        else:
            assert isinstance(fitted.model, (bundle_model.Linear, bundle_model.Network))


def test_inputs_without_an_imputer_get_the_callers_imputation() -> None:
    transformer = compose.ColumnTransformer([("a", impute.SimpleImputer(), [0, 1]), ("b", "passthrough", [2, 3, 4, 5])])
    frame = FLOATS.assign(feature_0=MISSING["feature_0"])
    model = fit(transformer, linear_model.Ridge(), frame=frame)
    bundle = cases.export_and_read(model, frame, imputation=0.25)
    assert isinstance(bundle.model, bundle_model.Linear)
    statistics = model[0].named_transformers_["a"].statistics_
    np.testing.assert_allclose(bundle.model.imputation, [*statistics, 0.25, 0.25, 0.25, 0.25])


def test_many_columns_in_float32() -> None:
    count = 300
    frame = cases.set_missing(cases.make_integers(200, count), share=0.3)
    transformer = compose.ColumnTransformer(
        [
            ("shares", preprocessing.QuantileTransformer(n_quantiles=50), cases.make_names(count)[:40]),
            ("normal", preprocessing.QuantileTransformer(n_quantiles=50, output_distribution="normal"), [41, 42]),
            ("clipped", preprocessing.MinMaxScaler(clip=True), cases.make_names(count)[35:60]),
        ],
        remainder="passthrough",
    )
    network = neural_network.MLPRegressor(hidden_layer_sizes=(200,), max_iter=5, random_state=1)
    imputer = impute.SimpleImputer().set_output(transform="pandas")
    cases.assert_agree(fit(imputer, preprocessing.StandardScaler(), network, frame=frame), frame)
    cases.assert_agree(fit(imputer, transformer, network, frame=frame), frame)
    scaler = preprocessing.StandardScaler().set_output(transform="pandas")
    cases.assert_agree(fit(imputer, scaler, transformer, network, frame=frame), frame)


def test_model_is_not_changed() -> None:
    for model in make_models().values():
        steps = (
            impute.SimpleImputer(),
            preprocessing.QuantileTransformer(n_quantiles=9),
            decomposition.PCA(whiten=True),
        )
        fitted = fit(*steps, model, frame=FLOATS)
        before = pickle.dumps(fitted)
        cases.export_and_read(fitted, FLOATS)
        assert pickle.dumps(fitted) == before


def make_booster(**options: Any) -> Any:
    return lightgbm.LGBMRegressor(n_estimators=8, min_child_samples=5, verbose=-1, n_jobs=1, **options)


@pytest.mark.parametrize("step", ["standard", "uniform", "pca", "passed", "selected"])
def test_booster_after_a_step(step: str) -> None:
    model = fit(STEPS[step], make_booster(), frame=FLOATS)
    bundle = cases.assert_agree(model, FLOATS)
    assert bundle.trained["packages"] == (f"lightgbm {lightgbm.__version__}",)
    some = compose.ColumnTransformer([("some", preprocessing.StandardScaler(), [4, 1])], remainder="drop")
    cases.assert_agree(fit(some, make_booster(), frame=MISSING), MISSING, FLOATS)


def test_booster_classifier_trained_on_arrays() -> None:
    labels = cases.make_classes(FLOATS, (0, 1, 2))
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), lightgbm.LGBMClassifier(n_estimators=5, verbose=-1))
    cases.assert_agree(model.fit(FLOATS.to_numpy(), labels), FLOATS)


def test_booster_with_a_transformed_target() -> None:
    model = compose.TransformedTargetRegressor(make_booster(), func=np.log1p, inverse_func=np.expm1)
    fitted = pipeline.make_pipeline(preprocessing.StandardScaler(), model).fit(FLOATS, cases.make_target(FLOATS))
    cases.assert_agree(fitted, FLOATS)


def _fresh(name: str) -> Any:
    return STEPS[name] if isinstance(STEPS[name], str) else base.clone(STEPS[name])


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[Any, pd.DataFrame]:
    """Draw a fitted pipeline and its training rows, with missing values or without."""
    inputs = draw(st.integers(2, 7))
    seed = draw(st.integers(0, 99))
    frame = draw(st.sampled_from([cases.make_integers, cases.make_floats]))(60, inputs, seed)
    model = make_models()[draw(st.sampled_from(sorted(make_models())))]
    missing = draw(st.booleans())
    simple_steps = [name for name in STEPS if name not in ("pca", "whitened", "selected")]
    first: list[Any] = [impute.SimpleImputer(strategy=draw(st.sampled_from(["mean", "median"])))] if missing else []
    first += [_fresh(draw(st.sampled_from(simple_steps))) for _ in range(draw(st.integers(0, 2)))]
    indices = draw(st.permutations(range(inputs)))
    cut = draw(st.integers(1, inputs))
    parts = compose.ColumnTransformer(
        [
            ("first", pipeline.make_pipeline(*first, "passthrough"), indices[:cut]),
            (
                "second",
                pipeline.make_pipeline(*first[:1], decomposition.PCA(1)),
                indices[: draw(st.integers(1, inputs))],
            ),
        ],
        remainder=draw(st.sampled_from(["drop", impute.SimpleImputer() if missing else "passthrough"])),
    )
    before = [parts] if draw(st.booleans()) else first
    last = _fresh(draw(st.sampled_from(simple_steps)))
    rows = cases.set_missing(frame, seed=seed) if missing else frame
    return pipeline.make_pipeline(*before, last, model).fit(rows, cases.make_target(rows)), rows


@given(pipelines())
@settings(max_examples=30)
def test_random_pipelines(case: tuple[Any, pd.DataFrame]) -> None:
    model, rows = case
    try:
        cases.assert_agree(model, rows)
    except errors.ExportError as error:
        if "rounding errors would change" not in str(error):  # quantiles after a PCA of integers
            raise
        reject()


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("power", preprocessing.PowerTransformer())], "PowerTransformer at step 'power' cannot be expressed"),
        (
            [
                (
                    "transformer",
                    compose.ColumnTransformer(
                        [("bins", pipeline.Pipeline([("one", preprocessing.KBinsDiscretizer(3))]), [0])]
                    ),
                )
            ],
            "KBinsDiscretizer at step 'transformer', branch 'bins', step 'one' cannot be expressed",
        ),
        ([("fill", impute.SimpleImputer(add_indicator=True))], "SimpleImputer at step 'fill' has add_indicator=True"),
        ([("fill", impute.SimpleImputer(missing_values=0))], "SimpleImputer at step 'fill' replaces 0"),
        (
            [("shares", preprocessing.QuantileTransformer(n_quantiles=9)), ("fill", impute.SimpleImputer())],
            "SimpleImputer at step 'fill' comes after a QuantileTransformer, which cannot be inverted; put the imputer",
        ),
        (
            [("clip", preprocessing.MinMaxScaler(clip=True)), ("fill", impute.SimpleImputer())],
            "SimpleImputer at step 'fill' comes after a clipped scaler",
        ),
        (
            [
                (
                    "transformer",
                    compose.ColumnTransformer(
                        [("a", impute.SimpleImputer(), [0]), ("b", impute.SimpleImputer(strategy="median"), [1, 0])]
                    ),
                )
            ],
            "the pipeline imputes feature_0 differently in two branches",
        ),
        (
            [("pools", cluster.FeatureAgglomeration(3, pooling_func=np.max))],
            "FeatureAgglomeration at step 'pools' is not linear",
        ),
        (
            [("log", preprocessing.FunctionTransformer(np.log1p))],
            "FunctionTransformer at step 'log' calls log1p on the features themselves, which numpy computes in float16",
        ),
        (
            [("sign", preprocessing.FunctionTransformer(np.sign))],
            "FunctionTransformer at step 'sign' calls sign, which cannot be expressed in a bundle; use one of the",
        ),
        (
            [
                (
                    "both",
                    pipeline.FeatureUnion([("a", preprocessing.StandardScaler())], transformer_weights={"a": 2.0}),
                )
            ],
            "FeatureUnion at step 'both' has transformer_weights",
        ),
        (
            [
                (
                    "transformer",
                    compose.ColumnTransformer(
                        [("a", preprocessing.StandardScaler(), [0, 1])], transformer_weights={"a": 3.0}
                    ),
                )
            ],
            "ColumnTransformer at step 'transformer' has transformer_weights",
        ),
    ],
)
def test_unsupported_step_is_named_with_its_path(steps: Any, message: str) -> None:
    frame = cases.set_missing(INTEGERS) + 1 if "fill" in message or "imputes" in message else INTEGERS + 1
    if "replaces 0" in message:
        frame = INTEGERS.astype(float)
    model = pipeline.Pipeline([*steps, ("model", ensemble.HistGradientBoostingRegressor(max_iter=2))])
    model.fit(frame, cases.make_target(frame))
    with pytest.raises(errors.ExportError, match=message):
        cases.export_and_read(model, frame)


def test_pipeline_without_a_model_is_named() -> None:
    model = pipeline.Pipeline([("scale", preprocessing.StandardScaler())]).fit(INTEGERS)
    with pytest.raises(errors.ExportError, match="StandardScaler at step 'scale' cannot be expressed"):
        cases.export_and_read(model, INTEGERS)
