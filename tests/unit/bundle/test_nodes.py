"""Networks of every op: text, reference, fold and the unpickled predict agree; nested lists do too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import QuantileTransformer

from builder.bundle import activations, model, nodes, prediction
from builder.bundle.kinds import catalog as kinds
from builder.bundle.kinds import preprocessing
from builder.bundle.storage import read, write
from builder.inside.fold import nodes as fold_nodes
from builder.inside.predict import nodes as predict_nodes
from tests.support import bundles, formulas, node_lists, pickles

ROWS = 40
SEEDS = st.integers(0, 2**32)
IDENTITY = activations.Activation(name="identity")


def network(random: np.random.Generator, inputs: int, layers: tuple[model.Node, ...]) -> model.Network:
    centre = random.uniform(-3, 12, size=inputs)  # near and far
    return model.Network(
        layers=layers, imputation=np.full(inputs, 2.0), centre=centre, scale=random.uniform(0.5, 2, size=inputs)
    )


def inputs_of(built: model.Network | model.Linear, random: np.random.Generator, rows: int = ROWS) -> formulas.Array:
    inputs = built.centre + built.scale * random.normal(size=(rows, len(built.centre)))
    inputs[random.random(inputs.shape) < 0.05] = np.nan
    return np.asarray(inputs, dtype=np.float64)


def frame(built: model.Bundle, inputs: formulas.Array) -> pd.DataFrame:
    index = pd.Index([f"n{row}" for row in range(len(inputs))], name="id")
    return pd.DataFrame(inputs, index=index, columns=list(built.features))


def assert_near(built: model.Bundle, inputs: formulas.Array) -> None:
    expected = formulas.predict(built.model, inputs)
    raw = pickles.get_predict_raw(pickles.load_predict(built))
    live = frame(built, inputs)
    actual = raw(live, None)
    bound = prediction.compute_tolerance(expected)
    assert np.abs(actual - expected).max() <= bound
    assert np.abs(raw(live.iloc[[2]], None) - expected[[2]]).max() <= bound
    raw.__globals__["BLOCK_BYTES"] = 0
    assert np.abs(raw(pd.concat([live] * 3, ignore_index=True), None) - np.tile(expected, 3)).max() <= bound


@settings(max_examples=20)
@given(seed=SEEDS, inputs=st.integers(1, 9), count=st.integers(1, 9))
def test_any_nodes_predict_what_the_reference_does(seed: int, inputs: int, count: int) -> None:
    random = np.random.default_rng(seed)
    built = network(random, inputs, node_lists.drawn(random, inputs, count))
    assert_near(bundles.make_bundle(inputs, network=built), inputs_of(built, random))


@settings(max_examples=15)
@given(seed=SEEDS, dense_first=st.booleans())
def test_wide_nodes_in_float32_are_near_the_reference(seed: int, *, dense_first: bool) -> None:
    random = np.random.default_rng(seed)
    inputs, width = 300, 200
    first: list[model.Node] = (
        [] if dense_first else [model.make_node("norm", gain=np.ones(300), shift=np.zeros(300), epsilon=1e-5)]
    )
    weights = (random.normal(size=(inputs, width)) / np.sqrt(inputs)).astype(np.float32)
    bias, act = random.normal(size=width).astype(np.float32), activations.Activation(name="silu")
    first.append(model.make_node("dense", weights=weights, bias=bias, activation=act))
    first.append(model.make_node("norm", gain=1 + 0.1 * bias, shift=bias, epsilon=1e-5, activation=act))
    square = (random.normal(size=(width, width)) / np.sqrt(width)).astype(np.float32)
    first.append(model.make_node("dense", weights=square, bias=bias, activation=act))
    first.append(model.make_node("sum", sources=(len(first) - 1, len(first) - 2)))
    first.append(model.make_node("affine", gain=1 + bias / 9, shift=bias, activation=act))
    first.append(model.make_node("concat", sources=(len(first) - 1, 0)))
    wide = width + (width if dense_first else inputs)
    last = (random.normal(size=(wide, 1)) / np.sqrt(wide)).astype(np.float32)
    first.append(model.make_node("dense", weights=last, bias=bias[:1], activation=IDENTITY))
    built = network(random, inputs, tuple(first))
    bundle = bundles.make_bundle(inputs, network=built)
    folded = pickles.fold_bundle(bundle)
    assert folded["imputation"].dtype == np.float32
    assert {array["gain"].dtype.name for array in folded["layers"] if "gain" in array} == {"float32"}
    assert_near(bundle, inputs_of(built, random))


@settings(max_examples=20)
@given(seed=SEEDS, count=st.integers(0, 7))
def test_nested_lists_are_computed_as_written(seed: int, count: int) -> None:
    """What is done to the inputs of trees: the reference to the last digits, a missing input missing where it may."""
    random = np.random.default_rng(seed)
    ops = [op for op in node_lists.OPS if op not in {"softmax", "median"}]
    width = 5
    drawn = node_lists.drawn(random, width, count, ops=ops)
    imputation = np.where(random.random(width) < 0.5, np.nan, 1.5)
    built = model.Preprocessing(
        imputation=imputation, centre=random.normal(size=width), scale=np.full(width, 0.3), layers=drawn
    )
    entry = preprocessing.to_keys(built)["prepare"]
    folded = fold_nodes.fold_preprocessing(entry, preprocessing.collect_arrays(built))
    inputs = random.normal(size=(ROWS, width))
    inputs[random.random(inputs.shape) < 0.1] = np.nan
    actual = predict_nodes.preprocess(folded, inputs.T.copy())
    np.testing.assert_allclose(actual.T, formulas.nodes.prepared(built, inputs), rtol=1e-9, atol=1e-9)
    assert np.isnan(actual).any() == np.isnan(formulas.nodes.prepared(built, inputs)).any()


def test_steps_without_effect_are_folded_away() -> None:
    built = model.Preprocessing(imputation=np.full(3, np.nan), centre=np.zeros(3), scale=np.ones(3))
    folded = fold_nodes.fold_preprocessing(preprocessing.to_keys(built)["prepare"], preprocessing.collect_arrays(built))
    assert folded == {"imputation": None, "centre": None, "scale": None, "layers": []}
    assert fold_nodes.fold_preprocessing(None, {}) is None


@settings(max_examples=15)
@given(seed=SEEDS, normal=st.booleans(), inverse=st.booleans())
def test_quantiles_are_those_of_scikit_learn(seed: int, *, normal: bool, inverse: bool) -> None:
    random = np.random.default_rng(seed)
    rows = np.column_stack([random.integers(0, 5, 200), random.normal(size=200), np.full(200, 2.0)]).astype(np.float64)
    theirs = QuantileTransformer(n_quantiles=30, output_distribution="normal" if normal else "uniform").fit(rows)
    x = np.concatenate([rows[:50], rows[:50] + random.normal(size=(50, 3)), [[np.nan] * 3]])
    x = theirs.transform(x) if inverse else x
    node = model.make_node(
        "quantiles", quantiles=theirs.quantiles_, references=theirs.references_, normal=normal, inverse=inverse
    )
    expected = theirs.inverse_transform(x) if inverse else theirs.transform(x)
    np.testing.assert_allclose(formulas.nodes.run_nodes([node], x), expected, rtol=1e-12, atol=1e-12)
    folded = fold_nodes.fold_nodes(nodes.as_data([node]), nodes.collect_arrays([node]))
    np.testing.assert_allclose(predict_nodes.run_nodes(folded, x.T).T, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=15)
@given(seed=SEEDS, count=st.integers(1, 9), kind=st.sampled_from(["float32", "float64"]))
def test_nodes_are_read_as_they_were_written(seed: int, count: int, kind: str, tmp_path_factory: Any) -> None:
    random = np.random.default_rng(seed)
    built = network(random, 4, node_lists.drawn(random, 4, count, kind=kind))
    folder: Path = tmp_path_factory.mktemp("written")
    bundles.write_bundle(folder, bundles.make_bundle(4, network=built))
    back = read.read(folder).model
    assert isinstance(back, model.Network)
    assert nodes.as_data(back.layers) == nodes.as_data(built.layers)
    ours, theirs = nodes.collect_arrays(built.layers), nodes.collect_arrays(back.layers)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        np.testing.assert_array_equal(array, theirs[name])


def test_a_result_is_freed_when_nothing_takes_it_any_more() -> None:
    ones = np.ones(3)
    listed: list[model.Node] = [
        model.make_node("affine", gain=ones, shift=ones),
        model.make_node("affine", gain=ones, shift=ones, sources=(-1,)),
        model.make_node("sum", sources=(1, 0)),
        model.make_node("sum", sources=(2, 2, 0)),
    ]
    folded = fold_nodes.fold_nodes(nodes.as_data(listed), nodes.collect_arrays(listed))
    assert [node["free"] for node in folded] == [[], [-1], [1], [0, 2]]
    assert fold_nodes.row_bytes(folded, 3) == 3 * 3 * 8


@settings(max_examples=8)
@given(seed=SEEDS, inputs=st.integers(1, 300), kind=st.sampled_from(["float32", "float64"]))
def test_linear_models_predict_what_the_reference_does(seed: int, inputs: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    built = model.Linear(
        weights=random.normal(size=inputs).astype(kind),
        bias=random.normal(size=1).astype(kind),
        activation=activations.Activation(name=str(random.choice(["identity", "sigmoid"]))),
        imputation=np.full(inputs, 2.0),
        centre=random.uniform(1, 3, size=inputs),
        scale=random.uniform(0.5, 2, size=inputs),
    )
    bundle = replace(bundles.make_bundle(inputs), model=built)
    rows = inputs_of(built, random)
    by_hand = (np.where(np.isnan(rows), 2.0, rows) - built.centre) / built.scale @ built.weights + built.bias
    if built.activation.name == "sigmoid":
        by_hand = 1 / (1 + np.exp(-by_hand))
    np.testing.assert_allclose(formulas.predict(built, rows), by_hand, rtol=1e-10, atol=1e-10)
    assert_near(bundle, rows)
    assert kinds.count_parameters(built) == inputs + 1
    assert kinds.is_bounded(built) == (built.activation.name == "sigmoid")


def test_a_linear_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    built = model.Linear(
        weights=np.array([0.5, -1.0, 2.0]),
        bias=np.array([0.25]),
        activation=activations.Activation(name="leaky_relu", constants={"slope": 0.5}),
        **{name: np.ones(3, dtype=np.float32) for name in ("imputation", "centre", "scale")},
    )
    bundle = replace(bundles.make_bundle(3), model=built)
    write.write(tmp_path / "linear", bundle)
    back = read.read(tmp_path / "linear").model
    assert isinstance(back, model.Linear)
    assert back.activation == built.activation
    for name in ("weights", "bias", "imputation", "centre", "scale"):
        np.testing.assert_array_equal(getattr(back, name), getattr(built, name))


BOUNDED: list[tuple[list[model.Node], bool]] = [
    ([model.make_node("clip", low=np.zeros(1), high=np.ones(1))], True),
    ([model.make_node("clip", low=np.zeros(1), high=np.full(1, 2.0))], False),
    ([model.make_node("softmax"), model.make_node("select", places=np.array([0], dtype=np.int32))], True),
    ([model.make_node("softmax"), model.make_node("sum", sources=(0, 0))], False),
    ([model.make_node("quantiles", quantiles=np.zeros((2, 1)), references=np.array([0.0, 1.0]))], True),
    (
        [model.make_node("quantiles", quantiles=np.full((2, 1), 3.0), references=np.array([0.0, 1.0]), inverse=True)],
        False,
    ),
    (
        [
            model.make_node(
                "affine", gain=np.ones(1), shift=np.ones(1), activation=activations.Activation(name="hardsigmoid")
            )
        ],
        True,
    ),
    (
        [
            model.make_node(
                "affine", gain=np.ones(1), shift=np.ones(1), activation=activations.Activation(name="hardtanh")
            )
        ],
        False,
    ),
    ([], False),
]


@pytest.mark.parametrize(("listed", "bounded"), BOUNDED)
def test_is_bounded_by_objective_and_head(listed: list[model.Node], *, bounded: bool) -> None:
    assert nodes.is_bounded(listed) is bounded
