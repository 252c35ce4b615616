"""What is wrong with a list of nodes: each fault at its place, all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builder import errors
from builder.bundle import activations, model
from builder.bundle.storage import read
from tests.support import bundles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IDENTITY = activations.Activation(name="identity")


def every_op() -> model.Bundle:
    """Return a network of all ops: 3 inputs, 4 values from layer to layer."""
    random = np.random.default_rng(1)
    four = random.normal(size=4)
    layers: tuple[model.Node, ...] = (
        model.make_node("dense", weights=random.normal(size=(3, 4)), bias=four, activation=IDENTITY),
        model.make_node("affine", gain=four, shift=four),
        model.make_node("norm", gain=four, shift=four, epsilon=1e-5),
        model.make_node("sum", sources=(1, 2)),
        model.make_node("clip", low=-np.ones(4), high=np.ones(4)),
        model.make_node(
            "quantiles", quantiles=np.sort(random.normal(size=(5, 4)), axis=0), references=np.linspace(0, 1, 5)
        ),
        model.make_node("softmax"),
        model.make_node("concat", sources=(6, 3)),
        model.make_node("select", places=np.array([7, 0], dtype=np.int32)),
        model.make_node("dense", weights=random.normal(size=(2, 1)), bias=np.zeros(1), activation=IDENTITY),
    )
    ones = np.ones(3)
    return bundles.make_bundle(3, network=model.Network(layers=layers, imputation=ones, centre=ones, scale=ones))


def layer(index: int, **keys: Any) -> Callable[[Path], object]:
    return lambda folder: bundles.edit_json(folder, lambda data: data["layers"][index].update(keys))


def array(name: str, numbers: Any) -> Callable[[Path], object]:
    """Put other numbers in an array, declared as they are."""

    def damage(folder: Path) -> None:
        built = np.asarray(numbers)
        declared = {"dtype": built.dtype.name, "shape": list(built.shape)}
        bundles.edit_json(folder, lambda data: data["arrays"].update({name: declared}))
        bundles.replace_array(folder / "arrays.safetensors", name, built)

    return damage


CASES: list[tuple[Callable[[Path], object], str, str]] = [
    (layer(1, op="afine"), "layers.1", r'unknown op "afine"; did you mean affine\?'),
    (layer(1, op=3), "layers.1", "unknown op 3"),
    (layer(2, epsilon=0), "layers.2", r"norm: epsilon: 0; expected a number from 1e-30"),
    (layer(5, normal=1), "layers.5", r"quantiles: normal: 1; expected true or false"),
    (layer(8, activation="relu"), "layers.8", r"select has no key 'activation'; it takes from"),
    (layer(3, **{"from": [1]}), "layers.3", r"lists 1 nodes; sum takes two nodes or more"),
    (layer(1, **{"from": [0, 0]}), "layers.1", r"lists 2 nodes; affine takes one node"),
    (layer(3, **{"from": [1, 3]}), "layers.3", r"from: 3; expected from -1 to 2: a node before it"),
    (layer(3, **{"from": "12"}), "layers.3", r"takes a list of two nodes or more"),
    (layer(3, **{"from": [1, 1]}), "layers.2", r"no other node takes its result"),
    (
        layer(3, **{"from": [-1, 2]}),
        "layers.3",
        r"a sum of different widths: 3 features.*; layers\.2 \(norm, 4 values\)",
    ),
    (layer(1, activation="rellu"), "layers.1", r"did you mean relu\?"),
    (
        array("gain1", np.ones(5)),
        "arrays.gain1.shape",
        r"w0 \(3, 4\) does not fit gain1 \(5,\); expected 4 values in gain1",
    ),
    (array("low4", np.ones((4, 1))), "arrays.low4.shape", r"\(4, 1\); expected \(in,\)"),
    (
        array("references5", np.ones(4)),
        "arrays.references5.shape",
        r"\(4,\) does not fit quantiles5 \(5, 4\); expected \(5,\)",
    ),
    (array("places8", np.array([0.0, 1.0])), "arrays.places8.dtype", "float64; expected int32"),
    (array("w9", np.ones((2, 1), dtype=np.int32)), "arrays.w9.dtype", "int32; expected float32 or float64"),
    (array("w9", np.ones((3, 1))), "arrays.w9.shape", r"layers\.8 \(select, 2 values\) does not fit w9 \(3, 1\)"),
    (array("scale", np.ones(3, dtype=np.int32)), "arrays.scale.dtype", "int32; expected float32 or float64"),
    (array("gian1", np.ones(4)), "arrays.gian1", r"not an array of an mlp of 10 layers; did you mean gain1\?"),
    (
        array("places8", np.array([8, 0], dtype=np.int32)),
        "arrays.safetensors: places8",
        r"8 at \[0\].*expected an index from 0 to 7",
    ),
    (array("shift2", np.array([1, np.nan, 1, 1])), "arrays.safetensors: shift2", r"nan at \[1\]"),
    (
        array("references5", np.array([0, 0.5, 0.4, 1, 1])),
        "arrays.safetensors: references5",
        r"0\.4 at \[2\].*the one before it",
    ),
    (
        array("references5", np.array([0, 0.5, 0.6, 1, 2])),
        "arrays.safetensors: references5",
        r"2\.0 at \[4\].*from 0 to 1",
    ),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_problem_has_key_path_and_expected_value(case: int, tmp_path: Path) -> None:
    damage, index, message = CASES[case]
    folder = bundles.write_bundle(tmp_path / "net", every_op())
    damage(folder)
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    about = [problem for problem in caught.value.problems if f"{index}: " in problem]
    assert about, caught.value.problems
    with pytest.raises(errors.BundleError, match=message):
        raise errors.BundleError(about)


def test_a_scale_of_0_divides_nothing(tmp_path: Path) -> None:
    ones = np.ones(3)
    layers = (
        model.make_node("scale", centre=ones, scale=ones),
        model.make_node("dense", weights=np.ones((3, 1)), bias=np.zeros(1), activation=IDENTITY),
    )
    built = bundles.make_bundle(3, network=model.Network(layers=layers, imputation=ones, centre=ones, scale=ones))
    folder = bundles.write_bundle(tmp_path / "net", built)
    array("scale0", np.array([1.0, 0, 2]))(folder)
    with pytest.raises(errors.BundleError, match=r"scale0: 0\.0 at \[1\].*expected no zeros"):
        read.read(folder)


def test_all_problems_of_a_node_list_are_reported_at_once(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "net", every_op())
    for damage in (
        layer(1, activation="rellu"),
        layer(2, epsilon="x"),
        array("low4", np.ones(3)),
        array("w9", np.ones((2, 2))),
    ):
        damage(folder)
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    indices = [problem.split(": ")[1] for problem in caught.value.problems]
    assert {"layers.1", "layers.2", "arrays.low4.shape", "arrays.w9.shape"} <= set(indices)


def test_the_bundles_of_this_repository_keep_their_bytes(tmp_path: Path) -> None:
    from builder import paths
    from builder.bundle.storage import write

    root = paths.inside_folder().parent.parent
    for name in ("mlp", "wide"):
        there = root / "configs" / "bundles" / name
        write.write(tmp_path / name, read.read(there))
        for path in there.iterdir():
            assert (tmp_path / name / path.name).read_bytes() == path.read_bytes()
