"""Reads a bundle from its folder, and reports all its problems at once."""

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

_MAX_TRIAL_BYTES = 1 << 28
"""Limit of arrays that are checked even though the header is wrong: no model may need that much memory."""


def read(folder: Path) -> bundle_model.Bundle:
    """Read a bundle.

    Args:
        folder: Contains the three required files, and the additional files that ``bundle.json`` declares.

    Returns:
        The bundle; its arrays have the declared dtypes and shapes, are C-contiguous and in native byte order.

    Raises:
        errors.BundleError: All problems, each ``folder/file: array or key.path: what is wrong; what is expected``.
    """
    extra_names = files.check(folder)
    header = _read_header(folder / files.JSON)
    if isinstance(header, list):
        array_problems = (problem for name in files.NAMES[1:] for problem in tensors.read(folder / name, None).problems)
        raise errors.BundleError([*header, *array_problems])
    header_problems = check.format_problems(folder / files.JSON, header.find_problems())
    if header_problems and (folder / files.ARRAYS).stat().st_size > _MAX_TRIAL_BYTES:
        raise errors.BundleError(header_problems)
    checksums = header.checksums
    arrays = tensors.read(folder / files.ARRAYS, header.arrays, sha256=checksums.arrays if checksums else None)
    golden = tensors.read(folder / files.GOLDEN, header.golden.arrays(), sha256=checksums.golden if checksums else None)
    contents = {name: folder / name for name in extra_names}
    problems = [
        *header_problems,
        *check.find_file_problems(folder, header, contents),
        *arrays.problems,
        *golden.problems,
        *check.find_array_problems(folder, header, arrays.arrays, golden.arrays),
    ]
    if problems:
        raise errors.BundleError(problems)
    return bundle_model.Bundle(
        features=header.features,
        benchmarks=header.benchmarks,
        model=header.build_model(arrays.arrays, contents),
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
            raw = file.read(files.MAX_BYTES[files.JSON] + 1)
    except OSError as error:
        return [files.describe_read_error(path, error)]
    if len(raw) > (limit := files.MAX_BYTES[files.JSON]):
        return [f"{path}: has over {limit:,} bytes; expected names and shapes only, numbers are in {files.ARRAYS}"]
    data = schema.read_json(raw)
    return check.format_problems(path, data) if isinstance(data, list) else check.parse_header(path, data)
