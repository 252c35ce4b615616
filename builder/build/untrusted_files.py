"""Reads files that a stranger may have made: bounded, plain files only, no link followed, nothing that could block.

Everything in a ``dist/NAME`` is read through this module: the folder may have come from somebody else.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from builder import errors
from builder.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

_CHUNK = 1 << 20
_DEEPEST = 16


@contextlib.contextmanager
def with_fix(fix: str) -> Iterator[None]:
    """Add what to do next to what this module raises: what the files are for is known to the caller alone."""
    try:
        yield
    except errors.FileTypeError as error:
        raise errors.ArtifactError(f"{error}; {fix}") from error


def open_file(path: Path, *, max_bytes: int) -> BufferedReader:
    """Open a plain file of at most ``most`` bytes.

    Raises:
        errors.FileTypeError: It is a link, a folder, a FIFO, a socket or a device, or it is larger.
        OSError: It does not exist or cannot be read.
    """
    _check_plain(path, path.lstat(), max_bytes)
    # The flags hold if it was replaced since: a link is not followed, and opening a FIFO does not wait for a writer.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _check_plain(path, os.fstat(file.fileno()), max_bytes)
    except BaseException:
        file.close()
        raise
    return file


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a plain file of at most ``most`` bytes; raises what :func:`open_file` does."""
    with open_file(path, max_bytes=max_bytes) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:  # it grew
        raise _too_large(path, max_bytes)
    return content


def copy_file(path: Path, target: Path, *, max_bytes: int) -> None:
    """Copy a plain file of at most ``most`` bytes; raises what :func:`open_file` does."""
    left = max_bytes
    with open_file(path, max_bytes=max_bytes) as file, target.open("xb") as copy:
        while chunk := file.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise _too_large(path, max_bytes)
            copy.write(chunk)


def check_folder(path: Path) -> None:
    """Refuse a folder that is a link to another one, or no folder.

    Raises:
        errors.FileTypeError: It is.
        OSError: It does not exist.
    """
    mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        raise errors.FileTypeError(f"{escape(path)}: is {_sort(mode)}; expected a folder")


def list_files(folder: Path, *, max_bytes: int) -> list[str]:
    """Return the names of all files below a folder, sorted, with ``/`` between their parts.

    Raises:
        errors.FileTypeError: One is no plain file, a folder is empty, or there are more than ``most`` entries.
        OSError: It cannot be listed.
    """
    check_folder(folder)
    found: list[str] = []
    waiting, count = [(folder, "", 0)], 0
    while waiting:
        where, prefix, depth = waiting.pop()
        before = count
        with os.scandir(where) as entries:
            for entry in entries:
                count += 1
                mode = entry.stat(follow_symlinks=False).st_mode
                path, name = where / entry.name, f"{prefix}{entry.name}"
                if count > max_bytes:
                    raise errors.FileTypeError(f"{escape(folder)}: holds more than {max_bytes:,} files and folders")
                if stat.S_ISDIR(mode) and depth < _DEEPEST:
                    waiting.append((path, f"{name}/", depth + 1))
                elif stat.S_ISDIR(mode):
                    raise errors.FileTypeError(f"{escape(path)}: is over {_DEEPEST} folders deep")
                elif stat.S_ISREG(mode):
                    found.append(name)
                else:
                    raise errors.FileTypeError(f"{escape(path)}: is {_sort(mode)}; expected plain files only")
        if count == before and where != folder:
            raise errors.FileTypeError(f"{escape(where)}: is an empty folder, which belongs to nothing")
    return sorted(found)


def _check_plain(path: Path, facts: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise errors.FileTypeError(f"{escape(path)}: is {_sort(facts.st_mode)}; expected a plain file")
    if facts.st_size > max_bytes:
        raise _too_large(path, max_bytes)


def _too_large(path: Path, max_bytes: int) -> errors.FileTypeError:
    return errors.FileTypeError(f"{escape(path)}: is larger than {max_bytes:,} bytes; this tool writes no such file")


def _sort(mode: int) -> str:
    sorts = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFIFO: "a FIFO"}
    return sorts.get(stat.S_IFMT(mode), "a device or a socket")
