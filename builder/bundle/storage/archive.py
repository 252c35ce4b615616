"""A bundle in one file, ``NAME.bundle.zip``: the files of its folder in a zip.

The same bundle always gives the same bytes: members in a fixed order, dated 1980, of one mode, not compressed (arrays
do not shrink, boosters are compressed already, and the output of deflate depends on the zlib build). Zips written by
other tools are read too, stored or deflated.

A zip is untrusted: the size of its directory is checked before zipfile reads it, every name must be a valid name in a
bundle, and the sizes that members claim are limited and enforced while they are decompressed. Does not import numpy,
so that commands which only hash a bundle start fast.
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

from builder import errors, lfs, schema
from builder.bundle.storage import files
from builder.text import describe, escape, format_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SUFFIX = ".bundle.zip"
_MAX_DIRECTORY_BYTES = 1 << 24
_MAX_MEMBERS = files.MOST_FILES + 1_000  # some programs also list the folders
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
"""What zipfile and zlib raise on bytes that are not a zip, or a damaged one."""


@dataclass(frozen=True, kw_only=True)
class CheckedArchive:
    """A zip that passed the checks of ``look`` and can be unpacked.

    Attributes:
        path: Its path, for messages.
        archive: The open zip.
        members: The bundle's files in it, by name.
    """

    path: Path
    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]


def is_archive_name(path: Path) -> bool:
    """Return whether a path is that of a bundle in one file, by its name alone."""
    return path.name.endswith(SUFFIX)


def pack(folder: Path, file: IO[bytes]) -> None:
    """Write the bundle in a folder as a zip.

    Raises:
        errors.BundleError: The folder does not contain exactly the files of a bundle, or they are too large for a zip.
        OSError: A file cannot be read or written.
    """
    names = (*files.NAMES, *files.check(folder))
    sizes = {name: (folder / name).stat().st_size for name in names}
    # Stored: compression depends on the version of zlib, and float arrays hardly shrink.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            # The earliest date that a zip can store, so that the same bundle has the same bytes.
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, also on other systems: the bytes must not depend on the machine
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.file_size = sizes[name]  # lets zipfile choose the plain or the 64-bit form
            with archive.open(entry, "w") as member, (folder / name).open("rb") as source:
                shutil.copyfileobj(source, member, _CHUNK)


def look(path: Path, file: IO[bytes], names: tuple[str, ...] = files.NAMES) -> CheckedArchive:
    """Check the directory of a zip, without reading its members.

    Args:
        path: Its path, for messages.
        file: The zip, open and seekable.
        names: The three required files of the bundle's format.

    Raises:
        errors.BundleError: All problems: not a zip, truncated, an invalid or duplicate name, a link, a missing file,
            too many bytes.
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
    foreign_names: list[str] = []
    for member in archive.infolist():
        # Not member.filename, which zipfile cuts at a NUL, so that different names could look the same.
        name = member.orig_filename
        if _is_folder(member):
            continue
        if not files.is_name(name, names):
            foreign_names.append(name)
        elif name in members:
            problems.append(f"{path}: {name}: duplicate name; keep one file of each name")
        else:
            members[name] = member
            problems += [f"{path}: {name}: {text}" for text in _find_member_problems(name, member)]
    problems += _find_foreign_problems(path, foreign_names)
    if files.is_format_1(foreign_names) or (foreign_names and not members and _find_wrapping_folder(foreign_names)):
        raise errors.BundleError(problems)
    missing = [name for name in names if name not in members]
    problems += [f"{path}: {name}: is missing; expected {', '.join(names)}" for name in missing]
    problems += [
        f"{path}: {name}: is a file, but {below} is inside it; {COPY_AGAIN}"
        for below in members
        for name in map(str, PurePosixPath(below).parents)
        if name in members
    ]
    problems += _find_unused_data(path, file, members)
    total = sum(member.file_size for member in members.values())
    if total > files.MOST_BYTES:
        problems.append(
            f"{path}: declares {total:,} bytes; expected at most {files.MOST_BYTES:,}: make the model smaller"
        )
    if problems:
        raise errors.BundleError(problems)
    return CheckedArchive(path=path, archive=archive, members=members)


def unpack(packed: CheckedArchive, folder: Path) -> None:
    """Write the files of a zip into an empty folder; zipfile verifies their checksums.

    Raises:
        errors.BundleError: Files are damaged; all of them are listed.
        OSError: The folder cannot be written.
    """
    problems: list[str] = []
    # First the one that declares the others: else a zip of a few MB could fill the disk with files that no bundle has.
    for name, member in sorted(packed.members.items(), key=lambda item: item[0] != files.JSON):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            problem = _unpack_member(packed.archive, member, out)
        if problem:
            problems.append(f"{packed.path}: {name}: {problem}")
        elif name == files.JSON:
            problems += _find_undeclared_files(packed, target.read_bytes())
            if problems:
                break
    if problems:
        raise errors.BundleError(problems)


def _find_undeclared_files(packed: CheckedArchive, text: bytes) -> list[str]:
    """Find additional files that ``bundle.json`` does not declare, or declares with another size."""
    data = schema.read_json(text)
    if isinstance(data, list):
        return [f"{packed.path}/{files.JSON}: {problem}" for problem in data]
    declared = data.get("files")
    problems = []
    for name, member in packed.members.items():
        if files.is_extra_name(name):
            header = declared.get(name) if isinstance(declared, dict) else None
            size = header.get("size") if isinstance(header, dict) else None
            if size != member.file_size:
                shown = "does not declare it" if header is None else f"declares {describe(size)} bytes"
                problem = f"has {member.file_size:,} bytes; {files.JSON} {shown}"
                problems.append(f"{packed.path}: {name}: {problem}; {COPY_AGAIN}")
    return problems


