"""Reads untrusted safetensors files, and writes files whose bytes depend on the arrays only.

The safetensors library checks the header: offsets in range, without gaps or overlaps, up to the last byte. The other
checks are done here: the sizes of the file and of the header, duplicate names, and agreement with ``bundle.json``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
import safetensors
import safetensors.numpy

from builder import lfs, schema
from builder.bundle.storage import files
from builder.text import describe, format_list

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.bundle import model as bundle_model

Dtype = Literal["float32", "float64", "int32", "uint8"]
TYPES = get_args(Dtype)
_TYPES = dict(zip(("F32", "F64", "I32", "U8"), TYPES, strict=True))
_GOOD = "write it again with builder.bundle.storage.write"


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """The dtype and shape of an array as ``bundle.json`` declares them; which dtypes are valid depends on the kind."""

    dtype: Dtype
    shape: Annotated[tuple[Annotated[int, schema.require_between(1, 1 << 40)], ...], schema.require_length(1, 2)]

    @property
    def size(self) -> int:
        """Size of the array in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, kw_only=True)
class ArrayContents:
    """The arrays that could be read, and the problems of the others, each ``file: array: problem; fix``."""

    arrays: Mapping[str, bundle_model.Numbers]
    problems: tuple[str, ...]


def read(path: Path, declared: Mapping[str, ArraySpec] | None, *, sha256: str | None = None) -> ArrayContents:
    """Read the declared arrays.

    Args:
        path: The file; its name decides the limit.
        declared: The arrays that it must contain, and no others. None (unknown): only the file itself is checked.
        sha256: Expected hash of the file, if known.

    Returns:
        Arrays of the declared dtype and shape, C-contiguous, in native byte order, writeable; and the problems.
    """
    limit = files.MAX_BYTES[path.name]
    try:
        size = path.stat().st_size
        if size > limit + files.MAX_HEADER_BYTES:
            text = f"has {size:,} bytes; expected at most {limit:,} bytes of arrays: make the model smaller"
            return ArrayContents(arrays={}, problems=(f"{path}: {text}",))
        # Opening checks the whole header; arrays are read one by one, so that undeclared ones never are.
        with safetensors.safe_open(path, framework="numpy") as file:
            contents = _read_declared(path, file, declared)
        if sha256 is None or contents.problems:
            return contents
        digest, _ = files.hash_content(path)
        if digest == sha256:
            return contents
        problem = f"is damaged: its sha256 is {digest[:16]}..., {files.JSON} declares {sha256[:16]}...; {_GOOD}"
        return ArrayContents(arrays=contents.arrays, problems=(f"{path}: {problem}",))
    except safetensors.SafetensorError as error:
        reason = str(error).split("\n", 1)[0].removeprefix("Error while deserializing header: ")[:120]
        problem = lfs.find_pointer_problem(path) or f"is not a valid safetensors file ({reason}); {_GOOD}"
        return ArrayContents(arrays={}, problems=(f"{path}: {problem}",))
    except OSError as error:
        return ArrayContents(arrays={}, problems=(files.describe_read_error(path, error),))


def find_size_problems(path: Path, declared: Mapping[str, ArraySpec]) -> list[str]:
    """Find arrays that are too large together."""
    size, limit = sum(array.size for array in declared.values()), files.MAX_BYTES[path.name]
    return (
        [f"{path}: has {size:,} bytes of arrays; expected at most {limit:,}: make the model smaller"]
        if size > limit
        else []
    )


def write(path: Path, arrays: Mapping[str, bundle_model.Numbers]) -> None:
    """Write arrays so that the same arrays always give the same bytes.

    The library writes an array's memory without regard to its strides and byte order, so arrays are made contiguous and
    little-endian first. No metadata is written: the library's order of several keys differs between processes.
    """
    # ascontiguousarray returns at least one dimension.
    contiguous = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    path.write_bytes(safetensors.numpy.save(contiguous))


def _read_declared(path: Path, file: Any, declared: Mapping[str, ArraySpec] | None) -> ArrayContents:
    """Read from a file whose header the library has checked: it is an object of objects, and not nested deeply."""
    with path.open("rb") as raw:
        # 8 bytes of length, then the header as JSON: https://github.com/huggingface/safetensors#format
        length = int.from_bytes(raw.read(8), "little")
        if length > files.MAX_HEADER_BYTES:
            text = f"has a header of {length:,} bytes; expected at most {files.MAX_HEADER_BYTES:,}; {_GOOD}"
            return ArrayContents(arrays={}, problems=(f"{path}: {text}",))
        if declared is None:
            return ArrayContents(arrays={}, problems=())
        # The library keeps one of two arrays with the same name; as lists of pairs, both are seen.
        entries = json.loads(raw.read(length), object_pairs_hook=list)
    counts = Counter(name for name, _ in entries if name != "__metadata__")
    problems = [
        f"{path}: {format_list(names)}: {text}"
        for names, text in (
            ([name for name in declared if name not in counts], f"missing; {files.JSON} declares it"),
            (
                [describe(name) for name in counts if name not in declared],
                f"not declared in {files.JSON}; expected {format_list(list(declared))}",
            ),
            ([name for name in declared if counts[name] > 1], "duplicate name; expected one array of each name"),
        )
        if names
    ]
    arrays = {}
    for name, expected in declared.items():
        if counts[name] == 1:
            view = file.get_slice(name)
            dtype, shape = _TYPES.get(view.get_dtype(), view.get_dtype()), tuple(view.get_shape())
            if (dtype, shape) == (expected.dtype, expected.shape):
                arrays[name] = file.get_tensor(name)
            else:
                text = f"is {dtype} {shape}; {files.JSON} declares {expected.dtype} {expected.shape}"
                problems.append(f"{path}: {name}: {text}")
    return ArrayContents(arrays=arrays, problems=tuple(problems))
