"""From a bundle, whether a folder or one file, to its folder: a zip is unpacked once, into the cache.

Whatever reads a bundle reads a folder. What a zip was unpacked to is found again by the sha256 of the zip, comes there
whole or not at all, and is unpacked again when something of it is gone. Imports no numpy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from builder import errors
from builder.bundle.storage import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.bundle.storage import archive

FOLDER = "bundles"
_UNUSED_DAYS, _DAY = 30, 86_400.0


def resolve_folder(path: Path, cache: Path, *, sha256: str | None = None) -> Path:
    """Return the folder that holds a bundle's files.

    Args:
        path: A folder, which is returned as it is, or a zip.
        cache: Where zips are unpacked to.
        sha256: Of the zip, where whoever calls has just computed it.

    Raises:
        errors.BundleError: There is nothing, or all that is wrong with the zip; what is in the files is not looked at.
    """
    if path.is_dir():
        return path
    try:
        with path.open("rb") as file:
            return _unpack(path, file, cache / FOLDER, sha256)
    except FileNotFoundError as error:
        whole = f"name a folder with {', '.join(files.NAMES)}, or a NAME.bundle.zip"
        raise errors.BundleError([f"{path}: does not exist; {whole}"]) from error
    except OSError as error:
        raise errors.BundleError([_describe_error(path, error)]) from error


@contextlib.contextmanager
def report_as(said: str | Path, path: Path) -> Iterator[None]:
    """Have faults of what lies in the cache at ``path`` name the bundle as a person knows it."""
    try:
        yield
    except errors.BundleError as error:
        if str(path) == str(said):
            raise
        raise errors.BundleError([problem.replace(str(path), str(said)) for problem in error.problems]) from error


def _unpack(path: Path, file: IO[bytes], cache: Path, sha256: str | None) -> Path:
    from builder.bundle.storage import archive  # noqa: PLC0415 - folders need no zipfile

    before = os.fstat(file.fileno())
    size = before.st_size
    if size > archive.MOST_BYTES:
        most = f"at most {archive.MOST_BYTES:,} are read"
        raise errors.BundleError([f"{path}: has {size:,} bytes; {most}: make the model smaller"])
    packed = archive.look(path, file)
    target = cache / (sha256 or files.hash_stream(file)[0])
    if archive.is_unpacked(packed, target):
        with contextlib.suppress(OSError):  # a cache that may only be read serves as well
            os.utime(target)
        return target
    cache.mkdir(parents=True, exist_ok=True)
    _remove_unused(cache)
    beside = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=cache))
    try:
        new = beside / "new"
        new.mkdir()
        archive.unpack(packed, new)
        _protect_files(new, packed.members)
        if _is_changed(before, os.fstat(file.fileno())):
            raise errors.BundleError([f"{path}: changed while it was read; run it again"])
        _move_into_cache(new, target, beside / "old", packed)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _protect_files(folder: Path, names: Iterable[str]) -> None:
    """Make the files ones that nobody edits by mistake, and have a full or failing disk say so now."""
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
        (folder / name).chmod(0o444)


def _move_into_cache(new: Path, target: Path, old: Path, packed: archive.CheckedArchive) -> None:
    from builder.bundle.storage import archive  # noqa: PLC0415 - folders need no zipfile

    if target.exists():
        with contextlib.suppress(FileNotFoundError):
            target.rename(old)
    try:
        new.rename(target)
    except OSError:
        # Another process was first.
        if not archive.is_unpacked(packed, target):
            raise


def _is_changed(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns) != (other.st_size, other.st_mtime_ns)


def _remove_unused(cache: Path) -> None:
    """Remove what no run has used for a month, and what a killed one left."""
    now = time.time()
    for path in cache.iterdir():
        age = _DAY if path.name.startswith(".") else _UNUSED_DAYS * _DAY
        with contextlib.suppress(OSError):
            if now - path.stat().st_mtime > age:
                shutil.rmtree(path, ignore_errors=True)


def _describe_error(path: Path, error: OSError) -> str:
    where = error.filename or path
    if str(where) == str(path):
        return files.describe_read_error(path, error)
    why = error.strerror or str(error)
    return f"{path}: cannot be unpacked to {where} ({why}); free some space or mend the permissions there"
