"""Find a Python of this machine for the base of a stand-in image, list the packages that it loads, and pack it.

pyenv and uv install each Python into its own folder. The folder works elsewhere if the distribution's shared libraries
that it was linked with are there: the base is the same Debian release as this machine, with the same C library.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = "bz2, ctypes, lzma, sqlite3, ssl, uuid, zlib"
"""Modules that are missing if Python was compiled without the libraries that they load."""
# Tkinter would bring X11. Static libraries and the folder that goes with them are for building extensions.
_LEFT_OUT = re.compile(
    r"/(site-packages|__pycache__|test|tests|idlelib|tkinter|turtledemo|config-[^/]*)(/|$)|\.(a|pyc)$|/_tkinter\.[^/]*$"
)
_FACTS = (
    f"import {MODULES}, json, platform, sys, sysconfig; print(json.dumps([platform.python_version(), sys.prefix, "
    "sys.base_prefix, sysconfig.get_config_var('prefix')]))"
)
_SECONDS = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostPython:
    """A Python whose folder can be copied.

    Attributes:
        release: Its exact release, such as ``3.12.1``.
        prefix: Its folder.
        packages: The distribution's packages with the shared libraries that it loads.
    """

    release: str
    prefix: Path
    packages: tuple[str, ...] = ()

    @property
    def program(self) -> Path:
        """The interpreter, ``bin/python3.X``."""
        return self.prefix / "bin" / self._name

    @property
    def _name(self) -> str:
        return f"python{'.'.join(self.release.split('.')[:2])}"

    def list_files(self) -> list[Path]:
        """Return what is copied: the interpreter and its standard library, without packages, tests and bytecode.

        The folder may have much else in it: ``/usr/local`` is one.
        """
        library = self.prefix / "lib" / self._name
        files = (library, *library.rglob("*"), *self.prefix.glob(f"lib/lib{self._name}*.so*"), self.program)
        return sorted(path for path in files if not _LEFT_OUT.search(f"/{path.relative_to(self.prefix)}"))


def find(version: str) -> HostPython:
    """Return the newest Python of this machine that can be copied.

    Args:
        version: Such as ``3.12``.

    Raises:
        errors.ImageError: There is none, or a library that it loads belongs to no package.
    """
    from findpython.providers import ALL_PROVIDERS  # noqa: PLC0415 - only where a stand-in is built

    providers = filter(None, (ALL_PROVIDERS[name].create() for name in ("pyenv", "uv", "path")))
    candidates = [
        candidate
        for provider in providers
        for candidate in provider.find_pythons()
        # Only these are run: there can be dozens of other names. uv's provider lists each Python as python3.
        if candidate.executable.name in {"python3", f"python{version}"} and candidate.is_valid()
    ]
    major, minor = map(int, version.split("."))
    for candidate in sorted(candidates, key=lambda candidate: candidate.version, reverse=True):
        if candidate.matches(major, minor, pre=False, dev=False, freethreaded=False, implementation="cpython") and (
            python := _describe(candidate.executable)
        ):
            return dataclasses.replace(python, packages=find_packages(python))
    raise errors.ImageError(f"this machine has no Python {version} in a folder of its own, as pyenv and uv install it")


def _describe(program: Path) -> HostPython | None:
    """Return the Python of a program, or None if it has no folder of its own (virtual environment, system, conda)."""
    try:
        result = subprocess.run(
            [str(program), "-I", "-c", _FACTS], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        release, prefix, base_prefix, configured = json.loads(result.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None  # one without these modules, or broken, is not an error: the next one is tried
    python = HostPython(release=release, prefix=Path(prefix))
    is_own = prefix == base_prefix == configured != "/usr" and not (python.prefix / "conda-meta").exists()
    return python if is_own and python.program.is_file() else None


def find_packages(python: HostPython) -> tuple[str, ...]:
    """Return the distribution's packages that own the shared libraries which the Python loads.

    Raises:
        errors.ImageError: A library belongs to no package.
    """
    modules = [path for path in python.list_files() if path.parent.name == "lib-dynload"]
    listed = parse_libraries(_read_output(["ldd", str(python.program), *map(str, modules)]))
    libraries = {path for path in listed if not Path(path).is_relative_to(python.prefix)}
    # dpkg knows a library by the path that it was unpacked to: /lib is a link to /usr/lib where both are merged.
    names = {
        name: library
        for library in libraries
        for name in (library, library.removeprefix("/usr"), os.path.realpath(library))
    }
    owners = {
        names[path]: package for package, path in parse_owners(_read_output(["dpkg", "-S", *names])) if path in names
    }
    if missing := libraries - owners.keys():
        raise errors.ImageError(
            f"{python.program} cannot be copied into an image: it loads {min(missing)}, which belongs to no package of "
            "this system; install a Python that uses the system's libraries"
        )
    return tuple(sorted(set(owners.values())))


def _read_output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise errors.ImageError(
            f"cannot run {command[0]}, which finds the libraries of a Python ({error}): install libc-bin and dpkg"
        ) from error


def parse_libraries(output: str) -> set[str]:
    """Return the paths of the libraries that ``ldd`` lists."""
    return set(re.findall(r"=> (/\S+) \(0x", output))


def parse_owners(output: str) -> Iterator[tuple[str, str]]:
    """Yield the package and path of each line of ``dpkg -S``; a path with several packages has the first of them."""
    for match in re.finditer(r"^([a-z0-9][a-z0-9+.-]*)(?::\w+)?(?:, [a-z0-9:+.-]+)*: (/.*)$", output, re.MULTILINE):
        yield match[1], match[2]


def pack(python: HostPython, target: Path) -> str:
    """Write the Python's files as a tar, as they go to ``/usr/local``; return the SHA-256 of its contents.

    The tar depends on no time and no user.
    """
    digest = hashlib.sha256()
    with tarfile.open(target, "w") as archive:
        for path in python.list_files():
            entry = archive.gettarinfo(path, str(path.relative_to(python.prefix)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            content = path.read_bytes() if entry.isreg() else b""
            digest.update(f"{entry.name}\0{entry.type!r}\0{entry.linkname}\0{entry.mode:o}\0{len(content)}\0".encode())
            digest.update(content)
            archive.addfile(entry, io.BytesIO(content))
    return digest.hexdigest()
