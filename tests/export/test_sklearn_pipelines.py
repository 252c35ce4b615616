"""Pipelines and column transformers of scikit-learn: the framework, the reference and the pickle agree."""

from __future__ import annotations

import pickle
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from sklearn import (
    base,
    compose,
    decomposition,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    neural_network,
    pipeline,
    preprocessing,
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
    pytest.mark.usefixtures("one_thread"),
]

WHOLE = cases.whole(160, 6)
SPREAD = cases.spread(160, 6)
MISSING = cases.holed(SPREAD)
NAMES = list(WHOLE.columns)

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


def models() -> dict[str, Any]:
    """Return small models, not fitted."""
    return {
        "ridge": linear_model.Ridge(),
        "mlp": neural_network.MLPRegressor(hidden_layer_sizes=(6,), max_iter=60, random_state=1),
        "forest": ensemble.RandomForestRegressor(5, max_depth=5, random_state=1),
        "boosted": ensemble.GradientBoostingRegressor(n_estimators=6, random_state=1),
        "histogram": ensemble.HistGradientBoostingRegressor(max_iter=6),
    }


def fitted(*steps: Any, frame: pd.DataFrame) -> Any:
    return pipeline.make_pipeline(*steps).fit(frame, cases.target(frame))


# All trees go the way of the forest; what is told apart before them is told apart before the two others too.
@pytest.mark.parametrize(
    ("step", "model"),
    [
        *((step, model) for step in STEPS for model in ("ridge", "mlp", "forest")),
        *((step, model) for step in ("standard", "uniform") for model in ("boosted", "histogram")),
    ],
)
def test_a_step_before_a_model(step: str, model: str) -> None:
    for frame in (WHOLE, SPREAD):
        # Rows beyond what it was fitted on: quantiles and clips have ends.
        cases.assert_agree(fitted(STEPS[step], models()[model], frame=frame.iloc[:120]), frame, frame * 2 - 1)


def test_imputing_and_scaling_become_the_front_of_the_bundle() -> None:
    model = fitted(
        impute.SimpleImputer(),
        preprocessing.StandardScaler(),
        preprocessing.MinMaxScaler(),
        linear_model.Ridge(),
        frame=MISSING,
    )
    bundle = cases.assert_agree(model, MISSING, SPREAD)
    assert isinstance(bundle.model, bundle_model.Linear)
    np.testing.assert_allclose(bundle.model.imputation, model[0].statistics_)
    assert np.isnan(bundle.golden.inputs).any()
    network = fitted(
        preprocessing.StandardScaler(), neural_network.MLPRegressor(hidden_layer_sizes=(4,), max_iter=20), frame=SPREAD
    )
    made = cases.exported(network, SPREAD).model
    assert isinstance(made, bundle_model.Network)
    assert len(made.layers) == 2
    np.testing.assert_array_equal(made.centre, network[0].mean_)


@pytest.mark.parametrize(
    "imputer",
    [
        impute.SimpleImputer(strategy="median"),
        impute.SimpleImputer(strategy="most_frequent"),
        impute.SimpleImputer(strategy="constant", fill_value=1.5),
    ],
    ids=lambda one: one.strategy,
)
@pytest.mark.parametrize("model", models().values(), ids=models().keys())
def test_an_imputer_before_or_after_a_scaler(imputer: Any, model: Any) -> None:
    cases.assert_agree(fitted(imputer, preprocessing.RobustScaler(), model, frame=MISSING), MISSING, SPREAD)
    scalers = (preprocessing.StandardScaler(), preprocessing.MinMaxScaler())
    cases.assert_agree(fitted(*scalers, imputer, model, frame=MISSING), MISSING, SPREAD)


def test_a_row_that_is_the_median_to_its_last_digit_does_not_refuse_the_rest() -> None:
    """Its float32 is what missing inputs become, where quantiles repeat; the framework's own digits go further."""
    frame = SPREAD.iloc[:41].copy()
    frame.iloc[31:, 0] = np.nan
    median = float(frame["feature_0"].median())
    assert (frame["feature_0"] == median).sum() == 1
    assert float(np.float32(median)) != median
    steps = (impute.SimpleImputer(strategy="median"), preprocessing.QuantileTransformer(n_quantiles=20))
    cases.assert_agree(fitted(*steps, models()["mlp"], frame=frame), frame)


