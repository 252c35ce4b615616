"""Reading an ``.npz`` that nobody vouches for, and writing one whose bytes depend on its arrays alone.

``numpy.load`` takes duplicate members, any dtype and any claimed size. Here the zip's directory and each array's header
are held against what is declared before a byte is allocated, and nothing is ever unpickled.
"""

from __future__ import annotations

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.lib import format as npy

from builder.bundle.storage import files
from builder.schema import types
from builder.text import listed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.bundle import model as bundle_model

MOST_ARRAYS = 1 << 30
"""Bytes that ``arrays.npz`` may inflate to: the tournament runs a model in 4 GB."""
MOST_GOLDEN = 1 << 28
"""Bytes that ``golden.npz`` may inflate to."""

_TYPES = frozenset({"float32", "float64", "int32", "uint8"})
_SUFFIX = ".npy"
_GOOD = "write it again with builder.bundle.storage.write"

# What zipfile, zlib and numpy's header parser raise on bytes that are no .npz or no .npy.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
    SyntaxError,
    RuntimeError,  # encrypted
    NotImplementedError,  # another compression
    tokenize.TokenError,
)


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What ``bundle.json`` says of an array: its type and shape; whole numbers only where the kind asks for them."""

    dtype: Literal["float32", "float64", "int32", "uint8"]
    shape: Annotated[tuple[Annotated[int, types.between(1, 1 << 40)], ...], types.length(1, 2)]

    @property
    def size(self) -> int:
        """How many bytes its numbers take."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The arrays that could be read, and all that is wrong with the rest, each ``file: array: what; what would do``."""

    arrays: Mapping[str, bundle_model.Numbers]
    faults: tuple[str, ...]


def read(path: Path, declared: Mapping[str, Declared], *, limit: int) -> Contents:
    """Read the declared arrays.

    Args:
        path: The ``.npz``.
        declared: What must be in it, and nothing else.
        limit: The most bytes that all its members may claim to inflate to.

    Returns:
        Arrays of the declared dtype and shape, C-contiguous, in the machine's byte order, owned and writeable; and the
        faults. Big-endian and Fortran order are converted.
    """
    found = damage(path) or size_faults(path, declared, limit=limit)
    if found:
        return Contents(arrays={}, faults=tuple(found))
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_members(path, archive, declared, limit)
    except OSError as error:
        return Contents(arrays={}, faults=(files.unreadable(path, error),))


def damage(path: Path) -> list[str]:
    """Return what keeps a file from being a zip at all; its members are not looked at."""
    try:
        if path.stat().st_size == 0:
            return [f"{path}: is empty, not a valid .npz; {_GOOD}"]
        with zipfile.ZipFile(path):
            return []
    except _DAMAGE as error:
        return [f"{path}: is not a valid .npz ({_reason(error)}); {_GOOD}"]
    except OSError as error:
        return [files.unreadable(path, error)]


def size_faults(path: Path, declared: Mapping[str, Declared], *, limit: int) -> list[str]:
    """Return the fault of arrays that are declared larger, together, than this tool takes."""
    size = sum(one.size for one in declared.values())
    if size <= limit:
        return []
    return [
        f"{path}: {files.JSON} declares {size:,} bytes of arrays; at most {limit:,} are read: make the model smaller"
    ]


