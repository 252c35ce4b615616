"""Lists, checks and hashes the files of a bundle's folder, without reading their contents.

Does not import numpy: if nothing changed, ``make pickle`` needs no more of a bundle than its hash, and starts fast.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
from typing import IO, TYPE_CHECKING

from builder import commands, errors
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FORMAT = 2
JSON = "bundle.json"
ARRAYS = "arrays.safetensors"
GOLDEN = "golden.safetensors"
NAMES = (JSON, ARRAYS, GOLDEN)
NAMES_1 = (JSON, "arrays.npz", "golden.npz")
"""The required files of format 1, which only :mod:`builder.bundle.storage.convert` reads."""
MOST_BYTES = 1 << 32
"""Limit of all files together: the tournament runs a model in 4 GB of memory."""
MOST_FILE = 1 << 32
"""Limit of an additional file, in bytes."""
MOST_FILES = 10_000
MAX_BYTES = {
    JSON: 1 << 24,  # a hundred times the size of one with 3,555 features
    **dict.fromkeys((ARRAYS, NAMES_1[1]), 1 << 30),
    **dict.fromkeys((GOLDEN, NAMES_1[2]), 1 << 28),
}
"""Limits of the required files, in bytes; of the arrays without their header."""
MAX_HEADER_BYTES = 1 << 24
"""Limit of a header (names and shapes of the arrays), in bytes; the library accepts 100 MB."""

NAMING = (
    "a path in code/ or files/ of up to 8 parts, each of ASCII letters, digits, _, ., - and blanks, beginning with a "
    "letter or digit"
)
"""Valid names of additional files, for messages."""

_FOLDERS = ("code", "files")
_MAX_DEPTH = 8
_EXTRA = re.compile(
    rf"(m[0-9]+\.)?model\.(txt\.gz|ubj|cbm)|(files|code)(/[A-Za-z0-9_][A-Za-z0-9_.\- ]{{0,100}}){{1,{_MAX_DEPTH}}}"
)

_CHUNK = 1 << 20


def hash_bundle(folder: Path, names: tuple[str, ...] = NAMES) -> str:
    """Compute the hash of a bundle: the sha256 of the names, sizes and hashes of its files, in hexadecimal.

    Args:
        folder: Folder of the bundle.
        names: The three required files of its format.

    Raises:
        errors.BundleError: The folder does not contain exactly the files of a bundle, or one cannot be read.
    """
    extra = check(folder, names)  # sorted, so that the order in which a file system lists them does not matter
    bundle_digest = hashlib.sha256()
    for name in (*names, *extra):
        path = folder / name
        try:
            file_digest, size = _hash_file(path)
        except OSError as error:
            raise errors.BundleError([describe_read_error(path, error)]) from error
        # With the name and the size of each file, two different folders cannot give the same input to the hash.
        bundle_digest.update(f"{name} {size} {file_digest}\n".encode())
    return bundle_digest.hexdigest()


def check(folder: Path, names: tuple[str, ...] = NAMES) -> tuple[str, ...]:
    """Check that a folder contains the files of a bundle and nothing else.

    Args:
        folder: Folder of the bundle.
        names: The three required files of its format.

    Returns:
        The names of the additional files, sorted: a booster's text, or the files of a custom model.

    Raises:
        errors.BundleError: Files are missing, unexpected, links or not regular files; all are listed.
    """
    problems, extra = _inspect_folder(folder, names)
    if problems:
        raise errors.BundleError(problems)
    return extra


def list_paths(folder: Path) -> list[Path]:
    """List the paths of all files of a bundle, the required ones first.

    Raises:
        errors.BundleError: See ``check``.
    """
    return [folder / name for name in (*NAMES, *check(folder))]


def list_foreign(folder: Path) -> list[str]:
    """List the names of files in a folder that cannot be part of a bundle, in either format.

    Raises:
        OSError: It cannot be listed.
    """
    return _find_foreign_names(_list_entries(folder), NAMES + NAMES_1)


def is_name(name: str, names: tuple[str, ...] = NAMES) -> bool:
    """Return whether a file of a bundle can have this name, a path with ``/`` between its parts."""
    return name in names or is_extra_name(name)


def is_format_1(foreign: Iterable[str]) -> bool:
    """Return whether a bundle is of format 1, by the names of those files that format 2 does not have."""
    return set(foreign) >= {*NAMES_1} - {JSON}


def describe_format_1(path: Path) -> str:
    """Describe the problem of a bundle of format 1, a folder or a zip."""
    command = commands.suggest_for_folder("bundle convert", path)
    return f"{path}: is a bundle of format 1, but this version reads format {FORMAT}; convert it: `{command}`"


def is_extra_name(name: str) -> bool:
    """Return whether an additional file can have this name."""
    return bool(_EXTRA.fullmatch(name))


def find_size_problem(name: str, size: int) -> str:
    """Return what is wrong with the size of a bundle's file; empty if nothing is."""
    most = MAX_BYTES.get(name, MOST_FILE)
    return (
        f"has {size:,} bytes; expected at most {most:,}: make the model smaller"
        if size > most + MAX_HEADER_BYTES
        else ""
    )


