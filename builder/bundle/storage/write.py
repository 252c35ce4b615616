"""Writes a bundle atomically; the same bundle always gives the same bytes.

A network of two layers over two features, from any framework::

    >>> from pathlib import Path
    >>> import numpy as np
    >>> from builder.bundle import activations, model, post
    >>> from builder.bundle.kinds import catalog
    >>> from builder.bundle.storage import write
    >>> hidden = model.make_node(
    ...     "dense",
    ...     weights=np.array([[0.5, -0.25, 0.125], [-0.5, 0.25, 1.0]], dtype=np.float32),  # (2 inputs, 3 outputs)
    ...     bias=np.zeros(3, dtype=np.float32),
    ...     activation=activations.Activation(name="leaky_relu", constants={"slope": 0.01}),
    ... )
    >>> output = model.make_node(
    ...     "dense",
    ...     weights=np.array([[0.5], [0.25], [-0.5]], dtype=np.float32),  # (3 inputs, 1 output)
    ...     bias=np.array([0.5], dtype=np.float32),
    ...     activation=activations.Activation(name="identity"),
    ... )
    >>> bundle = model.Bundle(
    ...     features=("feature_one", "feature_two"),
    ...     model=model.Network(
    ...         layers=(hidden, output),
    ...         imputation=np.array([2.0, 2.0]),
    ...         centre=np.array([2.0, 2.0]),
    ...         scale=np.array([1.5, 1.5]),
    ...     ),
    ...     golden=model.GoldenRows(
    ...         inputs=np.array([[2.0, 2.0], [np.nan, 2.0]]),  # raw, as in live data; NaN if missing
    ...         predictions=np.array([0.5, 0.5]),  # from the framework itself, before the rank
    ...     ),
    ...     post=(post.make_step("rank"),),
    ...     trained={"framework": "by hand", "version": "1", "seed": 7},
    ... )
    >>> write.write(Path("bundles/tiny"), bundle)
    >>> sorted(path.name for path in Path("bundles/tiny").iterdir())
    ['arrays.safetensors', 'bundle.json', 'golden.safetensors']
    >>> catalog.count_parameters(bundle.model)
    13

In one file, ``write.write(Path("bundles/tiny.bundle.zip"), bundle)``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder import errors, schema
from builder.bundle import check
from builder.bundle import model as bundle_model
from builder.bundle import post as postprocessing
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import archive, files, tensors
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Mapping


def write(path: Path, bundle: bundle_model.Bundle) -> None:
    """Write a bundle; an existing one is replaced.

    It is written to a temporary folder next to ``path`` and renamed. After an error there is either the old bundle or
    the new one; only between the two renames that replace a folder is there none.

    Args:
        path: ``NAME.bundle.zip`` for one file, any other name for a folder. Created with its parents. What exists there
            must be a bundle and nothing else, or an empty folder.
        bundle: The bundle; its classes document shapes, dtypes and units.

    Raises:
        errors.BundleError: All problems that ``read`` would find; something else exists at ``path``; the disk is full.
    """
    target = path.resolve()
    try:
        contents = _collect_contents(bundle)
        problems = _find_problems(path, contents)
        problems += _find_archive_problems(path) if archive.is_archive_name(path) else _find_folder_problems(path)
        if problems:
            raise errors.BundleError(problems)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, since a rename cannot move a folder to another file system.
        work = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}-", dir=target.parent))
        try:
            _write_files(work / "new", contents)
            if archive.is_archive_name(path):
                _pack(work / "new", target, work / "zip")
            else:
                _replace(target, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise errors.BundleError(
            [f"{path}: cannot write the bundle: {error.strerror or error}; check permissions and free disk space"]
        ) from error


@dataclass(frozen=True, kw_only=True)
class _BundleContents:
    """The contents of the files to write."""

    data: Mapping[str, object]
    arrays: Mapping[str, bundle_model.Numbers]
    golden: Mapping[str, bundle_model.Numbers]
    files: Mapping[str, bytes | Path]


def _collect_contents(bundle: bundle_model.Bundle) -> _BundleContents:
    """Collect the contents of the files; they are not checked yet."""
    name = kinds.get_kind_name(bundle.model)
    kind = kinds.KINDS[name]
    arrays = {key: np.asarray(array) for key, array in kind.dump_arrays(bundle.model).items()}
    golden = {"inputs": np.asarray(bundle.golden.inputs), "predictions": np.asarray(bundle.golden.predictions)}
    work = kind.dump_files(bundle.model)
    data = {
        "format": files.FORMAT,
        "kind": name,
        "features": list(bundle.features),
        "benchmarks": list(bundle.benchmarks),
        "post": postprocessing.as_data(bundle.post),
        "arrays": {key: _declare(array) for key, array in arrays.items()},
        "golden": {key: _declare(array) for key, array in golden.items()},
        "trained": {key: list(fact) if isinstance(fact, tuple) else fact for key, fact in bundle.trained.items()},
        **({"files": {key: _declare_file(content) for key, content in work.items()}} if work else {}),
        **kind.dump_keys(bundle.model),
    }
    return _BundleContents(data=data, arrays=arrays, golden=golden, files=work)


def _declare(array: bundle_model.Numbers) -> dict[str, object]:
    return {"dtype": array.dtype.newbyteorder("=").name, "shape": list(array.shape)}


def _declare_file(content: bytes | Path) -> dict[str, object]:
    digest, size = files.hash_content(content)
    return {"sha256": digest, "size": size}


def _find_problems(folder: Path, contents: _BundleContents) -> list[str]:
    """Find the problems that ``read`` would find in these contents."""
    # Checked before it is written: the same checks as in `read`, so that every bundle that is written can be read.
    header = check.parse_header(folder / files.JSON, contents.data)
    if isinstance(header, list):
        return header
    return [
        *check.format_problems(folder / files.JSON, header.find_problems()),
        *tensors.find_size_problems(folder / files.ARRAYS, header.arrays),
        *tensors.find_size_problems(folder / files.GOLDEN, header.golden.arrays()),
        *check.find_array_problems(folder, header, contents.arrays, contents.golden),
        *check.find_file_problems(folder, header, contents.files),
    ]


def _find_folder_problems(folder: Path) -> list[str]:
    """Find why a folder must not be replaced: it contains anything other than a bundle."""
    if folder.suffix == ".zip":
        return [f"{folder}: invalid name for a bundle in one file; expected {folder.stem}{archive.SUFFIX}"]
    if not folder.exists():
        return []
    if not folder.is_dir():
        return [f"{folder}: is not a folder; move it away or choose another path"]
    foreign_names = files.list_foreign(folder)
    if foreign_names:
        text = f"contains {format_list(foreign_names)}, which is not part of a bundle; choose an empty or a new folder"
        return [f"{folder}: {text}"]
    return []


def _find_archive_problems(path: Path) -> list[str]:
    """Find why a file must not be replaced: it is not a bundle."""
    if not path.exists():
        return []
    if path.is_dir():
        return [f"{path}: is a folder, but a bundle of this name is one file; move it away or choose another path"]
    try:
        with path.open("rb") as file:
            archive.look(path, file)
    except errors.BundleError as error:
        if list(error.problems) == [files.describe_format_1(path)]:
            return []
        return [f"{path}: is not a bundle; move it away or choose another path"]
    return []


def _write_files(folder: Path, contents: _BundleContents) -> None:
    folder.mkdir()
    tensors.write(folder / files.ARRAYS, contents.arrays)
    # Frameworks produce NaN with different bits; with one NaN for all, the same bundle has the same bytes.
    inputs = contents.golden["inputs"]
    inputs = np.where(np.isnan(inputs), np.array(np.nan, dtype=inputs.dtype), inputs)
    tensors.write(folder / files.GOLDEN, {**contents.golden, "inputs": inputs})
    checksums = {
        "arrays": files.hash_content(folder / files.ARRAYS)[0],
        "golden": files.hash_content(folder / files.GOLDEN)[0],
    }
    (folder / files.JSON).write_bytes(schema.canonical_json({**contents.data, "checksums": checksums}) + b"\n")
    for name, content in contents.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copyfile(content, path)
    for name in (*files.NAMES, *contents.files):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())  # so that a full or failing disk raises now, before the rename


def _pack(folder: Path, target: Path, work: Path) -> None:
    with work.open("xb") as file:
        archive.pack(folder, file)
        file.flush()
        os.fsync(file.fileno())
    work.replace(target)


def _replace(target: Path, work: Path) -> None:
    old = work / "old"
    try:
        with contextlib.suppress(FileNotFoundError):
            target.rename(old)
        (work / "new").rename(target)
    except BaseException:  # also after an interrupt: otherwise there would be no bundle
        if old.exists() and not target.exists():
            old.rename(target)
        raise
