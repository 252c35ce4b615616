"""Test that a Git LFS pointer in place of a file is named as what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder import errors, lfs, schema
from builder.bundle.storage import read, store
from builder.validate import live_check
from tests.support import bundles

if TYPE_CHECKING:
    from pathlib import Path

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


@pytest.mark.parametrize("name", ["bundle.json", "arrays.safetensors", "golden.safetensors"])
def test_a_pointer_in_a_bundle_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "small"
    bundles.write_bundle(folder)
    (folder / name).write_bytes(POINTER)
    with pytest.raises(errors.BundleError) as raised:
        read.read(folder)
    assert f"{name}: {lfs.PROBLEM}" in str(raised.value)


def test_a_pointer_in_place_of_a_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "small.bundle.zip"
    path.write_bytes(POINTER)
    with pytest.raises(errors.BundleError) as raised:
        store.resolve_folder(path, tmp_path)
    assert f"{path}: {lfs.PROBLEM}" in str(raised.value)


def test_a_pointer_in_place_of_live_data_is_named(tmp_path: Path) -> None:
    path = tmp_path / "live.parquet"
    path.write_bytes(POINTER)
    with pytest.raises(errors.DataError) as raised:
        live_check.check_files(path, None, features=["a"], benchmark_columns=[], needs_era=False, data_version="v5.3")
    assert f"{path}: {lfs.PROBLEM}" in str(raised.value)


def test_a_pointer_in_place_of_json_is_named() -> None:
    (problem,) = schema.read_json(POINTER)
    assert lfs.PROBLEM in str(problem)
