"""Test tar streams: deterministic bytes, complete unpacking, and errors for incomplete archives."""

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


def pack(files: dict[str, bytes], folder: str = "") -> bytes:
    return b"".join(tar_stream.pack(entries(files, folder)))


def split(content: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Yield pieces of these sizes (0 is possible), and the rest."""
    start = 0
    for size in sizes:
        yield content[start : start + size]
        start += size
    yield content[start:]


@given(name=parts, content=st.binary(max_size=5000), sizes=st.lists(st.integers(0, 3000)))
@settings(max_examples=50)
def test_a_single_file_is_unpacked_with_its_hash(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes, sizes: list[int]
) -> None:
    target = tmp_path_factory.mktemp("one") / "file"
    digest = tar_stream.unpack_file(split(pack({name: content}), sizes), target, size=len(content))
    assert target.read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()


@given(files=contents)
@settings(max_examples=25)
def test_the_order_of_the_files_does_not_matter(files: dict[str, bytes]) -> None:
    assert pack(files) == pack(dict(reversed(files.items())))


def test_a_single_file_must_exist_and_be_complete(tmp_path: Path) -> None:
    archive = pack({"model.pkl": bytes(range(256)) * 8})
    with pytest.raises(errors.EngineError, match="is incomplete"):
        tar_stream.unpack_file([archive[:1500]], tmp_path / "model.pkl", size=2048)
    with pytest.raises(errors.EngineError, match=r"archive without model\.pkl"):
        tar_stream.unpack_file([pack({})], tmp_path / "model.pkl", size=1)
    for chunks in ([], [b""], [b"not a tar archive"]):
        with pytest.raises(errors.EngineError, match="is incomplete"):
            tar_stream.unpack_file(chunks, tmp_path / "model.pkl", size=1)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_anything_but_a_file_of_the_expected_size_is_an_error(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("model.pkl")
    info.type, info.linkname, info.size = kind, "other", 5 << 30 if kind == tarfile.REGTYPE else 0
    with pytest.raises(errors.EngineError, match="something else than a file of 7 bytes as model"):
        tar_stream.unpack_file([info.tobuf(), bytes(1024)], tmp_path / "model.pkl", size=7)
    assert not (tmp_path / "model.pkl").exists()


def test_entries_are_sorted_and_independent_of_this_machine(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_bytes(b"content")
    private.chmod(0o600)
    os.utime(private, (1_600_000_000, 1_600_000_000))
    inputs = [
        tar_stream.TarEntry(name="b/z", content=private),
        *entries({"b/a": b"1", "a": b"2", "c/d/e": b"3"}),
    ]
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_stream.pack(inputs)))) as archive:
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


@pytest.mark.parametrize("content", [b"", b"short", b"much longer than before"])
def test_a_file_that_changes_its_size_while_it_is_read_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"the old content")
    with pytest.raises(errors.ArtifactError, match=r"file changed while it was read; run it again"):
        _Changing(path, content).apply()


def test_a_large_file_is_streamed_in_chunks(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(20 << 20)
    sizes = [len(chunk) for chunk in tar_stream.pack([tar_stream.TarEntry(name="large", content=path)])]
    assert sum(sizes) > 20 << 20
    assert max(sizes) <= 1 << 20
