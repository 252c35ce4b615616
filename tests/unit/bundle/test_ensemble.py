"""Ensembles: a bundle that comes back, a pickle that predicts the weighted sum, and the bound that goes with it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors
from builder.bundle import activations, model, prediction
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import read, write
from builder.inside import predict_inputs
from tests.support import bundles, ensembles, formulas, pickles

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = st.floats(0.01, 5).map(lambda value: round(value, 3))
SIGNED = st.one_of(WEIGHTS, WEIGHTS.map(lambda value: -value))


@st.composite
def members(draw: Any) -> list[model.Member]:
    """One to four networks over some of six features and two benchmarks, in orders of their own."""
    actual = []
    for seed in range(draw(st.integers(1, 4))):
        features = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True))
        benchmarks = draw(st.lists(st.sampled_from("xy"), max_size=2, unique=True))
        actual.append(
            ensembles.make_member(
                "".join(features),
                "".join(benchmarks),
                seed=seed,
                weight=draw(SIGNED),
                transform=draw(st.sampled_from(["raw", "rank", "gaussian"])),
                scope=draw(st.sampled_from(["era", "frame"])),
            )
        )
    return actual


def eras_of(rows: int, seed: int) -> list[str]:
    return [f"{era:04}" for era in np.random.default_rng(seed).integers(1, 6, size=rows)]


def columns(built: model.Bundle, member: model.Member, inputs: Any) -> Any:
    everything = [*built.features, *built.benchmarks]
    return inputs[:, [everything.index(name) for name in (*member.features, *member.benchmarks)]]


@settings(max_examples=12)
@given(parts=members(), rows=st.integers(1, 60), seed=st.integers(0, 9), holes=st.booleans())
def test_pickle_reference_and_pandas_agree(
    parts: list[model.Member],
    rows: int,
    seed: int,
    holes: bool,  # noqa: FBT001
) -> None:
    built = ensembles.make_bundle(parts)
    random = np.random.default_rng(seed)
    inputs = random.normal(2, 1, size=(rows, len(built.features) + len(built.benchmarks)))
    if holes:
        inputs[random.random(inputs.shape) < 0.2] = np.nan
    eras = eras_of(rows, seed)
    got = pickles.get_predict_raw(pickles.load_predict(built))(*ensembles.frames(built, inputs, eras))
    expected, bounds = prediction.predict_with_tolerances(built.model, inputs, eras=np.array(eras))
    assert (np.abs(got - expected) <= bounds).all()
    # Not by formulas of their own: where two rows are all but alike, the last digit decides their ranks.
    alone = [prediction.predict(item.model, columns(built, item, inputs)) for item in parts]
    np.testing.assert_allclose(expected, ensembles.by_pandas(built, alone, eras), atol=1e-12)


def test_ranks_over_the_frame_are_the_official_target_ensemble() -> None:
    built = ensembles.make_bundle(
        [ensembles.make_member("abc", seed=seed, transform="rank", scope="frame") for seed in range(4)]
    )
    inputs = np.random.default_rng(1).integers(0, 3, size=(400, 3)).astype(np.float64)  # 27 different rows: ties
    live, benchmarks = ensembles.frames(built, inputs)
    alone = {}
    for index, item in enumerate(built.model.members):
        single = dataclasses.replace(
            built, model=item.model, golden=model.GoldenRows(inputs=inputs, predictions=inputs[:, 0])
        )
        alone[index] = pickles.get_predict_raw(pickles.load_predict(single))(live, benchmarks)
    predictions = pd.DataFrame(alone)
    got = pickles.get_predict_raw(pickles.load_predict(built))(live, benchmarks)
    np.testing.assert_allclose(got, predictions.rank(pct=True).mean(axis=1), atol=1e-12, rtol=0)


def test_int8_and_float_features_give_the_same_values() -> None:
    built = ensembles.make_bundle(
        [ensembles.make_member("abc", transform="gaussian"), ensembles.make_member("ca", "x", seed=2)]
    )
    inputs = np.random.default_rng(1).integers(0, 5, size=(50, 4)).astype(np.float64)
    live, benchmarks = ensembles.frames(built, inputs, eras_of(50, 1))
    predict = pickles.load_predict(built)
    whole = live.astype(dict.fromkeys(built.features, np.int8))
    pd.testing.assert_frame_equal(predict(whole, benchmarks), predict(live, benchmarks))


def test_a_constant_member_counts_for_nothing_when_gaussianised() -> None:
    flat = bundles.make_network(3)
    last: Any = flat.layers[-1]
    flat = dataclasses.replace(flat, layers=(*flat.layers[:-1], last.with_arrays(weights=last["weights"] * 0)))
    constant = model.Member(model=flat, features=("feature_a", "feature_b", "feature_c"), transform="gaussian")
    other = ensembles.make_member("abc", transform="raw")
    built = ensembles.make_bundle([constant, other])
    inputs = np.random.default_rng(1).normal(2, 1, size=(40, 3))
    frames = ensembles.frames(built, inputs, eras_of(40, 2))
    got = pickles.get_predict_raw(pickles.load_predict(built))(*frames)
    np.testing.assert_allclose(got, formulas.predict(other.model, inputs) / 2, atol=1e-6)


def test_a_gaussianised_member_is_standardised_with_ties_too() -> None:
    """Few values at one end, many alike at the other: the quantiles of their ranks do not cancel."""
    built = ensembles.make_bundle([ensembles.make_member("ab", transform="gaussian")])
    inputs = np.array([[0.0, 0.0]] * 30 + [[float(item), 1.0] for item in range(10)])
    live, benchmarks = ensembles.frames(built, inputs, ["0001"] * 40)
    for got in (
        pickles.get_predict_raw(pickles.load_predict(built))(live, benchmarks),
        formulas.predict(built.model, inputs),
    ):
        np.testing.assert_allclose([got.mean(), got.std()], [0, 1], atol=1e-12)


def test_single_row_is_finite_for_each_transform() -> None:
    for transform, value in (("gaussian", 0.0), ("rank", 1.0)):
        built = ensembles.make_bundle([ensembles.make_member("ab", transform=transform)])
        frames = ensembles.frames(built, np.array([[1.0, np.nan]]), ["X"])
        assert pickles.get_predict_raw(pickles.load_predict(built))(*frames).tolist() == [value]


def test_rows_without_an_era_are_ranked_among_themselves() -> None:
    built = ensembles.make_bundle(
        [ensembles.make_member("ab", transform="gaussian"), ensembles.make_member("ab", transform="rank")]
    )
    inputs = np.random.default_rng(1).normal(size=(6, 2))
    eras = ["0001", None, "0001", None, "0001", None]
    got = pickles.get_predict_raw(pickles.load_predict(built))(*ensembles.frames(built, inputs, eras))
    named = ["0001", "none", "0001", "none", "0001", "none"]
    np.testing.assert_array_equal(
        got, pickles.get_predict_raw(pickles.load_predict(built))(*ensembles.frames(built, inputs, named))
    )


def test_era_as_a_category_or_a_number() -> None:
    built = ensembles.make_bundle([ensembles.make_member("ab", transform="gaussian")])
    live, benchmarks = ensembles.frames(built, np.random.default_rng(1).normal(size=(20, 2)), eras_of(20, 1))
    predict = pickles.load_predict(built)
    expected = predict(live, benchmarks)
    for kind in ("category", "int64"):
        pd.testing.assert_frame_equal(predict(live.astype({"era": kind}), benchmarks), expected)


def test_a_missing_era_or_feature_is_named_before_anything_runs() -> None:
    built = ensembles.make_bundle([ensembles.make_member("a"), ensembles.make_member("ab", transform="rank")])
    predict = pickles.load_predict(built)
    predict.__globals__["RUNNERS"]["mlp"] = None
    live, benchmarks = ensembles.frames(built, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="has no column 'era', within which members"):
        predict(live, benchmarks)
    with pytest.raises(ValueError, match="live_features is missing 1 of 2 columns: 'feature_b'"):
        predict(live[["feature_a"]], benchmarks)


def test_an_ensemble_that_ranks_over_the_frame_needs_no_era() -> None:
    built = ensembles.make_bundle(
        [ensembles.make_member("ab", transform="rank", scope="frame"), ensembles.make_member("a")]
    )
    assert not kinds.needs_era(built.model)
    inputs = np.random.default_rng(1).normal(size=(20, 2))
    got = pickles.load_predict(built)(*ensembles.frames(built, inputs))["prediction"]
    assert np.abs(got - formulas.predict(built.model, inputs)).max() < 1e-6


def test_golden_rows_are_one_era_to_the_pickle() -> None:
    built = ensembles.make_bundle(
        [ensembles.make_member("ab", "x", transform="rank"), ensembles.make_member("c", seed=3)]
    )
    assert kinds.needs_era(built.model)
    frames = predict_inputs.to_frames(built.golden.inputs, list(built.features), list(built.benchmarks))
    got = predict_inputs.predict_input(pickles.load_predict(built), *frames, before_post=True)
    np.testing.assert_allclose(got, built.golden.predictions, atol=1e-6)


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    built = ensembles.make_bundle(
        [
            ensembles.make_member("ba", "x", transform="gaussian", weight=-2, scope="frame"),
            ensembles.make_member("cb", seed=2, transform="rank", weight=0.25),
        ]
    )
    write.write(tmp_path / "one", built)
    back = read.read(tmp_path / "one")
    assert (back.features, back.benchmarks) == (("feature_b", "feature_a", "feature_c"), ("bench_x",))
    for ours, theirs in zip(built.model.members, back.model.members, strict=True):
        assert dataclasses.replace(ours, model=theirs.model) != theirs  # compared by identity
        for key in ("features", "benchmarks", "weight", "transform", "scope"):
            assert getattr(ours, key) == getattr(theirs, key)
        for first, second in zip(ours.model.layers, theirs.model.layers, strict=True):
            np.testing.assert_array_equal(first["weights"], second["weights"])
    write.write(tmp_path / "two", back)
    for name in ("bundle.json", "arrays.safetensors", "golden.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert kinds.get_kind_name(back.model) == "ensemble"
    assert kinds.count_parameters(back.model) == 2 * 17 + 4


def test_missing_member_keys_have_defaults(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "made", ensembles.make_bundle([ensembles.make_member("ab")]))
    data = json.loads((folder / "bundle.json").read_bytes())
    for key in ("weight", "transform", "scope", "benchmarks"):
        del data["members"][0][key]
    (folder / "bundle.json").write_text(json.dumps(data))
    item = read.read(folder).model.members[0]
    assert (item.weight, item.transform, item.scope, item.benchmarks) == (1.0, "raw", "era", ())


def sigmoid(member: model.Member) -> model.Member:
    network: Any = member.model
    last = dataclasses.replace(network.layers[-1], activation=activations.Activation(name="sigmoid"))
    return dataclasses.replace(member, model=dataclasses.replace(network, layers=(*network.layers[:-1], last)))


def test_a_mean_of_bounded_predictions_is_bounded() -> None:
    ranked = ensembles.make_member("a", transform="rank", weight=0.3)
    bounded = sigmoid(ensembles.make_member("b", weight=0.1))
    assert kinds.is_bounded(model.Ensemble(members=(ranked, bounded, ranked)))
    for other in (
        ensembles.make_member("a"),
        ensembles.make_member("a", transform="rank", weight=-1),
        dataclasses.replace(bounded, weight=-1),
        dataclasses.replace(bounded, transform="gaussian"),
    ):
        assert not kinds.is_bounded(model.Ensemble(members=(ranked, other)))


@given(weights=st.lists(WEIGHTS, min_size=1, max_size=9), rows=st.integers(1, 3))
@settings(max_examples=10)
def test_bounded_nodes_stay_in_0_to_1(weights: list[float], rows: int) -> None:
    built = ensembles.make_bundle([ensembles.make_member("a", transform="rank", weight=weight) for weight in weights])
    got = pickles.load_predict(built)(*ensembles.frames(built, np.ones((rows, 1)) * [[2.0]], ["X"] * rows))
    assert got["prediction"].between(0, 1).all()
    assert rows > 1 or got["prediction"].tolist() == [1.0]


def test_the_bound_is_wide_where_ranks_are_open_and_nowhere_else() -> None:
    built = ensembles.make_bundle([ensembles.make_member("a", transform="rank", scope="frame")])
    inputs = np.array([[0.0], [1.0], [2.0], [2.0 + 1e-9], [3.0], [4.0]])
    _, bounds = prediction.predict_with_tolerances(built.model, inputs)
    open_rows = bounds > 0.1
    assert open_rows.tolist() == [False, False, True, True, False, False]
    assert bounds[~open_rows].max() < 1e-4


def test_tolerance_of_members_that_cancel_each_other() -> None:
    item = ensembles.make_member("ab")
    built = ensembles.make_bundle([item, dataclasses.replace(item, weight=-1.0)])
    inputs = np.random.default_rng(1).normal(size=(30, 2))
    expected, bounds = prediction.predict_with_tolerances(built.model, inputs)
    assert not expected.any()
    assert bounds.min() >= prediction.compute_tolerance(formulas.predict(item.model, inputs)) / 2


def test_the_members_features_are_written_once() -> None:
    names = tuple(f"feature_{'long' * 20}_{index}" for index in range(300))
    item = model.Member(model=bundles.make_network(300), features=names)
    sizes = [len(pickles.pickle_bundle(ensembles.make_bundle([item] * count))) for count in (1, 2)]
    assert sizes[1] - sizes[0] < sum(map(len, names))  # its own numbers take half of that


def test_member_of_an_invalid_kind_is_refused(tmp_path: Path) -> None:
    inner = model.Ensemble(members=(ensembles.make_member("a"),))
    outer: Any = model.Member(model=inner, features=("feature_a",))  # type: ignore[arg-type]
    built = dataclasses.replace(
        ensembles.make_bundle([ensembles.make_member("a")]), model=model.Ensemble(members=(outer,))
    )
    with pytest.raises(errors.BundleError, match=r"members\.0: has a model of type Ensemble; expected one of "):
        write.write(tmp_path / "made", built)