def write(path: Path, arrays: Mapping[str, bundle_model.Numbers]) -> None:
    """Write arrays to a new ``.npz``: the same arrays, the same bytes.

    Members are sorted, dated 1980 and stored as they are: what deflate makes of them differs between zlib builds.
    """
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            array = plain(arrays[name])
            entry = zipfile.ZipInfo(name + _SUFFIX, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            entry.file_size = array.nbytes + npy.MAGIC_LEN + 256  # lets zipfile choose the plain or the 64-bit form
            with archive.open(entry, "w") as member:
                npy.write_array(member, array, version=(1, 0), allow_pickle=False)


def plain(array: bundle_model.Numbers) -> bundle_model.Numbers:
    """Return the array itself, or its copy that is C-contiguous, little-endian and owns its numbers."""
    little: bundle_model.Numbers = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return little


def _read_members(path: Path, archive: zipfile.ZipFile, declared: Mapping[str, Declared], limit: int) -> Contents:
    members = archive.infolist()
    claimed = sum(member.file_size for member in members)
    if claimed > limit:
        return Contents(
            arrays={}, faults=(f"{path}: claims {claimed:,} bytes of arrays; at most {limit:,} are read: {_GOOD}",)
        )
    by_name, found = _members_by_name(path, members, declared)
    arrays: dict[str, bundle_model.Numbers] = {}
    for name, member in by_name.items():
        try:
            with archive.open(member) as stream:
                arrays[name] = _read_array(stream, member, declared[name])
        except _UnfitError as error:
            found.append(f"{path}: {name}: {error}")
        except (*_DAMAGE, OSError) as error:  # OSError: a damaged offset makes a seek that the system refuses
            found.append(f"{path}: {name}: is damaged, not a valid .npz member ({_reason(error)}); {_GOOD}")
    return Contents(arrays=arrays, faults=tuple(found))


def _members_by_name(
    path: Path, members: list[zipfile.ZipInfo], declared: Mapping[str, Declared]
) -> tuple[dict[str, zipfile.ZipInfo], list[str]]:
    found = []
    by_name: dict[str, zipfile.ZipInfo] = {}
    extra: list[str] = []
    twice: list[str] = []
    for member in members:
        # orig_filename: zipfile cuts the name at a NUL, so that two different ones could look alike.
        name = member.orig_filename.removesuffix(_SUFFIX)
        if name not in declared or not member.orig_filename.endswith(_SUFFIX):
            extra.append(repr(member.orig_filename))
        elif name in by_name:
            twice.append(name)
        else:
            by_name[name] = member
    missing = [name for name in declared if name not in by_name]
    if missing:
        found.append(f"{path}: {listed(missing)}: missing; {files.JSON} declares it")
    if extra:
        found.append(f"{path}: {listed(extra)}: not declared in {files.JSON}; it may hold {listed(list(declared))}")
    if twice:
        found.append(f"{path}: {listed(sorted(set(twice)))}: there twice; one array a name")
        for name in set(twice):
            del by_name[name]
    return by_name, found


class _UnfitError(Exception):
    """A sound array that is not the declared one."""


def _read_array(stream: IO[bytes], member: zipfile.ZipInfo, declared: Declared) -> bundle_model.Numbers:
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise _UnfitError(f"compressed by method {member.compress_type}; store it plainly or deflate it")
    shape, fortran, dtype = _read_header(stream)
    if dtype.newbyteorder("=").name not in _TYPES:
        raise _UnfitError(f"is an array of {_dtype_name(dtype)}; float32 or float64 is read")
    if dtype.newbyteorder("=").name != declared.dtype or shape != declared.shape:
        came = f"{dtype.newbyteorder('=').name} {shape}"
        raise _UnfitError(f"is {came}; {files.JSON} declares {declared.dtype} {declared.shape}")
    held = member.file_size - stream.tell()
    if held != declared.size:
        raise _UnfitError(f"holds {held:,} bytes; {declared.dtype} {shape} takes {declared.size:,}")
    array = np.empty(shape[::-1] if fortran else shape, dtype=dtype)
    _fill(stream, array)
    return np.require(array.T if fortran else array, dtype=declared.dtype, requirements=["C", "O", "W"])


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers as Python 2 wrote them, and of odd literals in damaged ones
        if version == (1, 0):
            return npy.read_array_header_1_0(stream)
        if version == (2, 0):
            return npy.read_array_header_2_0(stream)
    raise _UnfitError(f"is in .npy version {version[0]}.{version[1]}, which arrays of numbers do not need; {_GOOD}")


def _fill(stream: IO[bytes], array: np.ndarray) -> None:
    # Through the end, past the last byte: that is where zipfile compares the checksum.
    view = array.reshape(-1).view(np.uint8).data
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError("it ends before its last number")
        filled += count
    if stream.read(1):
        raise ValueError("it goes on after its last number")


def _dtype_name(dtype: np.dtype) -> str:
    names = {"O": "Python objects", "U": "strings", "S": "bytes", "V": "structures or raw bytes", "b": "booleans"}
    return names.get(dtype.kind, dtype.name)


def _reason(error: BaseException) -> str:
    text = str(error).split("\n", 1)[0].strip()
    return text[:120] or type(error).__name__
