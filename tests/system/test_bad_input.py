"""Invalid input is reported by the command with one clear message and its exit code, and nothing is left behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

from tests.support import bundles, clones

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

BUNDLE = "configs/bundles/mlp"


def edit_config(old: str, new: str) -> Callable[[Path], None]:
    def change(clone: Path) -> None:
        path = clone / "configs" / "mlp.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def edit_array(name: str, edit: Callable[[NDArray[np.float32]], NDArray[np.generic]]) -> Callable[[Path], None]:
    def change(clone: Path) -> None:
        path = clone / BUNDLE / "arrays.safetensors"
        bundles.replace_array(path, name, edit(safetensors.numpy.load_file(path)[name]))

    return change


def edit_json(edit: Callable[[dict[str, list[str]]], object]) -> Callable[[Path], None]:
    def change(clone: Path) -> None:
        path = clone / BUNDLE / "bundle.json"
        data = json.loads(path.read_bytes())
        edit(data)
        path.write_text(json.dumps(data))

    return change


def truncate(clone: Path) -> None:
    path = clone / BUNDLE / "arrays.safetensors"
    path.write_bytes(path.read_bytes()[:-2000])


def with_nan(array: NDArray[np.float32]) -> NDArray[np.float32]:
    array[3, 2] = np.nan
    return array


CASES: dict[str, tuple[Callable[[Path], None], str, list[str]]] = {
    "config is not valid YAML": (edit_config("  rows: 6000", "\trows: 6000"), "configs/mlp.yaml:", ["15", "tab"]),
    "unknown key": (edit_config("bundle: ", "bundel: "), "configs/mlp.yaml:9: bundel:", ["bundle"]),
    "version without quotes": (edit_config('"3.12"', "3.10"), "configs/mlp.yaml:8: image.stand_in:", ['"3.10"']),
    "wrong value": (edit_config("cpus: 1", "cpus: -1"), "configs/mlp.yaml:16: validate.limits.cpus:", ["-1"]),
    "missing bundle": (edit_config("bundles/mlp", "bundles/none"), "configs/mlp.yaml:9: bundle:", ["not exist"]),
    "truncated arrays": (truncate, f"{BUNDLE}/arrays.safetensors", ["not a valid safetensors file"]),
    "array of integers": (
        edit_array("w0", lambda array: array.astype(np.int64)),
        f"{BUNDLE}/arrays.safetensors: w0",
        ["I64"],
    ),
    "NaN in weights": (edit_array("w1", with_nan), f"{BUNDLE}/arrays.safetensors: w1", ["[3, 2]", "1"]),
    "shapes that do not match": (edit_array("w1", lambda array: array[1:]), BUNDLE, ["w1"]),
    "duplicate feature": (
        edit_json(lambda data: data["features"].__setitem__(1, data["features"][0])),
        f"{BUNDLE}/bundle.json: features",
        ["feature_x1", "are duplicates"],
    ),
}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("name", CASES)
def test_each_problem_is_one_message(clone: Path, name: str) -> None:
    change, start, words = CASES[name]
    change(clone)
    result = clones.run_builder(clone, "pickle", "configs/mlp.yaml")
    assert result.returncode == 2, result.stdout
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = [line.removeprefix("error: ") for line in result.stderr.replace(f"{clone}/", "").splitlines()]
    assert any(line.startswith(start) for line in lines), result.stderr
    for word in words:
        assert word in result.stderr
    assert not (clone / "dist" / "mlp" / "model.pkl").exists()


def test_an_engine_that_does_not_exist_is_an_error(clone: Path) -> None:
    result = clones.run_builder(clone, "pickle", "configs/mlp.yaml", DOCKER_HOST=f"unix://{clone}/none.sock")
    assert result.returncode == 3
    assert "DOCKER_HOST" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("nothing_left")
def test_an_unavailable_image_without_a_stand_in_lists_the_choices(clone: Path) -> None:
    edit_config("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", "127.0.0.1:9/numerai/predict:1")(clone)
    edit_config('  stand_in: "3.12"\n', "")(clone)
    result = clones.run_builder(clone, "pickle", "configs/mlp.yaml")
    assert result.returncode == 3
    assert "127.0.0.1:9/numerai/predict:1" in result.stderr
    for choice in ("docker pull", "docker load", "stand_in"):
        assert choice in result.stderr


def test_validate_and_verify_need_a_pickle(clone: Path) -> None:
    for command in ("validate", "verify"):
        result = clones.run_builder(clone, command, "configs/mlp.yaml")
        assert result.returncode == 2
        assert "no pickle has been built here" in result.stderr
        assert "make pickle" in result.stderr


def test_a_target_that_is_not_a_config_or_a_folder_is_refused(clone: Path) -> None:
    result = clones.run_builder(clone, "validate", "nonsense")
    assert result.returncode == 2
    assert "dist/NAME" in result.stderr
