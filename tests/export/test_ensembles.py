"""Lists and dicts of trained models: the bundle predicts what their frameworks do, combined with pandas."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import ensemble, linear_model, neural_network, pipeline, preprocessing, svm, tree

from builder import errors
from builder.bundle import prediction
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import read
from builder.export import export
from tests.support import ensembles, pickles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = tuple(f"feature_{letter}" for letter in "abcdef")


def rows(count: int, seed: int = 1) -> pd.DataFrame:
    """Return features of 0 to 4, float32, on ids."""
    values = np.random.default_rng(seed).integers(0, 5, size=(count, len(NAMES))).astype(np.float32)
    return pd.DataFrame(values, index=pd.Index([f"n{row:015x}" for row in range(count)], name="id"), columns=NAMES)


SAMPLE = rows(300)
TARGET = (SAMPLE["feature_a"] * SAMPLE["feature_c"] / 16 + SAMPLE["feature_b"] / 8).to_numpy("float64")


def ridge(names: Sequence[str] = NAMES) -> Any:
    return linear_model.Ridge(alpha=3.0).fit(SAMPLE[list(names)], TARGET)


def forest(names: Sequence[str] = NAMES, seed: int = 1) -> Any:
    return ensemble.RandomForestRegressor(8, max_depth=4, random_state=seed).fit(SAMPLE[list(names)], TARGET)


def hist_boosting(names: Sequence[str] = NAMES) -> Any:
    return ensemble.HistGradientBoostingRegressor(max_iter=12, max_depth=3).fit(SAMPLE[list(names)], TARGET)


def network(names: Sequence[str] = NAMES) -> Any:
    layers = neural_network.MLPRegressor(hidden_layer_sizes=(6,), max_iter=400, tol=0.1, random_state=2)
    return pipeline.make_pipeline(preprocessing.StandardScaler(), layers).fit(SAMPLE[list(names)], TARGET)


def booster(names: Sequence[str] = NAMES, seed: int = 1) -> Any:
    model = lightgbm.LGBMRegressor(n_estimators=15, max_depth=4, num_leaves=9, random_state=seed, n_jobs=1, verbose=-1)
    return model.fit(SAMPLE[list(names)], TARGET)


TRAINED = {
    "booster": booster(NAMES[1:5]),
    "ridge": ridge(),
    "forest": forest(NAMES[3:]),
    "boosted": hist_boosting(NAMES[1:4]),
    "network": network(NAMES[:2]),
}


def columns(model: Any) -> list[str]:
    return list(model.feature_names_in_)


@settings(max_examples=15)
@given(
    names=st.lists(st.sampled_from(list(TRAINED)), min_size=1, max_size=4),
    data=st.data(),
    count=st.sampled_from([1, 2, 150]),
)
def test_framework_bundle_and_pickle_agree(
    names: list[str], data: st.DataObject, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = [TRAINED[name] for name in names]
    each = st.lists(st.sampled_from(["raw", "rank", "gaussian"]), min_size=len(names), max_size=len(names))
    transforms = data.draw(each)
    weights = data.draw(st.lists(st.sampled_from([-1.5, 0.25, 1, 3]), min_size=len(names), max_size=len(names)))
    scope = data.draw(st.sampled_from(["era", "frame"]))
    path = tmp_path_factory.mktemp("bundle") / "bundle"
    export(models, path, sample=SAMPLE, transform=transforms, weights=weights, scope=scope)
    bundle = read.read(path)
    assert bundle.features == tuple(dict.fromkeys(name for model in models for name in columns(model)))

    live = rows(count, seed=7)
    eras = [f"{era:04}" for era in np.random.default_rng(count).integers(1, 4, size=count)]
    predictions = [model.predict(live[columns(model)]) for model in models]
    expected = ensembles.by_pandas(bundle, predictions, eras)
    predicted, bounds = prediction.predict_with_tolerances(
        bundle.model, live[list(bundle.features)].to_numpy("float64"), eras=np.array(eras)
    )
    assert (np.abs(predicted - expected) <= bounds).all()
    predict = pickles.get_predict_raw(pickles.load_predict(bundle))
    for frame in (live, live.astype(np.int8), live.iloc[:, ::-1]):
        actual = predict(frame.assign(era=eras), None)
        assert (np.abs(actual - expected) <= bounds).all()


def test_boosters_are_in_memory_one_at_a_time(tmp_path: Path) -> None:
    models = [booster(seed=seed) for seed in range(3)]
    export(models, tmp_path / "bundle", sample=SAMPLE, transform="rank")
    bundle = read.read(tmp_path / "bundle")
    assert bundle.trained["packages"] == (f"lightgbm {lightgbm.__version__}",)
    predict = pickles.load_predict(bundle)
    names = predict.__globals__
    opened: list[weakref.ref[Any]] = []

    def open_and_see(model: Any) -> Any:
        assert not [ref for ref in opened if ref() is not None], "the previous booster is still in memory"
        loaded = really(model)
        opened.append(weakref.ref(loaded))
        return loaded

    really, names["open_lightgbm"] = names["open_lightgbm"], open_and_see
    live = rows(20).assign(era="X")
    first, second = predict(live, None), predict(live, None)
    assert len(opened) == 6
    assert not [ref for ref in opened if ref() is not None]
    pd.testing.assert_frame_equal(first, second)


def test_options_and_versions_are_in_the_bundle(tmp_path: Path) -> None:
    import sklearn

    result = export(
        {"plain": TRAINED["ridge"], "trees": TRAINED["forest"]},
        tmp_path / "bundle",
        sample=SAMPLE,
        weights={"trees": 2, "plain": 1},
        transform={"plain": "raw", "trees": "gaussian"},
        scope="frame",
        target="target_cyrusd_20",
    )
    bundle = read.read(tmp_path / "bundle")
    assert (result.kind, result.features) == ("ensemble", 6)
    assert [(member.weight, member.transform, member.scope) for member in bundle.model.members] == [
        (1, "raw", "frame"),
        (2, "gaussian", "frame"),
    ]
    assert bundle.trained["members"] == (
        f"plain: scikit-learn {sklearn.__version__}",
        f"trees: scikit-learn {sklearn.__version__}",
    )
    assert (bundle.trained["framework"], bundle.trained["version"]) == ("scikit-learn", sklearn.__version__)
    assert bundle.trained["target"] == "target_cyrusd_20"
    assert bundle.trained["packages"] == (), "both are stored as numbers"


def test_ensemble_of_ranks_is_bounded_and_needs_no_step(tmp_path: Path) -> None:
    export([TRAINED["ridge"], TRAINED["forest"]], tmp_path / "bundle", sample=SAMPLE, transform="rank", rank=None)
    bundle = read.read(tmp_path / "bundle")
    assert bundle.post == ()
    assert kinds.is_bounded(bundle.model)


def test_members_without_names_take_member_features(tmp_path: Path) -> None:
    plain = [
        linear_model.Ridge().fit(SAMPLE[list(names)].to_numpy("float64"), TARGET) for names in (NAMES[3:], NAMES[:2])
    ]
    path = tmp_path / "bundle"
    export(plain, path, sample=SAMPLE, member_features=[NAMES[3:], NAMES[:2]])
    bundle = read.read(path)
    assert bundle.features == NAMES[3:] + NAMES[:2]
    inputs = SAMPLE[list(bundle.features)].to_numpy("float64")
    expected = (plain[0].predict(inputs[:, :3]) + plain[1].predict(inputs[:, 3:])) / 2
    np.testing.assert_allclose(prediction.predict(bundle.model, inputs), expected, atol=1e-9)


def test_members_without_names_take_all_inputs_by_default(tmp_path: Path) -> None:
    sample = SAMPLE.assign(bench_x=np.linspace(0, 1, len(SAMPLE)))
    nameless = linear_model.Ridge().fit(sample.to_numpy("float64"), TARGET)
    path = tmp_path / "bundle"
    export({"all": nameless, "some": TRAINED["forest"]}, path, sample=sample, benchmark="bench_x")
    bundle = read.read(path)
    assert (bundle.features, bundle.benchmarks) == (NAMES, ("bench_x",))
    assert [member.benchmarks for member in bundle.model.members] == [("bench_x",), ()]
    live = rows(40, seed=3)
    bench = pd.DataFrame({"bench_x": np.linspace(1, 0, 40)}, index=live.index)
    actual = pickles.get_predict_raw(pickles.load_predict(bundle))(live, bench.iloc[::-1])
    expected = nameless.predict(live.join(bench).to_numpy("float64")) + TRAINED["forest"].predict(live[list(NAMES[3:])])
    np.testing.assert_allclose(actual, expected / 2, atol=1e-6)


def test_benchmark_may_be_among_features_of_a_scikit_learn_member(tmp_path: Path) -> None:
    export([TRAINED["ridge"], ridge(NAMES[:2])], tmp_path / "bundle", sample=SAMPLE, benchmark="feature_b")
    bundle = read.read(tmp_path / "bundle")
    assert (bundle.features, bundle.benchmarks) == ((NAMES[0], *NAMES[2:]), ("feature_b",))
    live = rows(40, seed=3)
    actual = pickles.get_predict_raw(pickles.load_predict(bundle))(live[list(bundle.features)], live[["feature_b"]])
    expected = TRAINED["ridge"].predict(live) + ridge(NAMES[:2]).predict(live[list(NAMES[:2])])
    np.testing.assert_allclose(actual, expected / 2, atol=1e-6)


def test_missing_values_are_imputed_for_members_that_accept_none(tmp_path: Path) -> None:
    models = [TRAINED["ridge"], TRAINED["boosted"]]
    export(models, tmp_path / "bundle", sample=SAMPLE, imputation=1.0)
    bundle = read.read(tmp_path / "bundle")
    assert np.isnan(bundle.golden.inputs).any()
    live = rows(60, seed=4).mask(np.random.default_rng(4).random((60, 6)) < 0.2)
    filled = models[0].predict(live.fillna(1.0))
    expected = (filled + models[1].predict(live[columns(models[1])])) / 2
    actual = pickles.get_predict_raw(pickles.load_predict(bundle))(live, None)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "the ensemble has no members"),
        ([[ridge()], ridge()], {}, "member 0 is itself an ensemble; put its members into the outer one"),
        ([ridge(), None], {}, "member 1: the model is None; pass the trained model"),
        ([ridge(), rows], {}, "member 1: rows fails on rows of the sample"),
        ({"bad": svm.SVR()}, {}, "export: member bad: SVR"),
        ([ridge()], {"weights": [1, 2]}, "weights has 2 values for 1 members"),
        ({"one": ridge()}, {"weights": {"ons": 2}}, "unknown member ons in weights; did you mean one?"),
        (
            {"one": ridge(), "two": ridge()},
            {"weights": {"one": 2}},
            "missing in weights: two; pass one for each member",
        ),
        ([ridge()], {"weights": 0}, "invalid value 0 in weights for member 0; expected a number other than 0"),
        ([ridge()], {"weights": "much"}, "invalid value 'much' in weights for member 0; expected a number other"),
        ([ridge()], {"weights": [float("nan")]}, "invalid value nan in weights for member 0"),
        (
            [ridge()],
            {"transform": "ranked"},
            "invalid value 'ranked' in transform for member 0; expected one of raw, rank, gaussian; did you mean rank?",
        ),
        (
            [ridge()],
            {"scope": "eras"},
            "invalid value 'eras' in scope for member 0; expected one of era, frame; did you mean era?",
        ),
        (
            [ridge()],
            {"scoop": "era"},
            "unknown option: scoop (did you mean scope?); this kind of model accepts weights, ",
        ),
        ([ridge()], {"features": NAMES[:3]}, "member 0 takes feature_d, feature_e, feature_f, which features="),
        ([forest(NAMES[:2])], {"features": NAMES[:3]}, "no member takes feature_c; leave it out of features="),
        ([ridge()], {"member_features": [NAMES[::-1]]}, "the features of member 0 in another order"),
        (
            [booster()],
            {"benchmark": "feature_b"},
            "member 0: input 1 is 'feature_c', but that of the booster is 'feature_b'",
        ),
    ],
)
def test_invalid_member_or_option_is_named(tmp_path: Path, models: Any, options: Any, message: str) -> None:
    with pytest.raises(errors.ExportError) as caught:
        export(models, tmp_path / "bundle", sample=SAMPLE, **options)
    assert message in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_member_with_other_predictions_is_stored(tmp_path: Path) -> None:
    class Liar(tree.DecisionTreeRegressor):
        def _validate_X_predict(self, X: Any, check_input: bool) -> Any:  # noqa: N802, N803, FBT001 - predict calls it
            return super()._validate_X_predict(X, check_input) + 1

    models = {"off": Liar(max_depth=3).fit(SAMPLE, TARGET), "on": ridge()}
    result = export(models, tmp_path / "bundle", sample=SAMPLE, transform="rank")
    expected = "not written as numbers: member off: internal error: the bundle's predictions differ by up to"
    assert result.notes[0].startswith(expected)
    assert result.kind == "custom"
