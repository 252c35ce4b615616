"""Bundles as one file: always the same bytes, read like folders; damage is reported and leaves no file."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import time
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors
from builder.bundle.storage import archive, files, read, store, write
from tests.support import bundles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = {"bundle.json": b"{}", "arrays.safetensors": b"a", "golden.safetensors": b"g"}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def write_zip(path: Path, contents: dict[str, bytes], **options: Any) -> Path:
    bundles.pack(path, contents, **options)
    return path


def problems_of(path: Path, cache: Path) -> list[str]:
    """Return the problems of a zip without the test's folder; the cache must stay empty."""
    with pytest.raises(errors.BundleError) as raised:
        store.resolve_folder(path, cache)
    left = [] if not (cache / "bundles").exists() else list((cache / "bundles").iterdir())
    assert left == []
    return [problem.replace(str(path), "ZIP") for problem in raised.value.problems]


# ---- good ones


def test_a_zip_is_the_folder_in_one_file(tmp_path: Path, cache: Path) -> None:
    built = bundles.make_bundle(4, ("bench",))
    folder, archive_path = tmp_path / "mine", tmp_path / "mine.bundle.zip"
    write.write(folder, built)
    write.write(archive_path, built)
    unpacked = store.resolve_folder(archive_path, cache)
    assert store.resolve_folder(folder, cache) == folder
    assert files.hash_bundle(unpacked) == files.hash_bundle(folder)
    bundles.assert_same(read.read(unpacked), built)
    with zipfile.ZipFile(archive_path) as pack_trees:
        assert pack_trees.namelist() == ["bundle.json", "arrays.safetensors", "golden.safetensors"]
        for member in pack_trees.infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            assert member.compress_type == zipfile.ZIP_STORED
            assert member.external_attr >> 16 == stat.S_IFREG | 0o644
            assert not member.extra
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "mine", "mine.bundle.zip"]


def test_the_bytes_depend_on_the_bundle_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "a.bundle.zip", tmp_path / "below" / "b.bundle.zip"
    write.write(first, bundles.make_bundle())
    before = os.umask(0o077)
    try:
        write.write(second, bundles.make_bundle())
    finally:
        os.umask(before)
    assert first.read_bytes() == second.read_bytes()
    write.write(first, bundles.make_bundle())
    assert first.read_bytes() == second.read_bytes()
    write.write(first, bundles.make_bundle(5))
    assert first.read_bytes() != second.read_bytes()