def is_unpacked(packed: CheckedArchive, folder: Path) -> bool:
    """Return whether a folder contains exactly the files of a zip, compared byte by byte.

    Comparing sizes alone would miss an edited file, which would then be used under the hash of the zip.
    """
    try:
        paths = {path.relative_to(folder).as_posix(): path for path in files.list_paths(folder)}
        sizes = {name: path.stat().st_size for name, path in paths.items()}
        return sizes == {name: member.file_size for name, member in packed.members.items()} and all(
            _is_same(packed.archive, member, paths[name]) for name, member in packed.members.items()
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
    remaining = member.file_size
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
            remaining -= len(chunk)
            if not chunk or remaining < 0:  # never write more than was declared, and so checked against the limits
                break
            out.write(chunk)
    return f"does not have the declared size of {member.file_size:,} bytes; {COPY_AGAIN}" if remaining else ""


def _describe_damage(error: BaseException) -> str:
    return f"is damaged ({_shorten_reason(error)}); {COPY_AGAIN}"


def _find_directory_problem(file: IO[bytes]) -> str:
    """Find a problem of the records at the end of the file, which declare the size of the zip's directory.

    See sections 4.3.14 to 4.3.16 of https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. Checked before zipfile
    opens the file, because zipfile reads the whole directory into memory.
    """
    size = file.seek(0, 2)
    if not size:
        return f"is empty, not a zip; {COPY_AGAIN}"
    end = _read_at(file, max(size - _END.size, 0), _END.size)
    if len(end) < _END.size or not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0"):
        if _read_at(file, 0, 4) == b"PK\x03\x04":
            return f"is a zip that is truncated or has trailing data; {COPY_AGAIN}"
        is_pointer = _read_at(file, 0, len(lfs.START)) == lfs.START
        return lfs.PROBLEM if is_pointer else f"is not a zip; expected NAME{SUFFIX}, as written by export"
    _, _, _, _, count, directory, _, _ = _END.unpack(end)
    position = size - _END.size - _LOCATOR.size
    locator = _read_at(file, position, _LOCATOR.size) if position >= 0 else b""
    if locator.startswith(b"PK\x06\x07"):
        offset = position - _END_64.size
        if _LOCATOR.unpack(locator)[2] != offset:
            return f"is a zip whose directory is not at the declared offset; {COPY_AGAIN}"
        fields = _END_64.unpack(_read_at(file, offset, _END_64.size))
        count, directory = fields[7], fields[8]
    if count > _MAX_MEMBERS or directory > _MAX_DIRECTORY_BYTES:
        return (
            f"is not a bundle: it lists {count:,} files in a directory of {directory:,} bytes; expected at most "
            f"{files.MOST_FILES:,} files and {_MAX_DIRECTORY_BYTES:,} bytes of directory"
        )
    return ""


def _find_unused_data(path: Path, file: IO[bytes], members: Mapping[str, zipfile.ZipInfo]) -> list[str]:
    """Find data before or between the files of a zip, which zipfile skips, but a hash of the zip includes."""
    unused = file.seek(0, 2) - sum(member.compress_size for member in members.values())
    if _read_at(file, 0, 4) == b"PK\x03\x04" and unused <= 2 * _MAX_DIRECTORY_BYTES:
        return []
    return [f"{path}: contains data that belongs to no file; zip the files of the bundle again, and nothing else"]


def _read_at(file: IO[bytes], position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _is_folder(member: zipfile.ZipInfo) -> bool:
    """Return whether a member is a folder of a bundle: some programs list folders too."""
    name = member.orig_filename
    return name.endswith("/") and not member.file_size and files.is_name(f"{name}x")


def _find_member_problems(name: str, member: zipfile.ZipInfo) -> list[str]:
    problems = []
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        kind_text = "a link" if kind == stat.S_IFLNK else "not a regular file"
        problems.append(f"is {kind_text}; replace it with the file itself")
    if member.flag_bits & 0x1:
        problems.append("is encrypted; expected a bundle without encryption: export the model again")
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        problems.append(
            f"has compression method {member.compress_type}; expected stored or deflated: create the zip again"
        )
    if problem := files.find_size_problem(name, member.file_size):
        problems.append(problem)
    return problems


def _find_foreign_problems(path: Path, foreign_names: Sequence[str]) -> list[str]:
    if not foreign_names:
        return []
    if files.is_format_1(foreign_names):
        return [files.describe_format_1(path)]
    folder = _find_wrapping_folder(foreign_names)
    if folder:
        shown = describe(folder)
        return [
            f"{path}: contains the folder {shown} with the bundle in it; zip the files themselves, not their folder"
        ]
    shown = format_list([describe(name) for name in foreign_names])
    return [f"{path}: contains {shown}, which is not part of a bundle; {COPY_AGAIN}"]


def _find_wrapping_folder(names: Sequence[str]) -> str:
    """Return the name of the folder that contains everything, if that is a bundle; else an empty text."""
    first, slash, _ = names[0].partition("/")
    inside = {name.removeprefix(first + slash) for name in names if name.startswith(first + slash)}
    return first if slash and len(inside) == len(names) and files.JSON in inside else ""


def _shorten_reason(error: BaseException) -> str:
    text = str(error).split("\n", 1)[0].strip()
    return escape(text)[:120] or type(error).__name__
