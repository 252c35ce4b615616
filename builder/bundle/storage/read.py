"""Reading a bundle from its folder, with all that is wrong with it found at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from builder import errors, schema
from builder.bundle import check
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle.storage import files, tensors

if TYPE_CHECKING:
    from pathlib import Path

MAX_TEXT_BYTES = 1 << 24
"""Bytes of ``bundle.json``: a hundred times what 2,748 features take."""


def read(folder: Path) -> bundle_model.Bundle:
    """Read a bundle.

    Args:
        folder: Holds the three files that every bundle has, and those that ``bundle.json`` declares.

    Returns:
        The bundle; its arrays are as ``bundle.json`` says, C-contiguous and in the machine's byte order.

    Raises:
        errors.BundleError: All that is wrong, each fault ``folder/file: array or key.path: what; what would be right``.
    """
    there = files.check(folder)
    header = _read_header(folder / files.JSON)
    if isinstance(header, list):
        damage = (problem for name in files.NAMES[1:] for problem in tensors.read(folder / name, None).problems)
        raise errors.BundleError([*header, *damage])
    sums = header.checksums
    arrays = tensors.read(folder / files.ARRAYS, header.arrays, sha256=sums.arrays if sums else None)
    golden = tensors.read(folder / files.GOLDEN, header.golden.arrays(), sha256=sums.golden if sums else None)
    beside = {name: folder / name for name in there}
    problems = [
        *check.format_problems(folder / files.JSON, header.find_problems()),
        *check.find_file_problems(folder, header, beside),
        *arrays.problems,
        *golden.problems,
        *check.find_array_problems(folder, header, arrays.arrays, golden.arrays),
    ]
    if problems:
        raise errors.BundleError(problems)
    return bundle_model.Bundle(
        features=header.features,
        benchmarks=header.benchmarks,
        model=header.build_model(arrays.arrays, beside),
        golden=bundle_model.GoldenRows(
            inputs=golden.arrays["inputs"],
            predictions=golden.arrays["predictions"].astype(np.float64, copy=False),
        ),
        post=header.post,
        trained=header.trained,
    )


def _read_header(path: Path) -> bundle_header.BundleHeader | list[str]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        return [files.describe_read_error(path, error)]
    if len(raw) > MAX_TEXT_BYTES:
        return [
            f"{path}: is over {MAX_TEXT_BYTES:,} bytes; it holds names and shapes alone, numbers are in {files.ARRAYS}"
        ]
    data = schema.read_json(raw)
    return check.format_problems(path, data) if isinstance(data, list) else check.parse_header(path, data)
