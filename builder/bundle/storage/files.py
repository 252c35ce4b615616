"""The files of a bundle's folder: which there are, that nothing else is, and the hash of their bytes.

Imports no numpy: ``make pickle`` with nothing changed reads no more of a bundle than this.
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
"""Of format 1, which :mod:`builder.bundle.storage.convert` alone reads."""
MOST_FILE = 1 << 32
"""Bytes of one file beside these."""
MOST_FILES = 10_000

NAMING = (
    "in code/ and files/, up to 8 parts, each of ASCII letters, digits, _, ., - and blanks, a letter or digit first"
)
"""How files beside the three are named, for messages."""

_FOLDERS = ("code", "files")
_EXTRA = re.compile(r"(m[0-9]+\.)?model\.txt\.gz|(files|code)(/[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,100}){1,8}")

_CHUNK = 1 << 20


def hash_bundle(folder: Path, names: tuple[str, ...] = NAMES) -> str:
    """Return the sha256 of the names and bytes of the bundle's files, in hexadecimal; ``names`` as of :func:`check`.

    Raises:
        errors.BundleError: The folder does not hold exactly the files of a bundle, or one cannot be read.
    """
    extra = check(folder, names)
    total = hashlib.sha256()
    for name in (*names, *extra):
        path = folder / name
        try:
            one, size = _hash_file(path)
        except OSError as error:
            raise errors.BundleError([describe_read_error(path, error)]) from error
        # Name and size before the hash of the bytes: no two folders run together into the same stream.
        total.update(f"{name} {size} {one}\n".encode())
    return total.hexdigest()


def check(folder: Path, names: tuple[str, ...] = NAMES) -> tuple[str, ...]:
    """Make sure that the folder holds the files of a bundle and nothing else.

    Args:
        folder: The bundle's.
        names: The three files that every bundle has, in its format.

    Returns:
        The names of the files beside the three, sorted: a booster's text, or what a model of the user's own brings.

    Raises:
        errors.BundleError: All that is missing, extra, a link or no plain file.
    """
    problems, extra = _inspect_folder(folder, names)
    if problems:
        raise errors.BundleError(problems)
    return extra


def list_paths(folder: Path) -> list[Path]:
    """Return all files of a bundle, those that every one has first.

    Raises:
        errors.BundleError: As of ``check``.
    """
    return [folder / name for name in (*NAMES, *check(folder))]


def list_foreign(folder: Path) -> list[str]:
    """Return the names of what is in a folder and can be no part of a bundle, of format 1 neither.

    Raises:
        OSError: It cannot be listed.
    """
    return _find_foreign_names(_list_entries(folder), NAMES + NAMES_1)


def is_name(name: str, names: tuple[str, ...] = NAMES) -> bool:
    """Tell whether a file of a bundle may have this name, with ``/`` between its parts."""
    return name in names or is_extra_name(name)


def is_format_1(foreign: Iterable[str]) -> bool:
    """Tell whether a bundle is of format 1, by the names of its files that are not of this format."""
    return set(foreign) >= {*NAMES_1} - {JSON}


def describe_format_1(path: Path) -> str:
    """Return the problem of a bundle of format 1, folder or zip."""
    command = commands.suggest_for_folder("bundle convert", path)
    return f"{path}: is a bundle of format 1, and this version reads format {FORMAT}; convert it: `{command}`"


def is_extra_name(name: str) -> bool:
    """Tell whether a file that is none of the three may have this name."""
    return bool(_EXTRA.fullmatch(name))


def hash_content(content: bytes | Path) -> tuple[str, int]:
    """Return the sha256 and the size of a file, or of what will be one.

    Raises:
        OSError: It cannot be read.
    """
    return (hashlib.sha256(content).hexdigest(), len(content)) if isinstance(content, bytes) else _hash_file(content)


def hash_stream(file: IO[bytes]) -> tuple[str, int]:
    """Return the sha256 and the size of all that an open, seekable file holds.

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
    """Return the fault of a file that the system refuses to hand out."""
    return f"{path}: cannot be read ({error.strerror or error}); check its permissions and the disk"


def _inspect_folder(folder: Path, names: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Return what is wrong with the folder, and the names of the files beside the three."""
    whole = f"a bundle is a folder with {', '.join(names)}"
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            return [f"{folder}: is not a folder; {whole}"], ()
        entries = _list_entries(folder)
    except FileNotFoundError:
        return [f"{folder}: does not exist; {whole}, made by builder.bundle.storage.write"], ()
    except OSError as error:
        return [describe_read_error(folder, error)], ()
    foreign = _find_foreign_names(entries, names)
    if is_format_1(foreign):
        return [describe_format_1(folder)], ()
    problems = [f"{folder / name}: is missing; {whole}" for name in names if name not in entries]
    for name in sorted(set(entries) - set(foreign)):
        problems += _find_entry_problems(folder / name, entries[name])
    if foreign or len(entries) > MOST_FILES:
        problems.append(f"{folder}: also holds {format_list(foreign)}; {whole} and nothing else: move the rest away")
    return problems, tuple(sorted(set(entries) - set(names)))


def _find_foreign_names(entries: Iterable[str], names: tuple[str, ...]) -> list[str]:
    return sorted(name for name in entries if not is_name(name, names))


def _list_entries(folder: Path) -> dict[str, int]:
    """Return the mode of each file by its name in the bundle; those of the two folders it may have too."""
    entries = {}
    for entry in sorted(folder.iterdir()):
        mode = entry.lstat().st_mode
        if entry.name in _FOLDERS and stat.S_ISDIR(mode):
            below = (path for path in sorted(entry.rglob("*")) if not stat.S_ISDIR(path.lstat().st_mode))
            entries.update({path.relative_to(folder).as_posix(): path.lstat().st_mode for path in below})
        else:
            entries[entry.name] = mode
    return entries


def _find_entry_problems(path: Path, mode: int) -> list[str]:
    if stat.S_ISLNK(mode):
        return [f"{path}: is a link; put the file itself there"]
    if not stat.S_ISREG(mode):
        return [f"{path}: is not a plain file; put the file itself there"]
    return []


def _hash_file(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hash_stream(file)
