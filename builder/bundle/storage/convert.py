"""Converts bundles of format 1, whose arrays are in ``arrays.npz`` and ``golden.npz``; no other module reads them."""

from __future__ import annotations

import os
import shutil
import tempfile
import tokenize
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors, schema
from builder.bundle import check
from builder.bundle.storage import archive, files, read, store, tensors, write

if TYPE_CHECKING:
    from numpy.typing import NDArray


CONVERTED_FROM = "converted_from"
"""Key of ``trained`` with the hash of the converted bundle, so that pickles built from that one stay valid."""

# zipfile, and numpy's parser of an array's header, raise any of these on damaged bytes.
_DAMAGE = (*archive.DAMAGE, TypeError, SyntaxError, RecursionError, tokenize.TokenError)


def convert(old: Path, new: Path, cache: Path) -> bool:
    """Convert the bundle at ``old`` to the current format, and write it to ``new``, which may be the same path.

    Args:
        old: A folder, or a zip.
        new: A folder, or ``NAME.bundle.zip``.
        cache: Folder that zips are unpacked to.

    Returns:
        Whether it was of format 1; a bundle of the current format is not changed.

    Raises:
        errors.BundleError: All problems of the bundle; or ``new`` cannot be written.
        errors.RefusedError: ``new`` exists and is not ``old``, or is inside ``old``.
        OSError: The cache cannot be written.
    """
    is_same = os.path.realpath(old) == os.path.realpath(new)
    if os.path.lexists(new) and not is_same:
        raise errors.RefusedError(f"{new}: already exists; choose a new folder or file")
    if not is_same and old.resolve() in new.resolve().parents:
        raise errors.RefusedError(f"{new}: is inside the bundle {old}; choose a path outside of it")
    if not _is_format_1(old, cache):
        if not is_same:
            raise errors.BundleError([f"{old}: already has format {files.FORMAT}; copy it to {new}"])
        return False
    (cache / store.FOLDER).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=cache / store.FOLDER) as name:
        source, new_folder = Path(name) / "old", Path(name) / "new"
        if old.is_dir():
            source = old
        else:
            source.mkdir()
            with old.open("rb") as file:
                archive.unpack(archive.look(old, file, files.NAMES_1), source)
        with store.report_as(old, source):
            _rewrite(source, new_folder)
        try:
            bundle = read.read(new_folder)
        except errors.BundleError as error:
            raise errors.BundleError([_rename(problem, new_folder, old) for problem in error.problems]) from error
        write.write(new, bundle)
    return True


def _is_format_1(path: Path, cache: Path) -> bool:
    try:
        files.check(store.resolve_folder(path, cache))
    except errors.BundleError as error:
        if list(error.problems) == [files.describe_format_1(path)]:
            return True
        raise
    return False


def _rewrite(source: Path, new_folder: Path) -> None:
    """Write the files of format 2 for those of format 1; their contents are checked when the result is read."""
    extra_files = files.check(source, files.NAMES_1)
    path = source / files.JSON
    with path.open("rb") as file:
        raw = file.read(files.MAX_BYTES[files.JSON] + 1)
    data = schema.read_json(raw[: files.MAX_BYTES[files.JSON]])
    problems = check.format_problems(path, data) if isinstance(data, list) else []
    if isinstance(data, dict) and data.get("format") != 1:
        problems.append(
            f"{path}: format: {data.get('format')}; expected 1 with {files.NAMES_1[1]}; {archive.COPY_AGAIN}"
        )
    contents = {}
    for name, old_name in zip(files.NAMES[1:], files.NAMES_1[1:], strict=True):
        contents[name], npz_problems = _read_npz(source / old_name, files.MAX_BYTES[name])
        problems += npz_problems
    if problems or not isinstance(data, dict):
        raise errors.BundleError(problems)
    new_folder.mkdir()
    for name, arrays in contents.items():
        tensors.write(new_folder / name, arrays)
    trained = data.get("trained", {})
    if isinstance(trained, dict):
        trained = {**trained, CONVERTED_FROM: files.hash_bundle(source, files.NAMES_1)}
    (new_folder / files.JSON).write_bytes(schema.canonical_json({**data, "format": files.FORMAT, "trained": trained}))
    for name in extra_files:
        (new_folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, new_folder / name)


def _read_npz(path: Path, limit: int) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the arrays of an ``.npz``, and its problems. Nothing is unpickled."""
    arrays: dict[str, NDArray[Any]] = {}
    problems = []
    name = ""
    if size_problem := files.find_size_problem(path.name, path.stat().st_size):
        return {}, [f"{path}: {size_problem}"]
    try:
        with zipfile.ZipFile(path) as stored:
            size = sum(member.file_size for member in stored.infolist())
        if size > limit + files.MAX_HEADER_BYTES:
            return {}, [f"{path}: declares {size:,} bytes; expected at most {limit:,}: make the model smaller"]
        with np.load(path, allow_pickle=False) as stored, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns about damaged headers
            for name in stored.files:
                array = stored[name]
                if name in arrays:
                    problems.append(f"{path}: {name}: duplicate name; expected one array of each name")
                elif not isinstance(array, np.ndarray) or array.dtype.newbyteorder("=").name not in tensors.TYPES:
                    problems.append(f"{path}: {name}: is not an array of numbers; expected {', '.join(tensors.TYPES)}")
                else:
                    arrays[name] = array
    except _DAMAGE as error:
        location = f"{path}: {name}" if name else f"{path}"
        problems.append(f"{location}: is damaged, not a valid .npz ({str(error)[:120]}); {archive.COPY_AGAIN}")
    return arrays, problems


def _rename(problem: str, new_folder: Path, old: Path) -> str:
    """Replace the paths of the converted bundle in a problem with those of the original."""
    for name, old_name in zip(files.NAMES, files.NAMES_1, strict=True):
        problem = problem.replace(str(new_folder / name), str(old / old_name))
    return problem.replace(str(new_folder), str(old))
