"""Lists, checks and hashes the files of a bundle's folder, without reading their contents.

Does not import numpy: if nothing changed, ``make pickle`` needs no more of a bundle than its hash, and starts fast.
"""

from __future__ import annotations

import hashlib
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
MOST_FILE = 1 << 32
"""Limit of an additional file, in bytes."""
MOST_FILES = 10_000

NAMING = (
    "a path in code/ or files/ of up to 8 parts, each of ASCII letters, digits, _, ., - and blanks, beginning with a "
    "letter or digit"
)
"""Valid names of additional files, for messages."""

_FOLDERS = ("code", "files")
_EXTRA = re.compile(r"(m[0-9]+\.)?model\.txt\.gz|(files|code)(/[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,100}){1,8}")

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
    """Tell whether a file of a bundle can have this name, a path with ``/`` between its parts."""
    return name in names or is_extra_name(name)


def is_format_1(foreign: Iterable[str]) -> bool:
    """Tell whether a bundle is of format 1, by the names of those files that format 2 does not have."""
    return set(foreign) >= {*NAMES_1} - {JSON}


def describe_format_1(path: Path) -> str:
    """Describe the problem of a bundle of format 1, a folder or a zip."""
    command = commands.suggest_for_folder("bundle convert", path)
    return f"{path}: is a bundle of format 1, but this version reads format {FORMAT}; convert it: `{command}`"


def is_extra_name(name: str) -> bool:
    """Tell whether an additional file can have this name."""
    return bool(_EXTRA.fullmatch(name))


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
        problems += _find_entry_problems(folder / name, entries[name])
    if foreign or len(entries) > MOST_FILES:
        problems.append(f"{folder}: also contains {format_list(foreign)}; {expected} only: move the other files away")
    return problems, tuple(sorted(set(entries) - set(names)))


def _find_foreign_names(entries: Iterable[str], names: tuple[str, ...]) -> list[str]:
    return sorted(name for name in entries if not is_name(name, names))


def _list_entries(folder: Path) -> dict[str, int]:
    """Return the mode of each file by its name in the bundle, including the files in ``code`` and ``files``."""
    entries = {}
    for entry in sorted(folder.iterdir()):
        mode = entry.lstat().st_mode
        if entry.name in _FOLDERS and stat.S_ISDIR(mode):
            # lstat, here and above: a link to a folder is reported as a link, and what it leads to is not read.
            nested_paths = (path for path in sorted(entry.rglob("*")) if not stat.S_ISDIR(path.lstat().st_mode))
            entries.update({path.relative_to(folder).as_posix(): path.lstat().st_mode for path in nested_paths})
        else:
            entries[entry.name] = mode
    return entries


def _find_entry_problems(path: Path, mode: int) -> list[str]:
    if stat.S_ISLNK(mode):
        return [f"{path}: is a link; replace it with the file itself"]
    if not stat.S_ISREG(mode):
        return [f"{path}: is not a regular file; replace it with the file itself"]
    return []


def _hash_file(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hash_stream(file)
