"""Read files that somebody else may have written: regular files of bounded size, no links, nothing that blocks.

Everything in a ``dist/NAME`` is read with this module, since the folder may have been received from somebody else.
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
_MAX_DEPTH = 16


@contextlib.contextmanager
def with_fix(fix: str) -> Iterator[None]:
    """Add what to do next to the errors of this module: only the caller knows what the files are for."""
    try:
        yield
    except errors.FileTypeError as error:
        raise errors.ArtifactError(f"{error}; {fix}") from error


def open_file(path: Path, *, max_bytes: int) -> BufferedReader:
    """Open a regular file of at most ``max_bytes`` bytes.

    Raises:
        errors.FileTypeError: It is a link, a folder, a FIFO, a socket or a device, or it is larger.
        OSError: It does not exist or cannot be read.
    """
    _check_regular(path, path.lstat(), max_bytes)
    # Another process may replace the file after lstat: O_NOFOLLOW refuses a link, and with O_NONBLOCK opening a FIFO
    # does not wait for a writer. The check is repeated on the open file.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _check_regular(path, os.fstat(file.fileno()), max_bytes)
    except BaseException:
        file.close()
        raise
    return file


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a regular file of at most ``max_bytes`` bytes; raises the errors of :func:`open_file`."""
    with open_file(path, max_bytes=max_bytes) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:  # it grew after it was opened
        raise _create_size_error(path, max_bytes)
    return content


def copy_file(path: Path, target: Path, *, max_bytes: int) -> None:
    """Copy a regular file of at most ``max_bytes`` bytes; raises the errors of :func:`open_file`."""
    remaining = max_bytes
    with open_file(path, max_bytes=max_bytes) as file, target.open("xb") as copy:
        while chunk := file.read(_CHUNK):
            remaining -= len(chunk)
            if remaining < 0:
                raise _create_size_error(path, max_bytes)
            copy.write(chunk)


def check_folder(path: Path) -> None:
    """Refuse a path that is not a folder, or is a link to one.

    Raises:
        errors.FileTypeError: It is not a folder.
        OSError: It does not exist.
    """
    mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        raise errors.FileTypeError(f"{escape(path)}: is {_describe_type(mode)}; expected a folder")


def list_files(folder: Path, *, max_entries: int) -> list[str]:
    """Return the paths of all files below a folder, relative to it and sorted, with ``/`` between their parts.

    Raises:
        errors.FileTypeError: One is not a regular file, a folder is empty, or there are more than ``max_entries``.
        OSError: It cannot be listed.
    """
    check_folder(folder)
    names: list[str] = []
    # A list instead of recursion: each folder with its prefix in the names and its depth.
    pending, count = [(folder, "", 0)], 0
    while pending:
        current, prefix, depth = pending.pop()
        count_before = count
        with os.scandir(current) as entries:
            for entry in entries:
                count += 1
                mode = entry.stat(follow_symlinks=False).st_mode
                path, name = current / entry.name, f"{prefix}{entry.name}"
                if count > max_entries:
                    raise errors.FileTypeError(
                        f"{escape(folder)}: contains more than {max_entries:,} files and folders"
                    )
                if stat.S_ISDIR(mode) and depth < _MAX_DEPTH:
                    pending.append((path, f"{name}/", depth + 1))
                elif stat.S_ISDIR(mode):
                    raise errors.FileTypeError(f"{escape(path)}: is more than {_MAX_DEPTH} folders deep")
                elif stat.S_ISREG(mode):
                    names.append(name)
                else:
                    raise errors.FileTypeError(
                        f"{escape(path)}: is {_describe_type(mode)}; expected only regular files"
                    )
        # An empty folder is in no list of files, so that its name would not be checked.
        if count == count_before and current != folder:
            raise errors.FileTypeError(f"{escape(current)}: is an empty folder, which no build writes")
    return sorted(names)


def _check_regular(path: Path, status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise errors.FileTypeError(f"{escape(path)}: is {_describe_type(status.st_mode)}; expected a regular file")
    if status.st_size > max_bytes:
        raise _create_size_error(path, max_bytes)


def _create_size_error(path: Path, max_bytes: int) -> errors.FileTypeError:
    return errors.FileTypeError(f"{escape(path)}: is larger than {max_bytes:,} bytes, the limit for this file")


def _describe_type(mode: int) -> str:
    types = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFIFO: "a FIFO"}
    return types.get(stat.S_IFMT(mode), "a device or a socket")
