"""Find a Python of this machine for the base of a stand-in image, list the packages that it loads, and pack it.

pyenv and uv install each Python into its own folder. The folder works elsewhere if the distribution's shared libraries
that it was linked with are there: the base is the same Debian release as this machine, with the same C library.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

# Tkinter would bring X11. Static libraries and the folder that goes with them are for building extensions.
_LEFT_OUT = re.compile(
    r"(^|/)(site-packages|__pycache__|test|tests|idlelib|tkinter|turtledemo|config-[^/]*)(/|$)"
    r"|\.(a|pyc)$|/_tkinter\.[^/]*$|^(share|include)(/|$)"
)
_FACTS = (
    "import json, platform, sys, sysconfig; print(json.dumps([platform.python_version(), sys.prefix, sys.base_prefix, "
    "sysconfig.get_config_var('prefix'), sysconfig.get_config_var('Py_GIL_DISABLED') or 0]))"
)
_SECONDS = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostPython:
    """A Python whose folder can be copied: its exact release, such as ``3.12.1``, and its prefix."""

    release: str
    prefix: Path

    @property
    def program(self) -> Path:
        """The interpreter, ``bin/python3.X``."""
        return self.prefix / "bin" / f"python{'.'.join(self.release.split('.')[:2])}"

    @property
    def extensions(self) -> list[Path]:
        """The modules of the standard library that are shared libraries."""
        return sorted(
            path for path in self.prefix.glob("lib/python3.*/lib-dynload/*.so") if not _is_left_out(self, path)
        )


def find(version: str) -> HostPython | None:
    """Return a Python of this machine that can be copied, or None.

    Args:
        version: Such as ``3.12``.
    """
    from findpython.providers import ALL_PROVIDERS  # noqa: PLC0415 - only where a stand-in is built

    for name in ("pyenv", "uv", "path"):
        provider = ALL_PROVIDERS[name].create()
        # The providers list programs without running them; what is in a folder of another version need not be asked.
        for candidate in provider.find_pythons() if provider else ():
            if candidate.executable.name == f"python{version}" and (python := _describe(candidate.executable)):
                return python
    return None


def _describe(program: Path) -> HostPython | None:
    """Return the Python of a program, or None if it has no folder of its own (virtual environment, system, conda)."""
    command = [program, "-I", "-c", _FACTS]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
        release, prefix, base_prefix, configured, free_threaded = json.loads(result.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None  # a broken interpreter is not an error: the next one is tried
    folder = Path(prefix)
    is_own = prefix == base_prefix == configured and folder != Path("/usr") and not (folder / "conda-meta").exists()
    python = HostPython(release=release, prefix=folder)
    return python if is_own and not free_threaded and python.program.is_file() else None


def find_packages(python: HostPython) -> list[str]:
    """Return the distribution's packages that own the shared libraries which the Python loads.

    Raises:
        errors.ImageError: A library belongs to no package.
    """
    output = _read_output(["ldd", str(python.program), *map(str, python.extensions)])
    libraries = {line for line in parse_libraries(output) if not Path(line).is_relative_to(python.prefix)}
    # dpkg knows a library by the path that it was unpacked to: /lib is a link to /usr/lib where both are merged.
    names = {
        name: library
        for library in libraries
        for name in (library, library.removeprefix("/usr"), os.path.realpath(library))
    }
    found = _read_output(["dpkg", "-S", *names])
    owners = {names[path]: package for package, path in parse_owners(found) if path in names}
    if missing := libraries - owners.keys():
        raise errors.ImageError(f"{python.program} loads {min(missing)}, which belongs to no package of this system")
    return sorted(set(owners.values()))


def _read_output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise errors.ImageError(f"cannot run {command[0]}, which finds a Python's libraries: {error}") from error


def parse_libraries(output: str) -> set[str]:
    """Return the paths of the libraries that ``ldd`` lists."""
    return set(re.findall(r"=> (/\S+) \(0x", output))


def parse_owners(output: str) -> Iterable[tuple[str, str]]:
    """Yield the package and path of each line of ``dpkg -S``."""
    return re.findall(r"^([a-z0-9][a-z0-9+.-]*)(?::\w+)?(?:, [^:]+(?::\w+)?)*: (/.*)$", output, re.MULTILINE)


def pack(python: HostPython, target: Path) -> str:
    """Write the Python's folder as a tar, as it goes to ``/usr/local``; return the SHA-256 of its contents.

    The standard library, the interpreter and ensurepip are in it; packages, tests, bytecode and headers are not. The
    tar depends on no time and no user.
    """
    digest = hashlib.sha256()
    with tarfile.open(target, "w") as archive:
        for path in sorted(python.prefix.rglob("*")):
            if _is_left_out(python, path):
                continue
            name = str(path.relative_to(python.prefix))
            entry = archive.gettarinfo(path, name)
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            digest.update(f"{name}\0{entry.type!r}\0{entry.linkname}\0{entry.mode:o}\0".encode())
            if entry.isreg():
                content = path.read_bytes()
                digest.update(hashlib.sha256(content).digest())
                with path.open("rb") as file:
                    archive.addfile(entry, file)
            else:
                archive.addfile(entry)
    return digest.hexdigest()


def _is_left_out(python: HostPython, path: Path) -> bool:
    return _LEFT_OUT.search(str(path.relative_to(python.prefix))) is not None
