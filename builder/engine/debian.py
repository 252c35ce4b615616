"""Detect a Debian or Ubuntu host, install packages with apt and find its mirror; runs programs, imports no library."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, locks, paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.progress import Progress

_LISTS_MAX_AGE = 24 * 3600.0  # seconds; a mirror may have removed the package versions that older lists contain
# DPkg::Lock::Timeout makes apt-get wait for dpkg's lock only. It fails at once on the lock of the package lists, which
# every `update` takes, so `_run_apt` waits for that one:
# https://github.com/mongodb-labs/drivers-evergreen-tools/pull/281
_LOCK_TIMEOUT = 300.0
_LOCK_POLL_SECONDS = 1.0
_LOCK_ERRORS = (b"Could not get lock", b"Unable to lock")
# Service managers and cron may run this without them in PATH; dpkg refuses to work then.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_TARGET_FORMAT = "$(ORIGIN)\t$(CODENAME)\t$(COMPONENT)\t$(REPO_URI)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """The distribution of a host, from its os-release file; all fields are empty if there is none."""

    identity: str = ""
    like: frozenset[str] = frozenset()
    codename: str = ""

    @property
    def has_apt(self) -> bool:
        """Whether packages are installed with apt, under Debian's names."""
        return not self.like.union({self.identity}).isdisjoint({"debian", "ubuntu"})


def read_release(path: Path = Path("/etc/os-release")) -> Release:
    """Read an os-release file; return an empty release if it cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return Release()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    values = {key.strip(): value.strip().strip("\"'") for key, value in pairs}
    return Release(
        identity=values.get("ID", "").lower(),
        like=frozenset(values.get("ID_LIKE", "").lower().split()),
        codename=values.get("VERSION_CODENAME", ""),
    )


def is_root() -> bool:
    """Return whether this process may install packages."""
    return os.geteuid() == 0


def get_search_path() -> str:
    """Return ``PATH`` with the system's program folders appended."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])


def install_packages(
    names: Sequence[str], *, log: Path, progress: Progress, lists: Path = Path("/var/lib/apt/lists")
) -> None:
    """Install packages and their dependencies, without recommended packages; requires root.

    Args:
        names: Debian's names of the packages.
        log: File for apt's output; overwritten.
        progress: Shows each step.
        lists: Folder of apt's package lists, which are updated if they are missing or older than a day.

    Raises:
        errors.EngineError: apt failed; the message contains the log's path and its last lines.
    """
    with locks.acquire(
        log.with_suffix(".lock"),
        lambda holder: progress.note(f"waiting for another installation of packages ({holder})"),
    ):
        _install(names, log, progress, lists)


def _install(names: Sequence[str], log: Path, progress: Progress, lists: Path) -> None:
    log.write_bytes(b"")
    wait = f"DPkg::Lock::Timeout={_LOCK_TIMEOUT:.0f}"
    command = ["apt-get", "install", "-y", "--no-install-recommends", "-o", wait, *names]
    is_fresh = _is_fresh(lists)
    if not is_fresh:
        progress.step("updating the package lists")
        _run_apt(["apt-get", "update"], log, progress)
    progress.step(f"installing {' '.join(names)}")
    is_installed = _run_apt(command, log, progress)
    if not is_installed and is_fresh:  # a point release makes lists stale within a day
        is_installed = _run_apt(["apt-get", "update"], log, progress) and _run_apt(command, log, progress)
    if not is_installed:
        raise errors.EngineError(
            f"apt-get could not install {' '.join(names)}: fix the cause, or install them by hand, then run this "
            f"again; {log} ends with:\n{read_last_lines(log)}"
        )


def find_program(name: str, package: str, progress: Progress) -> str:
    """Return the path of a program; install its package first if it is missing, apt is available and this is root.

    Raises:
        errors.EngineError: The program is missing and cannot be installed.
    """
    program = shutil.which(name, path=get_search_path())
    if program is None and is_root() and read_release().has_apt:
        install_packages([package], log=paths.cache_folder() / "apt.log", progress=progress)
        program = shutil.which(name, path=get_search_path())
    if program is None:
        raise errors.EngineError(f"{name} is missing: install it (package {package} on Debian and Ubuntu)")
    return program


def find_mirror(codename: str) -> str | None:
    """Return the URL of the archive from which apt on this machine gets a Debian release, or None.

    The answer comes from apt itself, because it reads both formats of its sources files and knows who signed each
    archive.
    """
    command = ["apt-get", "indextargets", "--format", _TARGET_FORMAT, "Created-By: Packages"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return choose_mirror(result.stdout.splitlines(), codename)


def choose_mirror(targets: Iterable[str], codename: str) -> str | None:
    """Return the URL of Debian's own archive among apt's index targets, or None.

    Args:
        targets: Lines of ``origin, codename, component, address``, separated by tabs.
        codename: The Debian release, such as ``bookworm``.
    """
    for target in targets:
        origin, name, component, address = (target.split("\t") + [""] * 4)[:4]
        # Third parties publish archives under Debian's codenames, and `bookworm-updates` is not a complete archive.
        if (origin, name, component) == ("Debian", codename, "main") and address:
            return address
    return None


def read_last_lines(log: Path, count: int = 15) -> str:
    """Return the last lines of a log, indented for an error message; it need not exist."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return "    (file not found)"
    return "\n".join(f"    {line}" for line in lines)


def _run_apt(command: Sequence[str], log: Path, progress: Progress) -> bool:
    """Run apt-get, again and again while another process has one of its locks; tell whether it succeeded."""
    deadline, has_waited = time.monotonic() + _LOCK_TIMEOUT, False
    while True:
        start = log.stat().st_size
        if _run(command, log):
            return True
        if time.monotonic() > deadline or not any(text in log.read_bytes()[start:] for text in _LOCK_ERRORS):
            return False
        if not has_waited:
            progress.note(
                f"waiting for another apt-get on this machine, at most {_LOCK_TIMEOUT:.0f} s (`ps -C apt-get`)"
            )
        has_waited = True
        time.sleep(_LOCK_POLL_SECONDS)


def _run(command: Sequence[str], log: Path) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "PATH": get_search_path()}
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        try:
            code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        except OSError as error:
            output.write(f"{error}\n".encode())
            return False
    return code == 0


def _is_fresh(lists: Path) -> bool:
    """Return whether the package lists were updated within the last day."""
    partial = lists / "partial"  # apt-get changes the time of this folder at each update, even if no list changed
    if not partial.is_dir() or not any(lists.glob("*_Packages*")):
        return False
    return time.time() - partial.stat().st_mtime < _LISTS_MAX_AGE
