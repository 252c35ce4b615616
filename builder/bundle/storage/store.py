"""Resolves the path of a bundle to a folder with its files; a zip is unpacked once, into the cache.

All other modules read a bundle from a folder. The folder of a zip in the cache is named by the zip's sha256. It is
created by a rename, so it is complete or absent, and is replaced if a file in it changed. Does not import numpy.
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
    """Return the folder with a bundle's files.

    Args:
        path: A folder, which is returned unchanged, or a zip.
        cache: Folder that zips are unpacked to.
        sha256: Of the zip, if the caller has just computed it.

    Raises:
        errors.BundleError: The path does not exist, or all problems of the zip; the contents are not checked.
    """
    if path.is_dir():
        return path
    try:
        with path.open("rb") as file:
            return _unpack(path, file, cache / FOLDER, sha256)
    except FileNotFoundError as error:
        expected = f"expected a folder with {', '.join(files.NAMES)}, or a NAME.bundle.zip"
        raise errors.BundleError([f"{path}: does not exist; {expected}"]) from error
    except OSError as error:
        raise errors.BundleError([_describe_error(path, error)]) from error


@contextlib.contextmanager
def report_as(name: str | Path, path: Path) -> Iterator[None]:
    """Replace the cache path in problems with the name under which the user knows the bundle.

    A context manager: a ``BundleError`` in its body is raised again with ``path`` replaced with ``name``.
    """
    try:
        yield
    except errors.BundleError as error:
        if str(path) == str(name):
            raise
        raise errors.BundleError([problem.replace(str(path), str(name)) for problem in error.problems]) from error


def _unpack(path: Path, file: IO[bytes], cache: Path, sha256: str | None) -> Path:
    from builder.bundle.storage import archive  # noqa: PLC0415 - folders need no zipfile

    before = os.fstat(file.fileno())
    size = before.st_size
    if size > files.MOST_BYTES:
        most = f"expected at most {files.MOST_BYTES:,}"
        raise errors.BundleError([f"{path}: has {size:,} bytes; {most}; make the model smaller"])
    packed = archive.look(path, file)
    target = cache / (sha256 or files.hash_stream(file)[0])
    if archive.is_unpacked(packed, target):
        with contextlib.suppress(OSError):  # a read-only cache can be used too; the time only delays its removal
            os.utime(target)
        return target
    cache.mkdir(parents=True, exist_ok=True)
    _remove_unused(cache)
    work = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=cache))
    try:
        new = work / "new"
        new.mkdir()
        archive.unpack(packed, new)
        _protect_files(new, packed.members)
        if _is_changed(before, os.fstat(file.fileno())):
            raise errors.BundleError([f"{path}: changed while it was read; run the command again"])
        _move_into_cache(new, target, work / "old", packed)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _protect_files(folder: Path, names: Iterable[str]) -> None:
    """Flush the files, so that a full or failing disk raises now, and make them read-only against accidental edits."""
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
        # Another process may have unpacked the same zip first; its result is as good.
        if not archive.is_unpacked(packed, target):
            raise


def _is_changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)


def _remove_unused(cache: Path) -> None:
    """Remove folders that were not used for 30 days, and temporary folders of killed runs after one day."""
    now = time.time()
    for path in cache.iterdir():
        age = _DAY if path.name.startswith(".") else _UNUSED_DAYS * _DAY
        with contextlib.suppress(OSError):
            if now - path.stat().st_mtime > age:
                shutil.rmtree(path, ignore_errors=True)


def _describe_error(path: Path, error: OSError) -> str:
    target_path = error.filename or path
    if str(target_path) == str(path):
        return files.describe_read_error(path, error)
    reason = error.strerror or str(error)
    return f"{path}: cannot unpack to {target_path}: {reason}; free disk space or fix the permissions there"
