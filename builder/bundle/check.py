"""Checks that apply to a bundle both when it is read and before it is written; they find all problems.

Each problem is ``folder/file: array or key.path: what is wrong; what is expected``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from builder import schema
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import files
from builder.text import describe, find_nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def parse_header(path: Path, data: Mapping[str, object]) -> bundle_header.BundleHeader | list[str]:
    """Parse the data of ``bundle.json`` as the header of its kind; if that fails, return all problems."""
    version = data.get("format")
    if version != files.FORMAT and isinstance(version, int):
        fix = "export the model again" if version < files.FORMAT else "update this tool, or export the model with it"
        return [f"{path}: format: {version}; this version reads format {files.FORMAT}; {fix}"]
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds.KINDS:
        shown = "missing" if kind is None else describe(kind)
        near = find_nearest(kind, kinds.KINDS)
        hint = f"did you mean {near}? " if near else ""
        return [f"{path}: kind: {shown}; {hint}expected one of {', '.join(kinds.KINDS)}"]
    parsed = schema.parse(kinds.KINDS[kind], data)
    return format_problems(path, parsed) if isinstance(parsed, list) else parsed


def format_problems(path: Path, problems: Iterable[schema.Problem]) -> list[str]:
    """Format problems with their file and key path."""
    return [f"{path}: {problem}" for problem in problems]


def find_array_problems(
    folder: Path,
    header: bundle_header.BundleHeader,
    arrays: Mapping[str, bundle_model.Numbers],
    golden: Mapping[str, bundle_model.Numbers],
) -> list[str]:
    """Find invalid numbers in the arrays that could be read, which may be fewer than the declared ones."""
    problems = [f"{folder / files.ARRAYS}: {problem}" for problem in header.find_value_problems(arrays)]
    return problems + [f"{folder / files.GOLDEN}: {problem}" for problem in _find_golden_problems(golden)]


def find_file_problems(
    folder: Path, header: bundle_header.BundleHeader, contents: Mapping[str, bytes | Path]
) -> list[str]:
    """Find the problems of the additional files: missing, not declared, different from the declared, or invalid."""
    missing = [name for name in header.files if name not in contents]
    extra = [name for name in contents if name not in header.files]
    problems = [f"{folder / name}: is missing; {files.JSON} declares it" for name in missing]
    problems += [f"{folder / name}: is not declared in {files.JSON}; move it away" for name in extra]
    for name, declared in header.files.items():
        if name not in contents:
            continue
        try:
            digest, size = files.hash_content(contents[name])
        except OSError as error:
            problems.append(files.describe_read_error(folder / name, error))
            continue
        if (digest, size) != (declared.sha256, declared.size):
            shown = f"{size:,} bytes, sha256 {digest[:16]}..."
            expected = f"{declared.size:,} bytes, sha256 {declared.sha256[:16]}..."
            text = f"is {shown}; {files.JSON} declares {expected}; copy it again, or export the model again"
            problems.append(f"{folder / name}: {text}")
    return problems or [f"{folder}/{problem}" for problem in header.find_file_problems(contents)]


def _find_golden_problems(golden: Mapping[str, bundle_model.Numbers]) -> list[str]:
    problems = []
    if "inputs" in golden:
        fix = "expected finite values, or NaN if missing"
        problems += bundle_header.find_bad_values("inputs", golden["inputs"], np.isinf(golden["inputs"]), fix)
    if "predictions" in golden:
        fix = "expected finite predictions; choose golden rows that the training framework can predict"
        problems += bundle_header.find_bad_values(
            "predictions", golden["predictions"], ~np.isfinite(golden["predictions"]), fix
        )
    return problems