def test_files_beside_the_three_come_in_order(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "mine"
    extra = {"files/b/c.txt": b"c", "files/a.txt": b"", "code/model.py": b"m"}
    header = {"files": {name: {"size": len(content)} for name, content in extra.items()}}
    contents = {**FILES, **extra, "bundle.json": json.dumps(header).encode()}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    stream = io.BytesIO()
    archive.pack(folder, stream)
    archive_path = tmp_path / "one.bundle.zip"
    archive_path.write_bytes(stream.getvalue())
    assert bundles.members(archive_path) == contents
    assert list(bundles.members(archive_path))[3:] == ["code/model.py", "files/a.txt", "files/b/c.txt"]
    assert files.hash_bundle(store.resolve_folder(archive_path, cache)) == files.hash_bundle(folder)


def test_a_zip_that_another_program_made_is_read(tmp_path: Path, cache: Path) -> None:
    folder = bundles.write_bundle(tmp_path / "mine")
    (folder / "files").mkdir()
    contents = {path.name: path.read_bytes() for path in files.list_paths(folder)}
    other = write_zip(tmp_path / "other.bundle.zip", {**contents, "files/": b""}, compression=zipfile.ZIP_DEFLATED)
    (folder / "files").rmdir()
    assert files.hash_bundle(store.resolve_folder(other, cache)) == files.hash_bundle(folder)


@settings(max_examples=20)
@given(features=st.integers(1, 5), seed=st.integers(0, 9), benchmarks=st.lists(st.sampled_from("abc"), unique=True))
def test_any_bundle_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, features: int, seed: int, benchmarks: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    built = bundles.make_bundle(
        features, benchmarks, network=bundles.make_network(features + len(benchmarks), seed=seed)
    )
    write.write(folder / "one.bundle.zip", built)
    bundles.assert_same(read.read(store.resolve_folder(folder / "one.bundle.zip", folder / "cache")), built)


# ---- the cache


def test_a_zip_is_unpacked_once(tmp_path: Path, cache: Path) -> None:
    archive_path = tmp_path / "one.bundle.zip"
    write.write(archive_path, bundles.make_bundle())
    folder = store.resolve_folder(archive_path, cache)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    archive_path.rename(tmp_path / "moved.bundle.zip")
    assert store.resolve_folder(tmp_path / "moved.bundle.zip", cache) == folder
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before
    assert [path.name for path in (cache / "bundles").iterdir()] == [folder.name]


@pytest.mark.parametrize("damage", ["cut", "gone", "more", "edited"])
def test_damaged_cache_is_unpacked_again(tmp_path: Path, cache: Path, damage: str) -> None:
    archive_path = tmp_path / "one.bundle.zip"
    write.write(archive_path, bundles.make_bundle())
    folder = store.resolve_folder(archive_path, cache)
    raw = (folder / "arrays.safetensors").read_bytes()
    (folder / "arrays.safetensors").unlink()
    if damage == "edited":  # as long as it was: the zip's hash still says what is meant
        (folder / "arrays.safetensors").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif damage == "cut":
        (folder / "arrays.safetensors").write_bytes(b"PK")
    elif damage == "more":
        (folder / "stray").write_bytes(b"")
    assert store.resolve_folder(archive_path, cache) == folder
    assert (folder / "arrays.safetensors").read_bytes() == raw
    bundles.assert_same(read.read(folder), bundles.make_bundle())
    assert [path.name for path in (cache / "bundles").iterdir()] == [folder.name]


def test_unused_and_temporary_folders_are_removed(tmp_path: Path, cache: Path) -> None:
    for name, days in {"f" * 64: 31, "e" * 64: 3, ".unpacking-old": 2, ".unpacking-now": 0}.items():
        (cache / "bundles" / name).mkdir(parents=True)
        then = time.time() - days * 86_400
        os.utime(cache / "bundles" / name, (then, then))
    write.write(tmp_path / "one.bundle.zip", bundles.make_bundle())
    folder = store.resolve_folder(tmp_path / "one.bundle.zip", cache)
    assert {path.name for path in (cache / "bundles").iterdir()} == {"e" * 64, ".unpacking-now", folder.name}


def test_problems_of_unpacked_files_name_the_zip(tmp_path: Path, cache: Path) -> None:
    archive_path = write_zip(tmp_path / "one.bundle.zip", FILES)
    folder = store.resolve_folder(archive_path, cache)
    with pytest.raises(errors.BundleError) as raised, store.report_as(archive_path, folder):
        read.read(folder)
    assert f"{archive_path}/bundle.json: kind: missing" in str(raised.value)
    assert str(cache) not in str(raised.value)


# ---- writing


def test_zip_replaces_only_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "text.bundle.zip").write_text("mine")
    (tmp_path / "empty.bundle.zip").touch()
    write_zip(tmp_path / "zip.bundle.zip", {"thesis.docx": b"x"})
    (tmp_path / "folder.bundle.zip").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for name in ("text", "empty", "zip", "folder"):
        with pytest.raises(errors.BundleError, match="move it away or choose another path"):
            write.write(tmp_path / f"{name}.bundle.zip", bundles.make_bundle())
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_other_zip_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        errors.BundleError, match=r"mine\.zip: invalid name for a bundle in one file; expected mine\.bundle\.zip"
    ):
        write.write(tmp_path / "mine.zip", bundles.make_bundle())
    assert list(tmp_path.iterdir()) == []


def test_files_over_the_limit_are_not_zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    with pytest.raises(errors.BundleError, match="make the model smaller"):
        write.write(tmp_path / "mine.bundle.zip", bundles.make_bundle())
    assert list(tmp_path.iterdir()) == []


