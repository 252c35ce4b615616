"""Writing a bundle: all or nothing, and the same bundle always in the same bytes.

A network of two layers over two features, from whatever trained it::

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
    ...         inputs=np.array([[2.0, 2.0], [np.nan, 2.0]]),  # raw, as in live data; NaN where missing
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
    """Write a bundle, in place of the one that is there.

    It is written beside its place and renamed: whatever goes wrong, there is either the old bundle or the new one, but
    for the instant between two renames of folders.

    Args:
        path: ``NAME.bundle.zip`` for one file, anything else for a folder; made, with the folders above it. What is
            there must be a bundle and nothing else, or an empty folder.
        bundle: Shapes, dtypes and units as its classes say.

    Raises:
        errors.BundleError: All that ``read`` would refuse; something else in its place; a disk that is full.
    """
    target = path.resolve()
    try:
        contents = _collect_contents(bundle)
        problems = _find_problems(path, contents)
        problems += _find_archive_problems(path) if archive.is_archive_name(path) else _find_folder_problems(path)
        if problems:
            raise errors.BundleError(problems)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}-", dir=target.parent))
        try:
            _write_files(beside / "new", contents)
            if archive.is_archive_name(path):
                _pack(beside / "new", target, beside / "zip")
            else:
                _replace(target, beside)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise errors.BundleError(
            [f"{path}: cannot be written ({error.strerror or error}); check its permissions and the free space"]
        ) from error


@dataclass(frozen=True, kw_only=True)
class _BundleContents:
    """What the files will hold."""

    data: Mapping[str, object]
    arrays: Mapping[str, bundle_model.Numbers]
    golden: Mapping[str, bundle_model.Numbers]
    files: Mapping[str, bytes | Path]


def _collect_contents(bundle: bundle_model.Bundle) -> _BundleContents:
    """Return what the files will hold, not yet checked."""
    name = kinds.get_kind_name(bundle.model)
    kind = kinds.KINDS[name]
    arrays = {key: np.asarray(array) for key, array in kind.dump_arrays(bundle.model).items()}
    golden = {"inputs": np.asarray(bundle.golden.inputs), "predictions": np.asarray(bundle.golden.predictions)}
    beside = kind.dump_files(bundle.model)
    data = {
        "format": files.FORMAT,
        "kind": name,
        "features": list(bundle.features),
        "benchmarks": list(bundle.benchmarks),
        "post": postprocessing.as_data(bundle.post),
        "arrays": {key: _declare(array) for key, array in arrays.items()},
        "golden": {key: _declare(array) for key, array in golden.items()},
        "trained": {key: list(fact) if isinstance(fact, tuple) else fact for key, fact in bundle.trained.items()},
        **({"files": {key: _declare_file(content) for key, content in beside.items()}} if beside else {}),
        **kind.dump_keys(bundle.model),
    }
    return _BundleContents(data=data, arrays=arrays, golden=golden, files=beside)


def _declare(array: bundle_model.Numbers) -> dict[str, object]:
    return {"dtype": array.dtype.newbyteorder("=").name, "shape": list(array.shape)}


def _declare_file(content: bytes | Path) -> dict[str, object]:
    digest, size = files.hash_content(content)
    return {"sha256": digest, "size": size}


def _find_problems(folder: Path, contents: _BundleContents) -> list[str]:
    """Return what ``read`` would say of the files, so that nobody writes a bundle that nobody can read."""
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
    """Return the fault of a folder that is not ours to replace."""
    if folder.suffix == ".zip":
        return [f"{folder}: a bundle in one file is called {folder.stem}{archive.SUFFIX}; name it so"]
    if not folder.exists():
        return []
    if not folder.is_dir():
        return [f"{folder}: is not a folder; move it away or name another"]
    foreign = files.list_foreign(folder)
    if foreign:
        return [f"{folder}: holds {format_list(foreign)}, which is no part of a bundle; name an empty or a new folder"]
    return []


def _find_archive_problems(path: Path) -> list[str]:
    """Return the fault of a file that is not ours to replace."""
    if not path.exists():
        return []
    if path.is_dir():
        return [f"{path}: is a folder, and a bundle by this name is one file; move it away or name another"]
    try:
        with path.open("rb") as file:
            archive.look(path, file)
    except errors.BundleError as error:
        if list(error.problems) == [files.describe_format_1(path)]:
            return []
        return [f"{path}: holds something that is no bundle; move it away or name another"]
    return []


def _write_files(folder: Path, contents: _BundleContents) -> None:
    folder.mkdir()
    tensors.write(folder / files.ARRAYS, contents.arrays)
    # One NaN for all: their bits differ between the frameworks that made them.
    inputs = contents.golden["inputs"]
    inputs = np.where(np.isnan(inputs), np.array(np.nan, dtype=inputs.dtype), inputs)
    tensors.write(folder / files.GOLDEN, {**contents.golden, "inputs": inputs})
    sums = {
        "arrays": files.hash_content(folder / files.ARRAYS)[0],
        "golden": files.hash_content(folder / files.GOLDEN)[0],
    }
    (folder / files.JSON).write_bytes(schema.canonical_json({**contents.data, "checksums": sums}) + b"\n")
    for name, content in contents.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copyfile(content, path)
    for name in (*files.NAMES, *contents.files):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())  # a full or failing disk says so now, not after the rename


def _pack(folder: Path, target: Path, beside: Path) -> None:
    with beside.open("xb") as file:
        archive.pack(folder, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(target)


def _replace(target: Path, beside: Path) -> None:
    old = beside / "old"
    try:
        with contextlib.suppress(FileNotFoundError):
            target.rename(old)
        (beside / "new").rename(target)
    except BaseException:  # an interrupt too
        if old.exists() and not target.exists():
            old.rename(target)
        raise
