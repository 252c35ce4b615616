"""Bundles of format 1: converted by one command, refused with its name by every other."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors, schema
from builder.bundle.storage import archive, convert, files, read, store, write
from tests.support import bundles, custom
from tests.support.command import call, read_output

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
OLD = ROOT / "tests" / "data" / "format_1" / "mlp"
"""The example as it was before format 2."""
NEW = ROOT / "configs" / "bundles" / "mlp"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def note_conversion(folder: Path, before: str) -> Path:
    """Have a bundle say that it was converted from one of this hash."""
    path = folder / files.JSON
    data = json.loads(path.read_bytes())
    path.write_bytes(schema.canonical_json(data | {"trained": data["trained"] | {"converted_from": before}}) + b"\n")
    return folder


@pytest.fixture
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what the example of format 1 becomes."""
    folder = shutil.copytree(NEW, tmp_path_factory.mktemp("expected") / "mlp")
    return note_conversion(folder, files.hash_bundle(OLD, files.NAMES_1))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return shutil.copytree(OLD, tmp_path / "mine")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


# ---- converted


def test_the_example_of_format_1_becomes_that_of_format_2(old: Path, new: Path, cache: Path) -> None:
    before = contents(old)
    assert convert.convert(old, old.with_name("new"), cache)
    assert contents(old.with_name("new")) == contents(new)
    assert contents(old) == before
    assert convert.convert(old, old, cache), "in its place"
    assert contents(old) == contents(new)
    assert not convert.convert(old, old, cache), "once"
    assert contents(old) == contents(new)
    assert sorted(path.name for path in old.parent.iterdir()) == ["cache", "mine", "new"]
    assert list((cache / "bundles").iterdir()) == []


def test_a_zip_becomes_the_zip_that_export_writes(old: Path, new: Path, cache: Path) -> None:
    item = old.with_name("one.bundle.zip")
    with zipfile.ZipFile(item, "w", zipfile.ZIP_DEFLATED) as pack_trees:
        for name, raw in contents(old).items():
            pack_trees.writestr(name, raw)
    stream = io.BytesIO()
    archive.pack(new, stream)
    assert convert.convert(item, old.with_name("two.bundle.zip"), cache)
    assert old.with_name("two.bundle.zip").read_bytes() == stream.getvalue()
    assert convert.convert(item, old.with_name("folder"), cache)
    assert contents(old.with_name("folder")) == contents(new)
    assert convert.convert(item, item, cache)
    assert item.read_bytes() == stream.getvalue()
    assert not convert.convert(item, item, cache)


def test_code_and_files_and_names_are_kept(tmp_path: Path, cache: Path) -> None:
    built = custom.make_bundle(modules={"pkg.maths": "ONE = 1\n"}, files={"sub/table.csv": b"a,b\n"}, arrays={})
    write.write(tmp_path / "new", built)
    write.write(tmp_path / "old", built)
    before = files.hash_bundle(bundles.downgrade(tmp_path / "old"), files.NAMES_1)
    assert convert.convert(tmp_path / "old", tmp_path / "old", cache)
    assert contents(tmp_path / "old") == contents(note_conversion(tmp_path / "new", before))


def test_other_layouts_of_the_same_numbers_are_converted(old: Path, new: Path, cache: Path) -> None:
    with np.load(old / "arrays.npz") as stored:
        arrays = {name: np.asfortranarray(array.astype(">f8")) for name, array in stored.items()}
    bundles.pack(
        old / "arrays.npz",
        {f"{name}.npy": bundles.npy(item) for name, item in arrays.items()},
        compression=zipfile.ZIP_DEFLATED,
    )
    before = files.hash_bundle(old, files.NAMES_1)
    convert.convert(old, old, cache)
    assert contents(old) == contents(note_conversion(new, before))


# ---- refused