def hash_content(content: bytes | Path) -> tuple[str, int]:
    """Compute the sha256 and the size of a file, given by its content or path.

    Raises:
        OSError: It cannot be read.
    """
    return (hashlib.sha256(content).hexdigest(), len(content)) if isinstance(content, bytes) else _hash_file(content)


def hash_stream(file: IO[bytes]) -> tuple[str, int]:
    """Compute the sha256 and the size of an open, seekable file, from its beginning.

    Raises:
        OSError: It cannot be read.
    """
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def describe_read_error(path: Path, error: OSError) -> str:
    """Describe why a file cannot be read."""
    return f"{path}: cannot read the file: {error.strerror or error}; check its permissions and the disk"


def _inspect_folder(folder: Path, names: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Return the problems of the folder, and the names of the additional files."""
    expected = f"a bundle is a folder with {', '.join(names)}"
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return [f"{folder}: is not a folder; {expected}"], ()
        entries = _list_entries(folder)
    except FileNotFoundError:
        return [f"{folder}: does not exist; {expected}, as written by builder.bundle.storage.write"], ()
    except OSError as error:
        return [describe_read_error(folder, error)], ()
    foreign = _find_foreign_names(entries, names)
    if is_format_1(foreign):
        return [describe_format_1(folder)], ()
    problems = [f"{folder / name}: is missing; {expected}" for name in names if name not in entries]
    for name in sorted(set(entries) - set(foreign)):
        problems += _find_entry_problems(folder, name, entries[name])
    if foreign:
        problems.append(f"{folder}: also contains {format_list(foreign)}; {expected} only: move the other files away")
    total = sum(status.st_size for status in entries.values())
    if len(entries) > MOST_FILES:
        problems.append(f"{folder}: contains more than {MOST_FILES:,} files; put them into fewer files")
    elif total > MOST_BYTES and not problems:
        problems.append(f"{folder}: has {total:,} bytes; expected at most {MOST_BYTES:,}: make the model smaller")
    return problems, tuple(sorted(set(entries) - set(names)))


def _find_foreign_names(entries: Iterable[str], names: tuple[str, ...]) -> list[str]:
    return sorted(name for name in entries if not is_name(name, names))


def _list_entries(folder: Path) -> dict[str, os.stat_result]:
    """Return the status of each file by its name in the bundle, including the files in ``code`` and ``files``.

    Of a folder with more than ``MOST_FILES`` files, the first ones; a folder that is nested too deep counts as a file.
    """
    entries: dict[str, os.stat_result] = {}
    folders = [""]
    for _ in range(MOST_FILES):  # folders may be empty
        if not folders or len(entries) > MOST_FILES:
            break
        parent = folders.pop()
        with os.scandir(folder / parent) as listing:
            for entry in itertools.islice(listing, MOST_FILES + 1):
                # Not followed: a link to a folder is reported as a link, and what it leads to is not read.
                name, status = parent + entry.name, entry.stat(follow_symlinks=False)
                is_searched = name.split("/", 1)[0] in _FOLDERS and name.count("/") < _MAX_DEPTH
                if is_searched and stat.S_ISDIR(status.st_mode):
                    folders.append(f"{name}/")
                else:
                    entries[name] = status
    return entries


def _find_entry_problems(folder: Path, name: str, status: os.stat_result) -> list[str]:
    path = folder / name
    if stat.S_ISLNK(status.st_mode):
        return [f"{path}: is a link; replace it with the file itself"]
    if not stat.S_ISREG(status.st_mode):
        return [f"{path}: is not a regular file; replace it with the file itself"]
    problem = find_size_problem(name, status.st_size)
    return [f"{path}: {problem}"] if problem else []


def _hash_file(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hash_stream(file)
