"""Tar archives that are never held whole: made from files chunk by chunk, and unpacked as they arrive.

Entries are sorted and carry no owner, time or mode of this machine, so the same files always give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CHUNK = 1 << 20
_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class TarEntry:
    """A file of an archive: its name there, and its content or the path to it."""

    name: str
    content: bytes | Path


def pack(entries: Iterable[TarEntry]) -> Iterator[bytes]:
    """Stream a tar of ``entries``, sorted by name, with the folders they are in.

    Raises:
        errors.ArtifactError: a file changed its size while it was read.
    """
    seen: set[str] = set()
    for entry in sorted(entries, key=lambda one: one.name):
        for parent in reversed(Path(entry.name).parents[:-1]):
            if parent.as_posix() not in seen:
                seen.add(parent.as_posix())
                yield _header(parent.as_posix(), 0, tarfile.DIRTYPE)
        yield from _file(entry)
    yield bytes(2 * _BLOCK)


def unpack_file(chunks: Iterable[bytes], target: Path) -> str:
    """Write the one file of an archive to ``target`` as it arrives; return its sha256.

    Raises:
        errors.EngineError: the stream holds no file, or ends early.
        OSError: the file cannot be written.
    """
    digest = hashlib.sha256()
    with _reading(_Stream(iter(chunks))) as archive:
        for member in archive:
            source = archive.extractfile(member)
            if source is not None:
                with target.open("wb") as file:
                    while chunk := source.read(_CHUNK):
                        digest.update(chunk)
                        file.write(chunk)
                return digest.hexdigest()
    raise errors.EngineError(f"the engine sent an empty archive where {target.name} should be; run it again")


def unpack_to_memory(chunks: Iterable[bytes]) -> dict[str, bytes]:
    """Return the files of a small archive by their base names.

    Raises:
        errors.EngineError: the stream ends early.
    """
    stream = _Stream(iter(chunks))
    with _reading(stream) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive)
        held = {Path(name).name: file.read() for name, file in files if file is not None}
        # A stream that ends between two files looks whole to tarfile: the empty block at the end tells.
        if stream.given < archive.offset + _BLOCK:
            raise tarfile.ReadError("no end of archive")
        return held


@contextlib.contextmanager
def _reading(stream: _Stream) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=cast("io.BufferedReader", stream), mode="r|", bufsize=_CHUNK) as archive:
            yield archive
    except tarfile.TarError as error:
        raise errors.EngineError(f"the engine's archive is cut short ({error}); run it again") from error


class _Stream(io.RawIOBase):
    """What an iterator of bytes yields, as a file to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks, self._left = chunks, b""
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, fewer only at the end."""
        parts, have = [self._left], len(self._left)
        while size < 0 or have < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            have += len(chunk)
        whole = b"".join(parts)
        end = len(whole) if size < 0 else size
        self._left = whole[end:]
        self.given += len(whole) - len(self._left)
        return whole[:end]


def _file(entry: TarEntry) -> Iterator[bytes]:
    if isinstance(entry.content, bytes):
        size = len(entry.content)
        yield _header(entry.name, size, tarfile.REGTYPE)
        yield entry.content
    else:
        size = entry.content.stat().st_size
        yield _header(entry.name, size, tarfile.REGTYPE)
        sent = 0
        with entry.content.open("rb") as file:
            while chunk := file.read(_CHUNK):
                sent += len(chunk)
                yield chunk
        if sent != size:
            raise errors.ArtifactError(f"{entry.content} changed while it was read; run it again when it is at rest")
    yield bytes(-size % _BLOCK)


def _header(name: str, size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mtime = size, kind, 0
    # Owned by root and readable: a container without capabilities cannot read another user's private file.
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info.tobuf(tarfile.PAX_FORMAT)