def test_existing_path_is_not_replaced(old: Path, cache: Path) -> None:
    for name in ("folder", "file.bundle.zip"):
        there = old.with_name(name)
        write.write(there, bundles.make_bundle())
        before = there.read_bytes() if there.is_file() else contents(there)
        with pytest.raises(errors.RefusedError, match=f"{name}: already exists"):
            convert.convert(old, there, cache)
        assert (there.read_bytes() if there.is_file() else contents(there)) == before
        with pytest.raises(errors.BundleError, match="already has format 2; copy it to"):
            convert.convert(there, old.with_name("other"), cache)
    with pytest.raises(errors.RefusedError, match=r"new: is inside the bundle .*mine"):
        convert.convert(old, old / "new", cache)
    assert contents(old) == contents(OLD)


def members(change: Callable[[dict[str, bytes]], object], name: str = "arrays.npz") -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        pack_trees = bundles.members(folder / name)
        change(pack_trees)
        bundles.pack(folder / name, pack_trees)

    return damage


def link(folder: Path) -> None:
    (folder / "golden.npz").unlink()
    (folder / "golden.npz").symlink_to(OLD / "golden.npz")


def duplicate(folder: Path) -> None:
    with zipfile.ZipFile(folder / "arrays.npz", "a") as pack_trees, pytest.warns(UserWarning, match="Duplicate"):
        pack_trees.writestr("w0.npy", bundles.npy(np.zeros((50, 64))))


def flip(folder: Path) -> None:
    path = folder / "arrays.npz"
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"w0.npy") + 1000] ^= 1
    path.write_bytes(bytes(raw))


def claim(folder: Path) -> None:
    """Have the directory claim more than is read."""
    path = folder / "arrays.npz"
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02") + 24
    raw[at : at + 4] = (3 << 30).to_bytes(4, "little")
    path.write_bytes(bytes(raw))


