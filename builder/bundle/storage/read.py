"""Reading a bundle from its folder, with all that is wrong with it found at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from builder import errors, schema
from builder.bundle import check, header
from builder.bundle import model as bundle_model
from builder.bundle.storage import files, tensors

if TYPE_CHECKING:
    from pathlib import Path

MOST_TEXT = 1 << 24
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
    described = _read_header(folder / files.JSON)
    if isinstance(described, list):
        damage = (fault for name in files.NAMES[1:] for fault in tensors.read(folder / name, None).faults)
        raise errors.BundleError([*described, *damage])
    sums = described.checksums
    arrays = tensors.read(folder / files.ARRAYS, described.arrays, sha256=sums.arrays if sums else None)
    golden = tensors.read(folder / files.GOLDEN, described.golden.arrays(), sha256=sums.golden if sums else None)
    beside = {name: folder / name for name in there}
    found = [
        *check.placed(folder / files.JSON, described.faults()),
        *check.file_faults(folder, described, beside),
        *arrays.faults,
        *golden.faults,
        *check.number_faults(folder, described, arrays.arrays, golden.arrays),
    ]
    if found:
        raise errors.BundleError(found)
    return bundle_model.Bundle(
        features=described.features,
        benchmarks=described.benchmarks,
        model=described.model(arrays.arrays, beside),
        golden=bundle_model.GoldenRows(
            inputs=golden.arrays["inputs"],
            predictions=golden.arrays["predictions"].astype(np.float64, copy=False),
        ),
        post=described.post,
        trained=described.trained,
    )


def _read_header(path: Path) -> header.BundleHeader | list[str]:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_TEXT + 1)
    except OSError as error:
        return [files.describe_read_error(path, error)]
    if len(raw) > MOST_TEXT:
        return [f"{path}: is over {MOST_TEXT:,} bytes; it holds names and shapes alone, numbers are in {files.ARRAYS}"]
    data = schema.read_json(raw)
    return check.placed(path, data) if isinstance(data, list) else check.parse(path, data)
