"""A bundle in one file, ``NAME.bundle.zip``: the files of its folder, stored as they are in a zip.

The same bundle always gives the same bytes: members in a fixed order, dated 1980, of one mode, not compressed (arrays
do not shrink, boosters are compressed already, and what deflate makes of bytes differs between zlib builds). A zip that
somebody else made of the same files is read too, stored or deflated.

Nothing that a zip claims is believed: the size of its directory is looked at before zipfile reads it, every name must
be one that a bundle has, and no more is inflated than was claimed, nor was more claimed than is read here. Imports no
numpy.
"""

from __future__ import annotations

import shutil
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

from builder import errors
from builder.bundle.storage import files
from builder.text import describe, escape, format_list

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUFFIX = ".bundle.zip"
MOST_BYTES = 1 << 32
"""Bytes of all files together: the tournament runs a model in 4 GB."""
_MAX_BYTES = {files.JSON: 1 << 24, files.ARRAYS: (1 << 30) + (1 << 24), files.GOLDEN: (1 << 28) + (1 << 24)}
"""Bytes of those files that every bundle has: what is read of them, and room for a zip's own directory."""

_MAX_DIRECTORY_BYTES = 1 << 24
_MAX_MEMBERS = files.MOST_FILES + 1_000  # folders may be listed too
_CHUNK = 1 << 20
COPY_AGAIN = "copy or fetch it again, or export the model again"
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    RuntimeError,
    OSError,  # a damaged offset makes a seek that the system refuses
)
"""What zipfile and zlib raise on bytes that are no zip, or a damaged one."""


@dataclass(frozen=True, kw_only=True)
class CheckedArchive:
    """A zip that was looked through and may be unpacked.

    Attributes:
        path: Where it is, for messages.
        archive: The open zip.
        members: The files of the bundle in it, by name.
    """

    path: Path
    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]


def is_archive_name(path: Path) -> bool:
    """Tell whether a bundle by this name is one file."""
    return path.name.endswith(SUFFIX)


def pack(folder: Path, file: IO[bytes]) -> None:
    """Write the bundle in a folder as a zip.

    Raises:
        errors.BundleError: The folder does not hold exactly the files of a bundle, or more than a zip may.
        OSError: A file cannot be read or written.
    """
    names = (*files.NAMES, *files.check(folder))
    sizes = {name: (folder / name).stat().st_size for name in names}
    total = sum(sizes.values())
    if total > MOST_BYTES:
        text = f"{folder}: has {total:,} bytes; at most {MOST_BYTES:,} go into one file: keep it as a folder"
        raise errors.BundleError([text])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.file_size = sizes[name]  # lets zipfile choose the plain or the 64-bit form
            with archive.open(entry, "w") as member, (folder / name).open("rb") as source:
                shutil.copyfileobj(source, member, _CHUNK)


def look(path: Path, file: IO[bytes], names: tuple[str, ...] = files.NAMES) -> CheckedArchive:
    """Look through a zip; nothing of its members is read.

    Args:
        path: Where it is, for messages.
        file: The same, open and seekable.
        names: The three files that every bundle has, in its format.

    Raises:
        errors.BundleError: All that is wrong with it: no zip, cut short, a name that no bundle has, a link, a name that
            is there twice, a file missing, too many bytes.
    """
    problem = _find_directory_problem(file)
    if problem:
        raise errors.BundleError([f"{path}: {problem}"])
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGE as error:
        raise errors.BundleError(
            [f"{path}: is damaged, not a valid zip ({_shorten_reason(error)}); {COPY_AGAIN}"]
        ) from error
    members: dict[str, zipfile.ZipInfo] = {}
    problems: list[str] = []
    foreign: list[str] = []
    for member in archive.infolist():
        # orig_filename: zipfile cuts the name at a NUL, so that two different ones could look alike.
        name = member.orig_filename
        if _is_folder(member):
            continue
        if not files.is_name(name, names):
            foreign.append(name)
        elif name in members:
            problems.append(f"{path}: {name}: is there twice; one file a name")
        else:
            members[name] = member
            problems += [f"{path}: {name}: {text}" for text in _find_member_problems(name, member)]
    problems += _find_foreign_problems(path, foreign)
    if files.is_format_1(foreign) or (foreign and not members and _find_wrapping_folder(foreign)):
        raise errors.BundleError(problems)
    missing = [name for name in names if name not in members]
    problems += [f"{path}: {name}: is missing; a bundle has {', '.join(names)}" for name in missing]
    problems += [
        f"{path}: {name}: is a file, and {below} lies below it; {COPY_AGAIN}"
        for below in members
        for name in map(str, PurePosixPath(below).parents)
        if name in members
    ]
    total = sum(member.file_size for member in members.values())
    if total > MOST_BYTES:
        problems.append(f"{path}: claims {total:,} bytes; at most {MOST_BYTES:,} are read: make the model smaller")
    if problems:
        raise errors.BundleError(problems)
    return CheckedArchive(path=path, archive=archive, members=members)


def unpack(packed: CheckedArchive, folder: Path) -> None:
    """Write the files of a zip into an empty folder; their checksums are compared.

    Raises:
        errors.BundleError: All files that are damaged.
        OSError: The folder cannot be written.
    """
    problems = []
    for name, member in packed.members.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            problem = _unpack_member(packed.archive, member, out)
        if problem:
            problems.append(f"{packed.path}: {name}: {problem}")
    if problems:
        raise errors.BundleError(problems)