HUGE = bundles.npy(np.zeros((50, 64))).replace(b"(50, 64), }                    ", b"(1048576, 1048576), }          ")
assert b"(1048576, 1048576)" in HUGE
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "objects": (
        members(lambda pack_trees: pack_trees.update({"w0.npy": bundles.npy(np.array([{}]))})),
        "arrays.npz: w0: is damaged",
    ),
    "strings": (
        members(lambda pack_trees: pack_trees.update({"w0.npy": bundles.npy(np.array(["a"]))})),
        "arrays.npz: w0: is not an",
    ),
    "text": (members(lambda pack_trees: pack_trees.update({"w0.npy": b"no array"})), "arrays.npz: w0: is not an array"),
    "4 TB": (members(lambda pack_trees: pack_trees.update({"w0.npy": HUGE})), "arrays.npz: w0: is damaged"),
    "cut": (
        members(lambda pack_trees: pack_trees.update({"w0.npy": pack_trees["w0.npy"][:-9]})),
        "arrays.npz: w0: is damaged",
    ),
    "another": (
        members(lambda pack_trees: pack_trees.update({"x.npy": pack_trees["w0.npy"]})),
        'arrays.npz: "x": not declared',
    ),
    "missing": (members(lambda pack_trees: pack_trees.pop("w0.npy")), "arrays.npz: w0: missing"),
    "another type": (
        members(lambda pack_trees: pack_trees.update({"w0.npy": bundles.npy(np.ones((50, 64), "f4"))})),
        "npz: w0: is float",
    ),
    "NaN": (
        members(lambda pack_trees: pack_trees.update({"b0.npy": bundles.npy(np.full(64, np.nan))})),
        "arrays.npz: b0: nan at [0]",
    ),
    "twice": (duplicate, "arrays.npz: w0: duplicate name"),
    "CRC": (flip, "arrays.npz: w0: is damaged, not a valid .npz (Bad CRC"),
    "3 GB": (claim, "arrays.npz: declares 3,2"),
    "truncated": (lambda folder: (folder / "golden.npz").write_bytes(b"PK\3\4"), "golden.npz: is damaged"),
    "empty": (lambda folder: (folder / "golden.npz").write_bytes(b""), "golden.npz: is damaged"),
    "not a zip": (
        lambda folder: (folder / "arrays.npz").write_bytes(bundles.npy(np.ones(3))),
        "arrays.npz: is damaged",
    ),
    "no JSON": (lambda folder: (folder / "bundle.json").write_text("{"), "bundle.json: line 1, column 2"),
    "format": (lambda folder: bundles.edit_json(folder, lambda data: data.update(format=7)), "bundle.json: format: 7"),
    "key": (lambda folder: bundles.edit_json(folder, lambda data: data.update(x=7)), "bundle.json: x: unknown key"),
    "link": (link, "golden.npz: is a link"),
    "stray": (lambda folder: (folder / "notes.txt").write_text("x"), "also contains notes.txt"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_problem_names_its_file_and_nothing_is_written(name: str, old: Path, cache: Path) -> None:
    damage, text = FAULTS[name]
    damage(old)
    before = contents(old)
    with pytest.raises(errors.BundleError) as caught:
        convert.convert(old, old, cache)
    assert any(text in problem for problem in caught.value.problems), caught.value.problems
    assert all(problem.startswith(str(old)) for problem in caught.value.problems)
    assert contents(old) == before
    assert not list((cache / "bundles").iterdir())


@settings(max_examples=25)
@given(
    name=st.sampled_from(["arrays.npz", "golden.npz"]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    cut=st.sampled_from([1.0, 0.9, 0.5]),
)
def test_any_damage_is_a_problem_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[tuple[float, int]], cut: float
) -> None:
    old = tmp_path_factory.mktemp("fuzz") / "mlp"
    bundles.downgrade(bundles.write_bundle(old))
    raw = bytearray((old / name).read_bytes())
    for index, octet in edits:
        raw[int(index * (len(raw) - 1))] = octet
    (old / name).write_bytes(bytes(raw[: round(cut * len(raw))]))
    before = files.hash_bundle(old, files.NAMES_1)
    try:
        convert.convert(old, old, old.parent / "cache")
    except errors.BundleError:
        return
    built = bundles.make_bundle()
    bundles.assert_same(read.read(old), dataclasses.replace(built, trained={**built.trained, "converted_from": before}))


def test_format_1_is_refused_with_the_command_that_converts_it(
    old: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    item = tmp_path / "one.bundle.zip"
    bundles.pack(item, contents(old))
    for path in (old, item):
        problem = f"{path}: is a bundle of format 1, but this version reads format 2; convert it: "
        for command in (["bundle", "show"], ["bundle", "check"], ["init", "--root", str(tmp_path), "--from"]):
            assert call(*command, str(path)) == 2
            _, err = read_output(capsys)
            assert err == f"error: {problem}`python -m builder bundle convert {path}`\n"
        with pytest.raises(errors.BundleError, match="is a bundle of format 1"):
            files.hash_bundle(store.resolve_folder(path, tmp_path / "cache"))


def test_exporting_a_model_again_replaces_its_bundle_of_format_1(old: Path, tmp_path: Path) -> None:
    item = tmp_path / "one.bundle.zip"
    bundles.pack(item, contents(old))
    for path in (old, item):
        write.write(path, bundles.make_bundle())
        bundles.assert_same(read.read(store.resolve_folder(path, tmp_path / "cache")), bundles.make_bundle())


# ---- by the command


def test_command_prints_the_keys_for_configs(
    old: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    item = tmp_path / "one.bundle.zip"
    digest = files.hash_bundle(new)
    assert call("bundle", "convert", str(old), str(item)) == 0
    out, err = read_output(capsys)
    sha256 = files.hash_content(item)[0]
    assert err == ""
    assert out.splitlines() == [
        f"converted: {item}: {digest}",
        f"sha256 of the zip, for {{url, sha256}} in a config: {sha256}",
    ]
    assert call("bundle", "convert", "--json", str(old)) == 0
    expected = {"format": 1, "path": str(old), "converted": True, "hash": digest, "sha256": None}
    assert json.loads(read_output(capsys)[0]) == expected
    assert call("bundle", "convert", str(old)) == 0
    assert read_output(capsys)[0] == f"already of format 2: {old}: {digest}\n"
    assert call("bundle", "convert", str(tmp_path / "absent")) == 2
    assert "absent: does not exist; expected a folder" in read_output(capsys)[1]
    assert call("bundle", "convert", str(old), str(item)) == 5
    assert "one.bundle.zip: already exists" in read_output(capsys)[1]