def test_a_column_without_a_value_is_dropped_or_kept() -> None:
    frame = MISSING.assign(feature_2=np.nan)
    for keep in (False, True):
        imputer = impute.SimpleImputer(keep_empty_features=keep)
        for model in models().values():
            made = fitted(imputer, preprocessing.StandardScaler(), model, frame=frame)
            cases.assert_agree(made, frame, MISSING)


BEFORE_TREES: dict[str, Any] = {
    "two scalers": (preprocessing.StandardScaler(), preprocessing.RobustScaler()),
    "a range, then a scaler": (preprocessing.MinMaxScaler(), preprocessing.StandardScaler()),
    "quantiles, then a scaler": (preprocessing.QuantileTransformer(n_quantiles=50), preprocessing.StandardScaler()),
    "two ways": (pipeline.make_union(preprocessing.StandardScaler(), "passthrough"),),
}


@pytest.mark.parametrize("before", BEFORE_TREES.values(), ids=BEFORE_TREES)
def test_steps_before_trees_are_kept_to_the_last_bit(before: Any) -> None:
    """A split that lies on a training row's value sends that row to a side by its last bit."""
    trees = (ensemble.HistGradientBoostingRegressor(max_iter=10), ensemble.RandomForestRegressor(7, random_state=0))
    for frame in (cases.spread(500, 6), cases.whole(500, 6)):
        for last in trees:
            model = pipeline.make_pipeline(*map(base.clone, before), base.clone(last)).fit(frame, cases.target(frame))
            raw = pickles.get_predict_raw(pickles.load_predict(cases.exported(model, frame[:10])))
            np.testing.assert_array_equal(raw(frame, None), model.predict(frame))


def test_quantiles_of_many_inputs_see_them_whole() -> None:
    """In a float32 .1 is another number than the quantile that it was."""
    values = np.random.default_rng(1).choice([0.1, 0.2, 0.3, 0.4, 0.5], size=(200, 300))
    frame = pd.DataFrame(values, columns=cases.names(300))
    steps = (preprocessing.QuantileTransformer(n_quantiles=100, output_distribution="normal"), linear_model.Ridge())
    cases.assert_agree(fitted(*steps, frame=frame), frame)
    cases.assert_agree(fitted(preprocessing.StandardScaler(), *steps, frame=frame), frame)


def test_missing_values_stay_missing_through_scalers_and_quantiles() -> None:
    for step in ("standard", "clipped", "uniform", "normal"):
        for model in (ensemble.HistGradientBoostingRegressor(max_iter=6), tree.DecisionTreeRegressor(max_depth=5)):
            cases.assert_agree(fitted(STEPS[step], model, frame=MISSING), MISSING, SPREAD)


@pytest.mark.parametrize("model", models().values(), ids=models().keys())
def test_columns_go_their_own_ways(model: Any) -> None:
    numbers = pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())
    ways = compose.ColumnTransformer(
        [
            ("numbers", numbers, ["feature_4", "feature_1"]),
            ("shares", preprocessing.QuantileTransformer(n_quantiles=15), [0]),
            ("none", "drop", ["feature_2"]),
            ("same", "passthrough", lambda frame: [name for name in frame.columns if name.endswith("3")]),
            ("nothing", preprocessing.StandardScaler(), []),
        ],
        remainder=preprocessing.MinMaxScaler(),
    )
    frame = SPREAD.copy()
    frame["feature_1"] = MISSING["feature_1"]
    bundle = cases.assert_agree(fitted(ways, model, frame=frame), frame, SPREAD)
    assert np.isnan(bundle.golden.inputs).any()


@pytest.mark.parametrize("model", models().values(), ids=models().keys())
def test_one_column_in_several_branches(model: Any) -> None:
    ways = compose.ColumnTransformer(
        [
            ("plain", "passthrough", slice(0, 3)),
            ("scaled", preprocessing.StandardScaler(), [False, True, True, True, False, False]),
            ("pca", pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(2)), NAMES),
        ]
    )
    cases.assert_agree(fitted(ways, model, frame=SPREAD), SPREAD)
    both = pipeline.make_union(preprocessing.StandardScaler(), decomposition.PCA(2, whiten=True))
    after = compose.ColumnTransformer([("a", "passthrough", [7, 1]), ("b", preprocessing.RobustScaler(), [7, 6, 0])])
    cases.assert_agree(fitted(both, after, model, frame=SPREAD), SPREAD)


