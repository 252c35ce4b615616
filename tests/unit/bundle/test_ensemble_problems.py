"""Every fault of an ensemble is found at once, each with its place among the members."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builder import errors
from builder.bundle.storage import read
from tests.support import bundles, ensembles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two members: features a, b, c and the benchmark x."""
    built = ensembles.make_bundle(
        [ensembles.make_member("ab", transform="rank"), ensembles.make_member("ca", "x", seed=2, weight=2)]
    )
    return bundles.write_bundle(tmp_path / "made", built)


def find_problems(folder: Path) -> list[str]:
    """Return what is wrong, each without the folder."""
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_problems_of_all_members_are_reported_at_once(folder: Path) -> None:
    def spoil(data: dict[str, Any]) -> None:
        first, second = data["members"]
        first["layers"][1]["activation"] = "sigmod"
        first["weight"] = 0
        second["transform"] = "ranked"
        second["colour"] = 1
        data["arrays"]["m1.w1"]["shape"] = [3, 1]

    bundles.edit_json(folder, spoil)
    actual = find_problems(folder)
    assert [problem for problem in actual if "members.0.layers.1" in problem and "sigmoid" in problem]
    assert [
        problem
        for problem in actual
        if problem.startswith("bundle.json: members.0.weight: 0 is invalid; expected a number of a")
    ]
    assert [problem for problem in actual if "members.1.transform" in problem and 'did you mean "rank"?' in problem]
    assert [problem for problem in actual if "members.1.colour: unknown key" in problem]
    assert [problem for problem in actual if problem.startswith("arrays.safetensors: m1.w1: is float32 (4, 1)")]


def test_shapes_are_compared_to_the_member_columns(folder: Path) -> None:
    def spoil(data: dict[str, Any]) -> None:
        data["members"][1]["features"].append("feature_b")
        data["arrays"]["m0.w1"]["shape"] = [5, 1]

    bundles.edit_json(folder, spoil)
    actual = find_problems(folder)
    assert [
        problem for problem in actual if problem.startswith("bundle.json: members.1.features: 3 features and 1 bench")
    ]
    assert [problem for problem in actual if problem.startswith("bundle.json: arrays.m1.centre.shape: (3,)")]
    assert [
        problem
        for problem in actual
        if problem.startswith("bundle.json: arrays.m0.w1.shape: w0 (2, 4) does not fit w1 (5, 1)")
    ]


def test_numbers_are_named_by_their_member(folder: Path) -> None:
    bundles.replace_array(folder / "arrays.safetensors", "m1.b0", np.array([1, np.nan, 2, 3], dtype=np.float32))
    bundles.replace_array(folder / "arrays.safetensors", "m0.scale", np.array([1, 0], dtype=np.float32))
    actual = find_problems(folder)
    assert [problem for problem in actual if problem.startswith("arrays.safetensors: m1.b0: nan at [1]")]
    assert [problem for problem in actual if problem.startswith("arrays.safetensors: m0.scale: 0.0 for feature_b")]


def change(**keys: Any) -> Callable[[dict[str, Any]], object]:
    """Return an edit of the first member."""

    def edit(data: dict[str, Any]) -> None:
        data["members"][0].update(keys)

    return edit


def drop(key: str) -> Callable[[dict[str, Any]], object]:
    def edit(data: dict[str, Any]) -> None:
        del data["members"][0][key]

    return edit


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (change(kind="ensemble"), 'members.0.kind: "ensemble"; expected one of '),
        (change(kind="mpl"), 'members.0.kind: "mpl"; did you mean mlp? expected one of '),
        (change(kind="custom"), 'members.0.kind: "custom"; expected one of '),
        (change(kind=7), "members.0.kind: 7; expected one of "),
        (drop("kind"), "members.0.kind: missing; expected one of "),
        (drop("features"), "members.0.features: missing"),
        (drop("layers"), "members.0.layers: missing"),
        (change(features="feature_a"), "members.0.features: "),
        (change(features=[]), "members.0.features: "),
        (change(features=["feature_a", "feature_a"]), "members.0.features: 1 of 1 names are duplicates"),
        (change(features=["feature_a", "feature_z"]), "features: feature_z missing"),
        (change(benchmarks=["feature_a"]), "members.0.benchmarks: also in features: feature_a"),
        (change(post=[]), "members.0.post: a key of the bundle, not of a member"),
        (change(arrays={}), "members.0.arrays: a key of the bundle, not of a member"),
        (change(weight="1"), 'members.0.weight: "1" is invalid; expected a number'),
        (change(weight=True), "members.0.weight: true is"),
        (change(weight=1e300), "members.0.weight: 1e+300 is invalid"),
        (change(scope="eras"), 'members.0.scope: "eras" is invalid'),
        (lambda data: data.update(members=[]), "members: "),
        (lambda data: data.update(members=[1]), "members.0: 1 is"),
        (lambda data: data.update(members={}), "members: "),
        (lambda data: data.pop("members"), "members: missing"),
        (lambda data: data["features"].append("feature_d"), "features: unused columns: feature_d"),
        (lambda data: data["features"].remove("feature_c"), "features: feature_c missing"),
        (lambda data: data["features"].reverse(), "features.0: feature_c; expected feature_a"),
        (lambda data: data["benchmarks"].clear(), "benchmarks: bench_x missing"),
        (
            lambda data: data["members"].pop(),
            "arrays.m1.b0: does not belong to a member; expected a name that begins with m0.",
        ),
        (lambda data: data["arrays"].pop("m0.b1"), "arrays.m0: missing b1"),
        (
            lambda data: data["arrays"].update({"m0.w7": data["arrays"]["m0.w0"]}),
            "arrays.m0.w7: not an array of an mlp of 2 layers",
        ),
        (
            lambda data: data["arrays"].update({"w0": data["arrays"]["m0.w0"]}),
            "arrays.w0: does not belong to a member; expected a name that begins with m0., m1.",
        ),
        (
            lambda data: data.update(files={"model.txt.gz": {"sha256": "0" * 64, "size": 1}}),
            "files.model.txt.gz: does not belong to a member",
        ),
    ],
)
def test_each_problem_has_its_key_path(folder: Path, edit: Callable[[dict[str, Any]], object], expected: str) -> None:
    bundles.edit_json(folder, edit)
    actual = find_problems(folder)
    assert [problem for problem in actual if problem.startswith(f"bundle.json: {expected}")], actual


def test_a_bundle_of_the_parts_of_members_is_refused_without_a_traceback(folder: Path) -> None:
    data = json.loads((folder / "bundle.json").read_bytes())
    for key in ("kind", "features", "layers", "weight", "transform", "scope", "benchmarks"):
        for value in (None, [], {}, "", -1, 1 << 70, [None], {"a": 1}):
            spoiled = json.loads(json.dumps(data))
            spoiled["members"][1][key] = value
            (folder / "bundle.json").write_text(json.dumps(spoiled))
            if (key, value) != ("weight", -1):
                assert find_problems(folder)