# ---- bad ones


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "files/../../evil.txt",
        "/etc/evil",
        "files//evil",
        "files/./evil",
        "..",
        "files\\..\\..\\evil",
        "C:\\evil",
        "C:evil",
        "code/.hidden",
        "model.pkl",
        "bundle.json/",
        "files/a\nb",
        "files/\u202egnp.exe",
        "bundle.JSON",
    ],
)
def test_invalid_member_name_is_refused(tmp_path: Path, cache: Path, name: str) -> None:
    (problem,) = problems_of(write_zip(tmp_path / "x.bundle.zip", {**FILES, name: b""}), cache)
    assert problem.startswith("ZIP: contains ")
    assert "which is not part of a bundle" in problem
    assert problem.isprintable()
    assert not (tmp_path / "evil.txt").exists()


def test_a_nul_does_not_hide_the_rest_of_a_name(tmp_path: Path, cache: Path) -> None:
    archive_path = write_zip(tmp_path / "x.bundle.zip", {**FILES, "files/x_evil": b""})
    archive_path.write_bytes(archive_path.read_bytes().replace(b"files/x_evil", b"files/x\0evil"))
    (problem,) = problems_of(archive_path, cache)
    assert "not part of a bundle" in problem


def edit_bytes(offset: int, form: str, value: int, name: bytes = b"arrays.safetensors") -> Callable[[bytes], bytes]:
    """Change a field of a member's entry in the directory."""

    def change(raw: bytes) -> bytes:
        start = raw.rindex(name) - 46
        at = start + offset
        return raw[:at] + struct.pack(form, value) + raw[at + struct.calcsize(form) :]

    return change


def flip_bit(raw: bytes) -> bytes:
    at = raw.index(b"arrays.safetensors") + len(b"arrays.safetensors")
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"", "is empty, not a zip"),
        (lambda _: b"<html>log in</html>" * 9, "is not a zip; expected NAME.bundle.zip"),
        (lambda raw: raw[:10], "is a zip that is truncated"),
        (lambda raw: raw[:-5], "is a zip that is truncated"),
        (lambda raw: raw[: len(raw) // 2], "is a zip that is truncated"),
        (lambda raw: raw + b"more", "is a zip that is truncated or has trailing data"),
        (lambda raw: raw[:-2] + b"\4\0note", "is a zip that is truncated or has trailing data"),
        (flip_bit, "arrays.safetensors: is damaged (Bad CRC-32"),
        (
            edit_bytes(38, "<L", (stat.S_IFLNK | 0o777) << 16),
            "arrays.safetensors: is a link; replace it with the file itself",
        ),
        (edit_bytes(38, "<L", (stat.S_IFIFO | 0o666) << 16), "arrays.safetensors: is not a regular file"),
        (edit_bytes(8, "<H", 1), "arrays.safetensors: is encrypted"),
        (edit_bytes(10, "<H", 14), "arrays.safetensors: has compression method 14; expected stored or deflated"),
        (edit_bytes(24, "<L", 3 << 30), "arrays.safetensors: has 3,221,225,472 bytes; expected at most"),
        (edit_bytes(24, "<L", 1 << 20), "arrays.safetensors: does not have the declared size of 1,048,576 bytes"),
        (edit_bytes(42, "<L", 1 << 20), "arrays.safetensors: is damaged"),
        (lambda raw: raw[:-12] + struct.pack("<H", 60_000) + raw[-10:], "lists 60,000 files"),
        (lambda raw: raw[:-10] + struct.pack("<L", 1 << 30) + raw[-6:], "in a directory of 1,073,741,824 bytes"),
        (lambda raw: raw[:-6] + struct.pack("<L", 7) + raw[-2:], "is damaged"),
    ],
    ids=range(18),
)
def test_damaged_zip_is_reported(tmp_path: Path, cache: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    archive_path = write_zip(tmp_path / "x.bundle.zip", FILES)
    archive_path.write_bytes(damage(archive_path.read_bytes()))
    actual = problems_of(archive_path, cache)
    assert all(problem.startswith("ZIP: ") for problem in actual)
    assert any(message in problem for problem in actual)


def test_zip64_directory_is_limited_too(tmp_path: Path, cache: Path) -> None:
    archive_path = write_zip(tmp_path / "x.bundle.zip", FILES)
    raw = archive_path.read_bytes()
    count, size, start = struct.unpack("<HLL", raw[-12:-2])
    for huge, index, message in (
        (count, len(raw) - 22, None),
        (1 << 40, len(raw) - 22, "lists 1,099,511,627,776 files"),
        (count, 3, "not at the declared offset"),
    ):
        end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, huge, huge, size, start)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, index, 1)
        archive_path.write_bytes(raw[:-22] + end + locator + raw[-22:])
        if message is None:
            assert files.hash_bundle(store.resolve_folder(archive_path, tmp_path / "other"))
        else:
            assert message in problems_of(archive_path, cache)[0]


