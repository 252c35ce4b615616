"""Forests as flat arrays: faults of their bundles, and that the pickle predicts what the reference does."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors
from builder.bundle import activations, model
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import read, write
from tests.support import bundles, formulas, pickles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

INPUTS = 4


def grow_trees(random: np.random.Generator, leaves: int, *, lean: float = 0.5, whole: bool = False) -> list[list[Any]]:
    """Return a tree as rows of feature, threshold, left, right, missing_left, value; a leaf is split again and again.

    Args:
        random: Draws.
        leaves: How many there will be.
        lean: How likely it is that the youngest leaf is split: 1 gives a tree as deep as it can be.
        whole: Whether thresholds lie between whole numbers.
    """
    nodes: list[list[Any]] = [[-1, 0, -1, -1, 0, random.normal()]]
    ends = [0]
    while len(ends) < leaves:
        index = ends.pop(-1 if random.random() < lean else int(random.integers(len(ends))))
        threshold = random.integers(0, 4) + 0.5 if whole else random.normal() * 2
        if random.random() < 0.05:
            threshold = np.inf
        nodes[index] = [random.integers(INPUTS), threshold, len(nodes), len(nodes) + 1, random.random() < 0.5, 0]
        for _ in range(2):
            ends.append(len(nodes))
            nodes.append([-1, 0, -1, -1, 0, random.normal()])
    return nodes


def forest(trees: list[list[list[float]]], *, outputs: int = 1, rounded: bool = True, **more: Any) -> model.Trees:
    """Return trees end to end."""
    starts = np.cumsum([0, *map(len, trees)])[:-1]
    shifted = [
        [feature, threshold, left + start * (left >= 0), right + start * (right >= 0), missing, value]
        for start, tree in zip(starts, trees, strict=True)
        for feature, threshold, left, right, missing, value in tree
    ]
    names = ("feature", "threshold", "left", "right", "missing_left", "value")
    types = ("int32", "float64", "int32", "int32", "uint8", "float64")
    columns = np.array(shifted, dtype=float).T
    arrays: dict[str, Any] = {
        name: column.astype(kind) for name, kind, column in zip(names, types, columns, strict=True)
    }
    return model.Trees(
        **arrays,
        roots=starts.astype(np.int32),
        output=(np.arange(len(trees)) % outputs).astype(np.int32),
        base=np.linspace(-0.5, 0.5, outputs),
        rounded=rounded,
        **more,
    )


def sample(random: np.random.Generator, rows: int, *, whole: bool, holes: float) -> NDArray[np.float64]:
    inputs = random.integers(0, 5, (rows, INPUTS)).astype(float) if whole else random.normal(size=(rows, INPUTS)) * 2
    inputs[random.random(inputs.shape) < holes] = np.nan
    return inputs


def assert_predicts(trees: model.Trees, inputs: NDArray[np.float64]) -> None:
    """The pickle predicts what the reference does; to the last bit where no node computes before or after."""
    built = bundles.make_bundle(inputs.shape[1], network=trees)
    raw = pickles.get_predict_raw(pickles.load_predict(built))
    live = pd.DataFrame(inputs, columns=list(built.features))
    expected = formulas.predict(trees, inputs)
    near: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13} if trees.head else {"rtol": 0, "atol": 0}
    np.testing.assert_allclose(raw(live, None), expected, **near)
    np.testing.assert_allclose(raw(live.iloc[[-1]], None), expected[[-1]], **near)


@st.composite
def cases(draw: st.DrawFn) -> tuple[model.Trees, NDArray[np.float64]]:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    whole = draw(st.booleans())
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=12))
    lean = draw(st.sampled_from([0.0, 0.5, 1.0]))
    trees = [grow_trees(random, size, lean=lean, whole=whole) for size in sizes]
    inputs = sample(random, draw(st.integers(1, 200)), whole=whole, holes=draw(st.sampled_from([0.0, 0.2])))
    return forest(trees, rounded=draw(st.booleans()), averaged=draw(st.booleans())), inputs


@settings(max_examples=20)
@given(cases())
def test_any_forest_predicts_what_the_reference_does(case: tuple[model.Trees, NDArray[np.float64]]) -> None:
    assert_predicts(*case)


@settings(max_examples=10)
@given(cases(), st.integers(0, 2**20))
def test_preprocessing_and_head_of_trees(case: tuple[model.Trees, NDArray[np.float64]], seed: int) -> None:
    trees, inputs = case
    random = np.random.default_rng(seed)
    outputs = int(random.integers(1, 4))
    imputation = np.where(random.random(INPUTS) < 0.5, np.nan, 1.0)
    mixed = model.make_node(
        "dense",
        weights=random.normal(size=(INPUTS, INPUTS)),
        bias=random.normal(size=INPUTS),
        activation=activations.Activation(name="identity"),
    )
    last = model.make_node(
        "dense",
        weights=random.normal(size=(outputs, 1)),
        bias=np.ones(1),
        activation=activations.Activation(name="sigmoid"),
    )
    changed = dataclasses.replace(
        trees,
        output=(np.arange(len(trees.roots)) % outputs).astype(np.int32),
        base=random.normal(size=outputs),
        preprocessing=model.Preprocessing(
            imputation=imputation,
            centre=np.array([0.5, 0, 1, 2]),
            scale=np.array([1.0, 2, 0.25, 3]),
            layers=(model.make_node("select", places=np.array([2, 0, 3, 1], dtype=np.int32)),)
            if seed % 2
            else (mixed,),
        ),
        head=(last,),
    )
    if not seed % 2 and np.isnan(imputation).any():
        inputs = np.nan_to_num(inputs)  # a NaN would spread over all of a layer's outputs
    assert_predicts(changed, inputs)
    assert kinds.is_bounded(changed)


def test_parts_of_rows_and_groups_of_questions_do_not_show() -> None:
    random = np.random.default_rng(3)
    trees = forest([grow_trees(random, 40) for _ in range(9)])
    inputs = sample(random, 500, whole=False, holes=0.1)
    raw = pickles.get_predict_raw(pickles.load_predict(bundles.make_bundle(INPUTS, network=trees)))
    raw.__globals__["PART_ROWS"] = 64
    live = pd.DataFrame(inputs, columns=[f"feature_{index}" for index in range(INPUTS)])
    np.testing.assert_allclose(raw(live, None), formulas.predict(trees, inputs), rtol=1e-12, atol=1e-13)


def test_more_questions_than_a_group_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from builder.inside.fold import trees as fold_trees

    monkeypatch.setattr(fold_trees, "_MAX_SPLITS_PER_GROUP", 20)
    random = np.random.default_rng(4)
    trees = forest([grow_trees(random, 30, lean=0.0) for _ in range(9)])
    assert len(pickles.fold_bundle(bundles.make_bundle(INPUTS, network=trees))["groups"]) > 2
    assert_predicts(trees, sample(random, 100, whole=False, holes=0.1))


def test_whole_numbers_of_any_type_predict_the_same() -> None:
    random = np.random.default_rng(5)
    trees = forest([grow_trees(random, 30, whole=True) for _ in range(5)])
    live = pd.DataFrame(sample(random, 300, whole=True, holes=0), columns=[f"feature_{item}" for item in range(INPUTS)])
    raw = pickles.get_predict_raw(pickles.load_predict(bundles.make_bundle(INPUTS, network=trees)))
    for kind in ("int8", "float32", "int64"):
        np.testing.assert_array_equal(raw(live.astype(kind), None), raw(live, None))


def test_a_tree_that_is_one_long_branch_stays_small() -> None:
    random = np.random.default_rng(6)
    trees = forest([grow_trees(random, 3000, lean=1.0) for _ in range(3)])
    built = bundles.make_bundle(INPUTS, network=trees)
    arrays = sum(array.nbytes for array in kinds.KINDS["trees"].dump_arrays(trees).values())
    assert len(pickles.pickle_bundle(built)) < 1.3 * arrays + 60_000
    assert_predicts(trees, sample(random, 100, whole=False, holes=0.1))


@pytest.mark.parametrize("lean", [0.0, 0.3, 0.8])
def test_a_pickle_is_not_much_larger_than_its_trees(lean: float) -> None:
    random = np.random.default_rng(7)
    trees = forest([grow_trees(random, 200, lean=lean) for _ in range(20)])
    arrays = sum(array.nbytes for array in kinds.KINDS["trees"].dump_arrays(trees).values())
    assert len(pickles.pickle_bundle(bundles.make_bundle(INPUTS, network=trees))) < 1.3 * arrays + 60_000


def test_a_mean_of_leaves_within_0_and_1_is_bounded() -> None:
    random = np.random.default_rng(8)
    trees = dataclasses.replace(forest([grow_trees(random, 20) for _ in range(4)]), base=np.zeros(1))
    inside = dataclasses.replace(trees, value=np.where(trees.feature < 0, random.random(trees.value.size) / 4.1, 0))
    assert kinds.is_bounded(inside)
    assert not kinds.is_bounded(dataclasses.replace(inside, base=np.full(1, 0.5)))
    assert not kinds.is_bounded(dataclasses.replace(inside, base=np.full(1, -0.3)))
    assert kinds.count_parameters(inside) == inside.feature.size
    assert not kinds.is_bounded(dataclasses.replace(inside, value=inside.value * 4))
    assert kinds.is_bounded(dataclasses.replace(inside, value=inside.value * 4, averaged=True))


@settings(max_examples=15)
@given(cases())
def test_a_bundle_reads_back_as_it_was(tmp_path_factory: Any, case: tuple[model.Trees, NDArray[np.float64]]) -> None:
    trees, _ = case
    last = model.make_node("affine", gain=np.ones(1), shift=np.ones(1))
    before = model.Preprocessing(imputation=np.full(INPUTS, np.nan), centre=np.zeros(INPUTS), scale=np.ones(INPUTS))
    for item in (trees, dataclasses.replace(trees, preprocessing=before, head=(last,))):
        folder = tmp_path_factory.mktemp("trees") / "bundle"
        write.write(folder, bundles.make_bundle(INPUTS, network=item))
        back = read.read(folder).model
        ours, theirs = (kinds.KINDS["trees"].dump_arrays(each) for each in (item, back))
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])
            assert array.dtype == theirs[name].dtype
        assert kinds.KINDS["trees"].dump_keys(item) == kinds.KINDS["trees"].dump_keys(back)


SMALL = [[0, 0.5, 1, 2, 0, 0], [-1, 0, -1, -1, 0, 1.0], [-1, 0, -1, -1, 0, 2.0]]


def put(name: str, index: int, value: float) -> Callable[[model.Trees], model.Trees]:
    def change(trees: model.Trees) -> model.Trees:
        array = getattr(trees, name).copy()
        array[index] = value
        return dataclasses.replace(trees, **{name: array})

    return change


FAULTS: dict[str, tuple[Callable[[model.Trees], model.Trees], str]] = {
    "feature": (put("feature", 0, 4), "feature: 4 at [0]"),
    "feature_low": (put("feature", 0, -2), "feature: -2 at [0]"),
    "threshold": (put("threshold", 0, np.nan), "threshold: nan at [0]"),
    "loop": (put("left", 0, 0), "left: 0 at [0]"),
    "beyond": (put("right", 0, 9), "right: 9 at [0]"),
    "leaf_with_child": (put("left", 1, 2), "left: 2 at [1]"),
    "missing_left": (put("missing_left", 0, 2), "missing_left: 2 at [0]"),
    "value": (put("value", 1, np.inf), "value: inf at [1]"),
    "base": (put("base", 0, np.nan), "base: nan at [0]"),
    "root": (put("roots", 1, 7), "roots: 7 at [1]"),
    "two_parents": (put("roots", 1, 1), "node 1 is a root or a child 2 times"),
    "same_child": (put("right", 0, 1), "node 1 is a root or a child 2 times"),
    "output": (put("output", 0, 1), "output: 1 at [0]"),
    "two_outputs": (
        lambda trees: dataclasses.replace(trees, base=np.zeros(2)),
        "(2,); expected (1,): without `finish`, the model must return one value a row",
    ),
    "lengths": (
        lambda trees: dataclasses.replace(trees, value=trees.value[:-1]),
        "value.shape: (5,); expected (6,), like the other arrays: one value for each node",
    ),
    "type": (
        lambda trees: dataclasses.replace(trees, threshold=trees.threshold.astype(np.float32)),
        "threshold.dtype: float32; expected float64",
    ),
    "finish": (
        lambda trees: dataclasses.replace(trees, head=(model.make_node("affine", gain=np.ones(2), shift=np.ones(2)),)),
        "finish.gain0",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_problem_is_reported(name: str, tmp_path: Path) -> None:
    change, text = FAULTS[name]
    built = dataclasses.replace(bundles.make_bundle(INPUTS), model=change(forest([SMALL, SMALL])))
    with pytest.raises(errors.BundleError) as caught:
        write.write(tmp_path / "b", built)
    assert text in str(caught.value)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    trees = put("feature", 0, 9)(put("threshold", 0, np.nan)(put("value", 2, np.nan)(forest([SMALL, SMALL]))))
    with pytest.raises(errors.BundleError) as caught:
        write.write(tmp_path / "b", dataclasses.replace(bundles.make_bundle(INPUTS), model=trees))
    for text in ("feature: 9", "threshold: nan", "value: nan"):
        assert text in str(caught.value)