def test_a_part_of_the_columns_needs_no_node() -> None:
    ways = compose.ColumnTransformer([("some", preprocessing.StandardScaler(), ["feature_5", "feature_2"])])
    for name, model in models().items():
        made = cases.assert_agree(fitted(ways, model, frame=SPREAD), SPREAD, MISSING if name == "histogram" else SPREAD)
        if isinstance(made.model, bundle_model.Trees):
            assert made.model.preprocessing is not None
            assert not made.model.preprocessing.layers
        else:
            assert isinstance(made.model, (bundle_model.Linear, bundle_model.Network))


def test_an_input_that_only_some_branches_impute() -> None:
    sure = compose.ColumnTransformer([("a", impute.SimpleImputer(), [0, 1]), ("b", "passthrough", [2, 3, 4, 5])])
    frame = SPREAD.assign(feature_0=MISSING["feature_0"])
    model = fitted(sure, linear_model.Ridge(), frame=frame)
    bundle = cases.exported(model, frame, imputation=0.25)
    assert isinstance(bundle.model, bundle_model.Linear)
    statistics = model[0].named_transformers_["a"].statistics_
    np.testing.assert_allclose(bundle.model.imputation, [*statistics, 0.25, 0.25, 0.25, 0.25])


def test_many_columns_are_the_same_in_float32() -> None:
    count = 300
    frame = cases.holed(cases.whole(200, count), share=0.3)
    ways = compose.ColumnTransformer(
        [
            ("shares", preprocessing.QuantileTransformer(n_quantiles=50), cases.names(count)[:40]),
            ("normal", preprocessing.QuantileTransformer(n_quantiles=50, output_distribution="normal"), [41, 42]),
            ("clipped", preprocessing.MinMaxScaler(clip=True), cases.names(count)[35:60]),
        ],
        remainder="passthrough",
    )
    network = neural_network.MLPRegressor(hidden_layer_sizes=(200,), max_iter=5, random_state=1)
    imputer = impute.SimpleImputer().set_output(transform="pandas")
    cases.assert_agree(fitted(imputer, preprocessing.StandardScaler(), network, frame=frame), frame)
    cases.assert_agree(fitted(imputer, ways, network, frame=frame), frame)
    scaler = preprocessing.StandardScaler().set_output(transform="pandas")
    cases.assert_agree(fitted(imputer, scaler, ways, network, frame=frame), frame)


def test_the_object_stays_as_it_was() -> None:
    for model in models().values():
        steps = (
            impute.SimpleImputer(),
            preprocessing.QuantileTransformer(n_quantiles=9),
            decomposition.PCA(whiten=True),
        )
        made = fitted(*steps, model, frame=SPREAD)
        before = pickle.dumps(made)
        cases.exported(made, SPREAD)
        assert pickle.dumps(made) == before


def booster(**options: Any) -> Any:
    return lightgbm.LGBMRegressor(n_estimators=8, min_child_samples=5, verbose=-1, n_jobs=1, **options)


@pytest.mark.parametrize("step", ["standard", "uniform", "pca", "passed", "selected"])
def test_a_booster_at_the_end(step: str) -> None:
    model = fitted(STEPS[step], booster(), frame=SPREAD)
    bundle = cases.assert_agree(model, SPREAD)
    assert bundle.trained["lightgbm"] == lightgbm.__version__
    some = compose.ColumnTransformer([("some", preprocessing.StandardScaler(), [4, 1])], remainder="drop")
    cases.assert_agree(fitted(some, booster(), frame=MISSING), MISSING, SPREAD)


def test_a_classifier_of_boosters_at_the_end_of_arrays() -> None:
    labels = cases.classes(SPREAD, (0, 1, 2))
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), lightgbm.LGBMClassifier(n_estimators=5, verbose=-1))
    cases.assert_agree(model.fit(SPREAD.to_numpy(), labels), SPREAD)


def test_a_booster_may_have_a_transformed_target() -> None:
    model = compose.TransformedTargetRegressor(booster(), func=np.log1p, inverse_func=np.expm1)
    made = pipeline.make_pipeline(preprocessing.StandardScaler(), model).fit(SPREAD, cases.target(SPREAD))
    cases.assert_agree(made, SPREAD)


