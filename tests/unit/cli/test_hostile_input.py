"""Hostile configs and bundles end with exit code 2 and a short message, within 20 s of CPU and 1 GB of memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from builder.bundle.storage import write
from tests.support import bundles
from tests.support.command import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPU_SECONDS, MEMORY_KB = 20, 1 << 20
CHUNK = bytes(1 << 24)


def run_limited(folder: Path, *arguments: str, code: int = 2) -> str:
    """Run a command under the limits; check its exit code and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    with (folder / "printed").open("w+b") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "builder", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS)),  # noqa: PLW1509
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read().decode()
    assert process.returncode == code, text[:2_000]
    assert usage.ru_maxrss < MEMORY_KB
    assert len(text) < 100_000
    return text


def write_config(folder: Path, text: str) -> str:
    (folder / "configs").mkdir()
    path = folder / "configs" / "hostile.yaml"
    path.write_text(text)
    return str(path)


CONFIGS = {
    "unknown keys": ("".join(f"k{index}: 1\n" for index in range(49_000)), "more problems"),
    "more keys": ("".join(f"k{index}: 1\n" for index in range(80_000)), "more than 100,000 keys and values"),
    "duplicate keys": ("name: a\n" * 49_000, "duplicate key"),
    "items of a list": ("post: [" + "1," * 480_000 + "1]", "more than 100,000 keys and values"),
    "secrets": ("".join(f"k{index}: abcdef{index}$ghijkl{index}\n" for index in range(28_000)), "a secret does not"),
    "a long path": ("bundle: " + "a" * 900_000, "..."),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_refused_within_the_limits(tmp_path: Path, name: str) -> None:
    text, message = CONFIGS[name]
    assert message in run_limited(tmp_path, "render", write_config(tmp_path, text))


HEADERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "5 million features": lambda data: data.update(features=[0] * 5_000_000),
    "features that are numbers": lambda data: data.update(features=[0] * 190_000),
    "steps without a name": lambda data: data.update(post=[{}] * 95_000),
    "nested lists": lambda data: data.update(post=[[[[]]]] * 2_000_000),
    "unknown keys": lambda data: data.update((f"k{index}", 0) for index in range(190_000)),
    "arrays that are numbers": lambda data: data.update(arrays={f"k{index}": 0 for index in range(190_000)}),
    "paths in trained": lambda data: data.update(trained={f"k{index}": "/x" for index in range(190_000)}),
    "file names": lambda data: data.update(
        files={f"../{index}": {"sha256": "0" * 64, "size": 1} for index in range(60_000)}
    ),
    "an array that no layer has": lambda data: data["arrays"].update(
        x={"dtype": "float32", "shape": [1 << 40, 1 << 40]}
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_is_refused_within_the_limits(tmp_path: Path, name: str) -> None:
    folder = bundles.write_bundle(tmp_path / "mine")
    data = json.loads((folder / "bundle.json").read_bytes())
    HEADERS[name](data)
    (folder / "bundle.json").write_text(json.dumps(data, separators=(",", ":")))
    assert "bundle.json" in run_limited(tmp_path, "bundle", "check", "mine")


def test_a_file_of_a_zip_that_the_header_does_not_declare_is_not_unpacked(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mine")
    with zipfile.ZipFile(tmp_path / "mine.bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
        with archive.open("files/big", "w") as member:
            for _ in range(16):
                member.write(CHUNK)
    text = run_limited(tmp_path, "bundle", "check", "mine.bundle.zip")
    assert "files/big: has 268,435,456 bytes; bundle.json does not declare it" in text
    assert not any(path.name == "big" for path in (tmp_path / "cache").rglob("*"))


def test_a_large_array_that_no_layer_has_is_not_read(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mine")
    path, size = folder / "arrays.safetensors", (1 << 30) - (1 << 20)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    end = max(array["data_offsets"][1] for array in header.values())
    header["extra"] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [end, end + size]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + content[8 + length :])
        file.truncate(8 + len(text) + end + size)
    declared = {"dtype": "float32", "shape": [size // 4]}
    bundles.edit_json(folder, lambda data: data["arrays"].update(extra=declared))
    assert "arrays.extra: not an array of an mlp" in run_limited(tmp_path, "bundle", "check", "mine")


@pytest.mark.parametrize("size", [8, 3 << 30])
def test_a_zip_behind_other_data_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "mine.bundle.zip"
    write.write(path, bundles.make_bundle())
    content = path.read_bytes()
    with path.open("wb") as file:
        file.seek(size)
        file.write(content)
    assert "contains data that belongs to no file" in run_limited(tmp_path, "bundle", "check", path.name)


@pytest.mark.parametrize("name", ["arrays.safetensors", "arrays.npz", "files/big"])
def test_a_sparse_file_is_refused_before_it_is_hashed(tmp_path: Path, name: str) -> None:
    folder = bundles.write_bundle(tmp_path / "configs" / "mine")
    (folder / "files").mkdir()
    if name.endswith("npz"):  # a bundle of format 1
        for old in ("arrays", "golden"):
            (folder / f"{old}.safetensors").rename(folder / f"{old}.npz")
    with (folder / name).open("ab") as file:
        file.truncate(10 << 30)
    (tmp_path / "configs" / "small.yaml").write_text('name: small\nimage: {ref: "runner:1"}\nbundle: mine\n')
    command = ("bundle", "convert", "configs/mine") if name.endswith("npz") else ("render", "configs/small.yaml")
    assert f"{name}: has 10,737,418,240 bytes; expected at most" in run_limited(tmp_path, *command)


def test_folders_nested_too_deep_are_refused(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mine")
    descriptor = os.open(folder, os.O_DIRECTORY)
    for _ in range(3_000):
        os.mkdir("code", dir_fd=descriptor)
        deeper = os.open("code", os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)
    text = run_limited(tmp_path, "bundle", "check", "mine")
    assert f"{'/'.join(['mine', *['code'] * 9])}: is not a regular file" in text
    remaining = folder / "code"
    subprocess.run(["rm", "-r", remaining], check=True)  # pytest cannot remove it


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mine")
    (folder / "files").mkdir()
    for index in range(10_001):
        os.close(os.open(folder / "files" / str(index), os.O_CREAT))
    assert "contains more than 10,000 files" in run_limited(tmp_path, "bundle", "check", "mine")


ODD = {
    "NUL": (rb'bundle: "\0x"', "the text contains a control character"),
    "surrogate": (rb'bundle: "\udcff"', "the text contains a control character"),
    "escape without a character": (rb'bundle: "\UFFFFFFFF"', "the escape sequence is not a character"),
    "escape above Unicode": (rb'bundle: "\U00110000"', "the escape sequence is not a character"),
    "not UTF-8": (b"bundle: \xff", "is not UTF-8"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_path_is_a_problem_of_the_config(tmp_path: Path, name: str) -> None:
    content, message = ODD[name]
    path = write_config(tmp_path, "")
    (tmp_path / "configs" / "hostile.yaml").write_bytes(content)
    assert message in run_limited(tmp_path, "render", path)