def is_unpacked(packed: CheckedArchive, folder: Path) -> bool:
    """Tell whether a folder holds the files of a zip and nothing else, byte by byte.

    By their sizes alone a file that was edited would go for what the zip's hash stands for.
    """
    try:
        there = {path.relative_to(folder).as_posix(): path for path in files.list_paths(folder)}
        sizes = {name: path.stat().st_size for name, path in there.items()}
        return sizes == {name: member.file_size for name, member in packed.members.items()} and all(
            _is_same(packed.archive, member, there[name]) for name, member in packed.members.items()
        )
    except (errors.BundleError, OSError, *DAMAGE):
        return False


def _is_same(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> bool:
    with archive.open(member) as packed, path.open("rb") as unpacked:
        while True:
            chunk = packed.read(_CHUNK)
            if chunk != unpacked.read(len(chunk) or 1):
                return False
            if not chunk:
                return True


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, out: IO[bytes]) -> str:
    left = member.file_size
    try:
        source = archive.open(member)
    except DAMAGE as error:
        return _describe_damage(error)
    with source:
        while True:
            try:
                chunk = source.read(_CHUNK)
            except DAMAGE as error:
                return _describe_damage(error)
            left -= len(chunk)
            if not chunk or left < 0:
                break
            out.write(chunk)
    return f"holds other than the {member.file_size:,} bytes that it claims; {COPY_AGAIN}" if left else ""


def _describe_damage(error: BaseException) -> str:
    return f"is damaged ({_shorten_reason(error)}); {COPY_AGAIN}"


def _find_directory_problem(file: IO[bytes]) -> str:
    """Return what is wrong with the end of the file, where a zip says how large its directory is."""
    size = file.seek(0, 2)
    if not size:
        return f"is empty, not a zip; {COPY_AGAIN}"
    end = _read_at(file, max(size - _END.size, 0), _END.size)
    if len(end) < _END.size or not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0"):
        if _read_at(file, 0, 4) == b"PK\x03\x04":
            return f"is a zip that was cut short or added to: it does not end in its directory; {COPY_AGAIN}"
        return f"is not a zip; a bundle in one file is NAME{SUFFIX}, as export writes it"
    _, _, _, _, count, directory, _, _ = _END.unpack(end)
    position = size - _END.size - _LOCATOR.size
    locator = _read_at(file, position, _LOCATOR.size) if position >= 0 else b""
    if locator.startswith(b"PK\x06\x07"):
        offset = position - _END_64.size
        if _LOCATOR.unpack(locator)[2] != offset:
            return f"is a zip whose directory is not where it says; {COPY_AGAIN}"
        fields = _END_64.unpack(_read_at(file, offset, _END_64.size))
        count, directory = fields[7], fields[8]
    if count > _MAX_MEMBERS or directory > _MAX_DIRECTORY_BYTES:
        return (
            f"lists {count:,} files in a directory of {directory:,} bytes; a bundle has at most {files.MOST_FILES:,} "
            f"files and {_MAX_DIRECTORY_BYTES:,} bytes of directory: this is none"
        )
    return ""


def _read_at(file: IO[bytes], position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _is_folder(member: zipfile.ZipInfo) -> bool:
    """Tell whether a member is a folder that a bundle may have: some programs list them."""
    name = member.orig_filename
    return name.endswith("/") and not member.file_size and files.is_name(f"{name}x")


def _find_member_problems(name: str, member: zipfile.ZipInfo) -> list[str]:
    problems = []
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        what = "a link" if kind == stat.S_IFLNK else "no plain file"
        problems.append(f"is {what}; put the file itself there")
    if member.flag_bits & 0x1:
        problems.append("is encrypted; a bundle is not: export the model again")
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        problems.append(f"is compressed by method {member.compress_type}; store it plainly or deflate it")
    most = _MAX_BYTES.get(name, files.MOST_FILE)
    if member.file_size > most:
        problems.append(f"claims {member.file_size:,} bytes; at most {most:,} are read: make the model smaller")
    return problems


def _find_foreign_problems(path: Path, foreign: Sequence[str]) -> list[str]:
    if not foreign:
        return []
    if files.is_format_1(foreign):
        return [files.describe_format_1(path)]
    folder = _find_wrapping_folder(foreign)
    if folder:
        shown = describe(folder)
        return [f"{path}: holds a folder {shown} with the bundle in it; zip the files themselves, not their folder"]
    shown = format_list([describe(name) for name in foreign])
    return [f"{path}: holds {shown}, which is no part of a bundle; {COPY_AGAIN}"]


def _find_wrapping_folder(names: Sequence[str]) -> str:
    """Return the one folder that all names are in, if what it holds is a bundle; else nothing."""
    first, slash, _ = names[0].partition("/")
    inside = {name.removeprefix(first + slash) for name in names if name.startswith(first + slash)}
    return first if slash and len(inside) == len(names) and files.JSON in inside else ""


def _shorten_reason(error: BaseException) -> str:
    text = str(error).split("\n", 1)[0].strip()
    return escape(text)[:120] or type(error).__name__