def _fresh(name: str) -> Any:
    return STEPS[name] if isinstance(STEPS[name], str) else base.clone(STEPS[name])


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[Any, pd.DataFrame]:
    """Draw a pipeline, fitted, and the rows it was fitted on, some of which are missing."""
    inputs = draw(st.integers(2, 7))
    seed = draw(st.integers(0, 99))
    frame = draw(st.sampled_from([cases.whole, cases.spread]))(60, inputs, seed)
    model = models()[draw(st.sampled_from(sorted(models())))]
    missing = draw(st.booleans())
    known = [name for name in STEPS if name not in ("pca", "whitened", "selected")]
    first: list[Any] = [impute.SimpleImputer(strategy=draw(st.sampled_from(["mean", "median"])))] if missing else []
    first += [_fresh(draw(st.sampled_from(known))) for _ in range(draw(st.integers(0, 2)))]
    places = draw(st.permutations(range(inputs)))
    cut = draw(st.integers(1, inputs))
    parts = compose.ColumnTransformer(
        [
            ("first", pipeline.make_pipeline(*first, "passthrough"), places[:cut]),
            (
                "second",
                pipeline.make_pipeline(*first[:1], decomposition.PCA(1)),
                places[: draw(st.integers(1, inputs))],
            ),
        ],
        remainder=draw(st.sampled_from(["drop", impute.SimpleImputer() if missing else "passthrough"])),
    )
    before = [parts] if draw(st.booleans()) else first
    last = _fresh(draw(st.sampled_from(known)))
    rows = cases.holed(frame, seed=seed) if missing else frame
    return pipeline.make_pipeline(*before, last, model).fit(rows, cases.target(rows)), rows


@given(pipelines())
@settings(max_examples=30)
def test_random_pipelines(drawn: tuple[Any, pd.DataFrame]) -> None:
    model, rows = drawn
    try:
        cases.assert_agree(model, rows)
    except errors.ExportError as error:
        if "their last digit would decide" not in str(error):  # quantiles of a PCA of whole numbers
            raise
        reject()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([("poly", preprocessing.PolynomialFeatures())], "PolynomialFeatures at step 'poly' cannot be expressed"),
        (
            [
                (
                    "ways",
                    compose.ColumnTransformer(
                        [("bins", pipeline.Pipeline([("one", preprocessing.KBinsDiscretizer(3))]), [0])]
                    ),
                )
            ],
            "KBinsDiscretizer at step 'ways', branch 'bins', step 'one' cannot be expressed",
        ),
        ([("fill", impute.SimpleImputer(add_indicator=True))], "SimpleImputer at step 'fill' has add_indicator=True"),
        ([("fill", impute.SimpleImputer(missing_values=0))], "SimpleImputer at step 'fill' replaces 0"),
        (
            [("shares", preprocessing.QuantileTransformer(n_quantiles=9)), ("fill", impute.SimpleImputer())],
            "SimpleImputer at step 'fill' comes after a QuantileTransformer, which cannot be undone; put the imputer",
        ),
        (
            [("clip", preprocessing.MinMaxScaler(clip=True)), ("fill", impute.SimpleImputer())],
            "SimpleImputer at step 'fill' comes after a clipped scaler",
        ),
        (
            [
                (
                    "ways",
                    compose.ColumnTransformer(
                        [("a", impute.SimpleImputer(), [0]), ("b", impute.SimpleImputer(strategy="median"), [1, 0])]
                    ),
                )
            ],
            "the pipeline imputes feature_0 differently in two branches",
        ),
        (
            [("log", preprocessing.FunctionTransformer(np.log1p))],
            "FunctionTransformer at step 'log' calls log1p, which cannot be expressed",
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
                    "ways",
                    compose.ColumnTransformer(
                        [("a", preprocessing.StandardScaler(), [0, 1])], transformer_weights={"a": 3.0}
                    ),
                )
            ],
            "ColumnTransformer at step 'ways' has transformer_weights",
        ),
    ],
)
def test_a_step_that_cannot_be_expressed_is_named_with_its_place(steps: Any, said: str) -> None:
    frame = cases.holed(WHOLE) + 1 if "fill" in said or "imputes" in said else WHOLE + 1
    if "replaces 0" in said:
        frame = WHOLE.astype(float)
    model = pipeline.Pipeline([*steps, ("model", ensemble.HistGradientBoostingRegressor(max_iter=2))])
    model.fit(frame, cases.target(frame))
    with pytest.raises(errors.ExportError, match=said):
        cases.exported(model, frame)


def test_a_pipeline_without_a_model_is_named() -> None:
    model = pipeline.Pipeline([("scale", preprocessing.StandardScaler())]).fit(WHOLE)
    with pytest.raises(errors.ExportError, match="StandardScaler at step 'scale' cannot be expressed"):
        cases.exported(model, WHOLE)
