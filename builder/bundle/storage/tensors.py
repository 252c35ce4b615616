"""Reads a safetensors file from an untrusted source, and writes one whose bytes depend on its arrays alone.

The safetensors library checks the header: offsets in range, without gaps or overlaps, up to the last byte. What it
leaves open is checked here: the size of the file and of the header, duplicate names, and what the bundle declares.
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

from builder import schema
from builder.bundle.storage import files
from builder.text import describe, format_list

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.bundle import model as bundle_model

LIMITS = {files.ARRAYS: 1 << 30, files.GOLDEN: 1 << 28}
"""Bytes of the arrays of each file: the tournament runs a model in 4 GB."""
MAX_HEADER_BYTES = 1 << 24
"""Bytes of a header, the names and shapes of the arrays; the library takes 100 MB."""

Dtype = Literal["float32", "float64", "int32", "uint8"]
TYPES = get_args(Dtype)
_TYPES = dict(zip(("F32", "F64", "I32", "U8"), TYPES, strict=True))
_GOOD = "write it again with builder.bundle.storage.write"


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """What ``bundle.json`` says of an array: its type and shape; whole numbers only where the kind asks for them."""

    dtype: Dtype
    shape: Annotated[tuple[Annotated[int, schema.require_between(1, 1 << 40)], ...], schema.require_length(1, 2)]

    @property
    def size(self) -> int:
        """How many bytes its numbers take."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, kw_only=True)
class ArrayContents:
    """The arrays that could be read, and all problems with the others, each ``file: array: what; what is expected``."""

    arrays: Mapping[str, bundle_model.Numbers]
    problems: tuple[str, ...]


def read(path: Path, declared: Mapping[str, ArraySpec] | None, *, sha256: str | None = None) -> ArrayContents:
    """Read the declared arrays.

    Args:
        path: The file, by the name that it has in a bundle.
        declared: What must be in it, and nothing else. If this is not known (None), only the file itself is checked.
        sha256: Of the file, where it is known.

    Returns:
        Arrays of the declared dtype and shape, C-contiguous, in the machine's byte order, writeable; and the problems.
    """
    limit = LIMITS[path.name]
    try:
        size = path.stat().st_size
        if size > limit + MAX_HEADER_BYTES:
            text = f"has {size:,} bytes; at most {limit:,} bytes of arrays are read: make the model smaller"
            return ArrayContents(arrays={}, problems=(f"{path}: {text}",))
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
        return ArrayContents(arrays={}, problems=(f"{path}: is not a valid safetensors file ({reason}); {_GOOD}",))
    except OSError as error:
        return ArrayContents(arrays={}, problems=(files.describe_read_error(path, error),))


def find_size_problems(path: Path, declared: Mapping[str, ArraySpec]) -> list[str]:
    """Return the problem of arrays that are larger, together, than this tool reads."""
    size, limit = sum(array.size for array in declared.values()), LIMITS[path.name]
    return [f"{path}: has {size:,} bytes of arrays; at most {limit:,}: make the model smaller"] if size > limit else []


def write(path: Path, arrays: Mapping[str, bundle_model.Numbers]) -> None:
    """Write arrays: the same arrays, the same bytes.

    The library takes an array's memory as it lies there, whatever its strides; several keys of metadata come in
    another order in each process.
    """
    # ascontiguousarray returns at least one dimension.
    plain = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    path.write_bytes(safetensors.numpy.save(plain))


def _read_declared(path: Path, file: Any, declared: Mapping[str, ArraySpec] | None) -> ArrayContents:
    """Read from a file whose header the library has checked: it is an object of objects, and not nested deeply."""
    with path.open("rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        if length > MAX_HEADER_BYTES:
            text = f"has a header of {length:,} bytes; at most {MAX_HEADER_BYTES:,} are read; {_GOOD}"
            return ArrayContents(arrays={}, problems=(f"{path}: {text}",))
        if declared is None:
            return ArrayContents(arrays={}, problems=())
        entries = json.loads(raw.read(length), object_pairs_hook=list)
    counts = Counter(name for name, _ in entries if name != "__metadata__")
    problems = [
        f"{path}: {format_list(names)}: {text}"
        for names, text in (
            ([name for name in declared if name not in counts], f"missing; {files.JSON} declares it"),
            (
                [describe(name) for name in counts if name not in declared],
                f"not declared in {files.JSON}; it may hold {format_list(list(declared))}",
            ),
            ([name for name in declared if counts[name] > 1], "there twice; expected one array a name"),
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
