"""Create and unpack tar archives as streams, so that a large archive never has to fit into memory.

Entries are sorted and contain no owner, time or mode of this machine: the same files always give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CHUNK = 1 << 20
_BLOCK = 512  # tar headers and contents are padded to this size; two empty blocks end an archive


@dataclass(frozen=True, kw_only=True)
class TarEntry:
    """A file of an archive: its name there, and its content or the path of it."""

    name: str
    content: bytes | Path


def pack(entries: Iterable[TarEntry]) -> Iterator[bytes]:
    """Stream a tar of ``entries`` and their parent folders, sorted by name.

    Raises:
        errors.ArtifactError: A file changed its size while it was read.
    """
    folders: set[str] = set()
    for entry in sorted(entries, key=lambda entry: entry.name):
        for parent in reversed(Path(entry.name).parents[:-1]):
            if parent.as_posix() not in folders:
                folders.add(parent.as_posix())
                yield _create_header(parent.as_posix(), 0, tarfile.DIRTYPE)
        yield from _pack_file(entry)
    yield bytes(2 * _BLOCK)


def unpack_file(chunks: Iterable[bytes], target: Path, *, size: int) -> str:
    """Write the only file of an archive to ``target`` as it arrives; return its sha256.

    Raises:
        errors.EngineError: The stream does not begin with a regular file of ``size`` bytes, or ends early.
        OSError: The file cannot be written.
    """
    digest = hashlib.sha256()
    with _open(_Stream(iter(chunks))) as archive:
        for member in archive:
            # Before anything is written: code of a custom model may have left something else there.
            if not member.isreg() or member.issparse() or member.size != size:
                raise errors.EngineError(
                    f"the image contains something else than a file of {size:,} bytes as {target.name}; run it again"
                )
            source = cast("IO[bytes]", archive.extractfile(member))
            with target.open("wb") as file:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            return digest.hexdigest()
    raise errors.EngineError(f"the engine sent an archive without {target.name}; run it again")


@contextlib.contextmanager
def _open(stream: _Stream) -> Iterator[tarfile.TarFile]:
    try:
        # "r|" reads strictly forward: the stream cannot seek.
        with tarfile.open(fileobj=cast("io.BufferedReader", stream), mode="r|", bufsize=_CHUNK) as archive:
            yield archive
    except tarfile.TarError as error:
        raise errors.EngineError(f"the archive from the engine is incomplete ({error}); run it again") from error


class _Stream(io.RawIOBase):
    """A readable file over an iterator of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks, self._buffer = chunks, b""
        self.position = 0

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes, or fewer at the end; all bytes if ``size`` is negative."""
        parts, length = [self._buffer], len(self._buffer)
        while size < 0 or length < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            length += len(chunk)
        content = b"".join(parts)
        end = len(content) if size < 0 else size
        self._buffer = content[end:]
        self.position += len(content) - len(self._buffer)
        return content[:end]


def _pack_file(entry: TarEntry) -> Iterator[bytes]:
    if isinstance(entry.content, bytes):
        size = len(entry.content)
        yield _create_header(entry.name, size, tarfile.REGTYPE)
        yield entry.content
    else:
        size = entry.content.stat().st_size
        yield _create_header(entry.name, size, tarfile.REGTYPE)
        read = 0
        with entry.content.open("rb") as file:
            while chunk := file.read(_CHUNK):
                read += len(chunk)
                yield chunk
        # The header with the size was sent first, so a file that changed makes the whole archive invalid.
        if read != size:
            raise errors.ArtifactError(
                f"{entry.content} changed while it was read; run it again when nothing writes to it"
            )
    yield bytes(-size % _BLOCK)


def _create_header(name: str, size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mtime = size, kind, 0
    # Readable by all, and owned by root: root in a container without capabilities cannot read another user's private
    # file.
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info.tobuf(tarfile.PAX_FORMAT)