def test_duplicate_and_missing_files_are_reported_together(tmp_path: Path, cache: Path) -> None:
    archive_path = tmp_path / "x.bundle.zip"
    with zipfile.ZipFile(archive_path, "w") as pack_trees:
        pack_trees.writestr("bundle.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            pack_trees.writestr("bundle.json", b"{ }")
        pack_trees.writestr("arrays.safetensors", b"")
        pack_trees.writestr("evil.sh", b"")
        pack_trees.writestr("files/a", b"")
        pack_trees.writestr("files/a/b", b"")
    assert problems_of(archive_path, cache) == [
        "ZIP: bundle.json: duplicate name; keep one file of each name",
        'ZIP: contains "evil.sh", which is not part of a bundle; copy or fetch it again, or export the model again',
        "ZIP: golden.safetensors: is missing; expected bundle.json, arrays.safetensors, golden.safetensors",
        "ZIP: files/a: is a file, but files/a/b is inside it; copy or fetch it again, or export the model again",
    ]


def test_zip_of_the_folder_error_explains_the_fix(tmp_path: Path, cache: Path) -> None:
    archive_path = write_zip(tmp_path / "x.bundle.zip", {f"mine/{name}": content for name, content in FILES.items()})
    text = 'ZIP: contains the folder "mine" with the bundle in it; zip the files themselves, not their folder'
    assert problems_of(archive_path, cache) == [text]


def test_decompression_is_limited(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte a file of nothing but zeros takes a kilobyte each: what they claim together is what counts."""
    bomb = {f"files/{index}": bytes(1 << 20) for index in range(8)}
    archive_path = write_zip(tmp_path / "x.bundle.zip", {**FILES, **bomb}, compression=zipfile.ZIP_DEFLATED)
    assert archive_path.stat().st_size < 20_000
    monkeypatch.setattr(files, "MOST_BYTES", 4 << 20)
    (problem,) = problems_of(archive_path, cache)
    assert problem == "ZIP: declares 8,388,612 bytes; expected at most 4,194,304: make the model smaller"


def test_a_file_that_inflates_to_more_than_it_claims_is_damaged(tmp_path: Path, cache: Path) -> None:
    archive_path = write_zip(
        tmp_path / "x.bundle.zip", {**FILES, "arrays.safetensors": bytes(1 << 20)}, compression=zipfile.ZIP_DEFLATED
    )
    archive_path.write_bytes(edit_bytes(24, "<L", 100)(archive_path.read_bytes()))
    (problem,) = problems_of(archive_path, cache)
    assert "arrays.safetensors: is damaged" in problem


def test_missing_and_unreadable_zips_are_reported(tmp_path: Path, cache: Path) -> None:
    assert "does not exist; expected a folder with bundle.json" in problems_of(tmp_path / "x.bundle.zip", cache)[0]
    (tmp_path / "loop.bundle.zip").symlink_to("loop.bundle.zip")
    assert "cannot read the file" in problems_of(tmp_path / "loop.bundle.zip", cache)[0]


@settings(max_examples=30)
@given(data=st.data())
def test_any_changed_byte_gives_the_same_bundle_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    archive_path = write_zip(folder / "x.bundle.zip", FILES)
    raw = bytearray(archive_path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    archive_path.write_bytes(bytes(raw))
    try:
        actual = store.resolve_folder(archive_path, folder / "cache")
    except errors.BundleError as error:
        cache_problems = error.problems
    else:
        cache_problems = ()
        assert {path.name: path.read_bytes() for path in files.list_paths(actual)} == FILES
    assert all(problem.startswith(str(archive_path)) for problem in cache_problems)
