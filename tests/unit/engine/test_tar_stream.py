"""Archives as they stream: the same files, the same bytes; all of them back; half of one is never taken for whole."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors
from builder.engine import tar_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# What a file can be called: anything but the separator, NUL, and the two names that are folders.
parts = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=120
).filter(lambda part: part not in {".", ".."})
contents = st.dictionaries(parts, st.binary(max_size=1500), min_size=1, max_size=4)


def entries(files: dict[str, bytes], folder: str = "") -> list[tar_stream.TarEntry]:
    return [tar_stream.TarEntry(name=f"{folder}{name}", content=content) for name, content in files.items()]


def packed(files: dict[str, bytes], folder: str = "") -> bytes:
    return b"".join(tar_stream.pack(entries(files, folder)))


def in_pieces(whole: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Cut bytes into pieces of these sizes, empty ones too, and a last one."""
    at = 0
    for size in sizes:
        yield whole[at : at + size]
        at += size
    yield whole[at:]


@given(files=contents, folder=st.sampled_from(["", "out/", "a/deep/folder/"]), sizes=st.lists(st.integers(0, 3000)))
@settings(max_examples=50)
def test_what_is_packed_comes_back_however_it_is_cut(files: dict[str, bytes], folder: str, sizes: list[int]) -> None:
    assert tar_stream.unpack_to_memory(in_pieces(packed(files, folder), sizes)) == files


@given(name=parts, content=st.binary(max_size=5000), sizes=st.lists(st.integers(0, 3000)))
@settings(max_examples=50)
def test_one_file_comes_back_with_its_hash(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes, sizes: list[int]
) -> None:
    target = tmp_path_factory.mktemp("one") / "file"
    found = tar_stream.unpack_file(in_pieces(packed({name: content}, "in/"), sizes), target)
    assert target.read_bytes() == content
    assert found == hashlib.sha256(content).hexdigest()


@given(files=contents)
@settings(max_examples=25)
def test_the_order_of_the_files_does_not_matter(files: dict[str, bytes]) -> None:
    assert packed(files) == packed(dict(reversed(files.items())))


@given(files=contents, data=st.data())
@settings(max_examples=50)
def test_a_stream_that_is_cut_short_is_an_error_wherever_it_is_cut(
    files: dict[str, bytes], data: st.DataObject
) -> None:
    whole = packed(files)
    cut = data.draw(st.integers(0, len(whole) - 1025))  # the last two blocks are the end itself
    with pytest.raises(errors.EngineError, match="run it again"):
        tar_stream.unpack_to_memory([whole[:cut]])


def test_a_stream_that_ends_between_two_files_is_cut_short() -> None:
    whole = packed({"a": b"1", "b": b"2"})
    with pytest.raises(errors.EngineError, match="cut short"):
        tar_stream.unpack_to_memory([whole[:1024]])


def test_the_one_file_must_be_there_and_whole(tmp_path: Path) -> None:
    whole = packed({"model.pkl": bytes(range(256)) * 8})
    with pytest.raises(errors.EngineError, match="cut short"):
        tar_stream.unpack_file([whole[:1500]], tmp_path / "model.pkl")
    with pytest.raises(errors.EngineError, match=r"empty archive where model\.pkl should be"):
        tar_stream.unpack_file([packed({})], tmp_path / "model.pkl")
    for nothing in ([], [b""], [b"no tar at all"]):
        with pytest.raises(errors.EngineError, match="cut short"):
            tar_stream.unpack_file(nothing, tmp_path / "model.pkl")


def test_entries_are_sorted_and_say_nothing_of_this_machine(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_bytes(b"content")
    private.chmod(0o600)
    os.utime(private, (1_600_000_000, 1_600_000_000))
    given_entries = [
        tar_stream.TarEntry(name="b/z", content=private),
        *entries({"b/a": b"1", "a": b"2", "c/d/e": b"3"}),
    ]
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_stream.pack(given_entries)))) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["a", "b", "b/a", "b/z", "c", "c/d", "c/d/e"]
    assert {(member.uid, member.gid, member.uname, member.gname, member.mtime) for member in members} == {
        (0, 0, "", "", 0)
    }
    assert {member.mode for member in members if member.isfile()} == {0o644}
    assert {member.mode for member in members if member.isdir()} == {0o755}


class _Changing:
    """Changes a file between its header and its content."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._content = path, content

    def apply(self) -> None:
        stream = tar_stream.pack([tar_stream.TarEntry(name="file", content=self._path)])
        next(stream)
        self._path.write_bytes(self._content)
        for _ in stream:
            pass


@pytest.mark.parametrize("content", [b"", b"short", b"longer than it was by far"])
def test_a_file_that_changes_its_size_while_it_is_read_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"as it was then")
    with pytest.raises(errors.ArtifactError, match=r"file changed while it was read; run it again"):
        _Changing(path, content).apply()


def test_a_large_file_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(20 << 20)
    sizes = [len(chunk) for chunk in tar_stream.pack([tar_stream.TarEntry(name="large", content=path)])]
    assert sum(sizes) > 20 << 20
    assert max(sizes) <= 1 << 20
