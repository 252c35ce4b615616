"""Debian and Ubuntu hosts: what they are, their packages, the mirror that they use. Programs alone, no libraries."""

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

_LISTS_DAY = 24 * 3600.0  # seconds after which a mirror may have dropped the versions that old lists name
# apt waits by itself for dpkg's lock alone; the lock of its lists, which each `update` takes, ends it at once.
_LOCK_SECONDS = 300.0
_LOCK_PAUSE = 1.0
_LOCKED = (b"Could not get lock", b"Unable to lock")
# A service manager or cron may leave these out of PATH; dpkg insists on them.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_TARGET_FORMAT = "$(ORIGIN)\t$(CODENAME)\t$(COMPONENT)\t$(REPO_URI)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """What ``/etc/os-release`` says; on other systems everything is empty."""

    identity: str = ""
    like: frozenset[str] = frozenset()
    codename: str = ""

    @property
    def has_apt(self) -> bool:
        """Whether packages come by apt, under Debian's names."""
        return not self.like.union({self.identity}).isdisjoint({"debian", "ubuntu"})


def read_release(path: Path = Path("/etc/os-release")) -> Release:
    """Read an os-release file; one that is not there says nothing."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return Release()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    found = {key.strip(): value.strip().strip("\"'") for key, value in pairs}
    return Release(
        identity=found.get("ID", "").lower(),
        like=frozenset(found.get("ID_LIKE", "").lower().split()),
        codename=found.get("VERSION_CODENAME", ""),
    )


def is_root() -> bool:
    """Tell whether this process may install packages."""
    return os.geteuid() == 0


def search_path() -> str:
    """Return ``PATH`` with the system's own program folders at its end."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])


def install_packages(
    names: Sequence[str], *, log: Path, progress: Progress, lists: Path = Path("/var/lib/apt/lists")
) -> None:
    """Install packages with what they need and nothing that is only recommended; takes root.

    Args:
        names: Debian's names of the packages.
        log: where apt's output goes; replaced.
        progress: told of each step.
        lists: apt's package lists, which are read anew when absent or older than a day.

    Raises:
        errors.EngineError: apt failed; the message has its last lines and names the log.
    """
    with locks.acquire(
        log.with_suffix(".lock"),
        lambda holder: progress.note(f"waiting for another installation of packages ({holder})"),
    ):
        _install(names, log, progress, lists)


def _install(names: Sequence[str], log: Path, progress: Progress, lists: Path) -> None:
    log.write_bytes(b"")
    wait = f"DPkg::Lock::Timeout={_LOCK_SECONDS:.0f}"
    command = ["apt-get", "install", "-y", "--no-install-recommends", "-o", wait, *names]
    fresh = _lists_are_fresh(lists)
    if not fresh:
        progress.step("reading the distribution's package lists")
        _apt(["apt-get", "update"], log, progress)
    progress.step(f"installing {' '.join(names)}")
    done = _apt(command, log, progress)
    if not done and fresh:  # a point release makes lists stale within a day
        done = _apt(["apt-get", "update"], log, progress) and _apt(command, log, progress)
    if not done:
        raise errors.EngineError(
            f"apt-get could not install {' '.join(names)}: repair that, or install them by hand, then run this again; "
            f"{log} ends:\n{read_last_lines(log)}"
        )


def find_program(name: str, package: str, progress: Progress) -> str:
    """Return the path of a program; its package is installed if it is missing and this is root.

    Raises:
        errors.EngineError: It is missing and cannot be installed.
    """
    program = shutil.which(name, path=search_path())
    if program is None and is_root() and read_release().has_apt:
        install_packages([package], log=paths.cache_folder() / "apt.log", progress=progress)
        program = shutil.which(name, path=search_path())
    if program is None:
        raise errors.EngineError(f"{name} is missing: install it (the package {package} of Debian and Ubuntu)")
    return program


def find_mirror(codename: str) -> str | None:
    """Return the archive that apt on this machine takes this Debian release from, or None if apt knows of none.

    apt itself is asked: it has read both kinds of its sources files, and knows who signed each archive.
    """
    command = ["apt-get", "indextargets", "--format", _TARGET_FORMAT, "Created-By: Packages"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return choose_mirror(answer.stdout.splitlines(), codename)


def choose_mirror(targets: Iterable[str], codename: str) -> str | None:
    """Pick Debian's own archive among apt's index targets (``origin, codename, component, address``, by tabs); pure."""
    for target in targets:
        origin, name, component, address = (target.split("\t") + [""] * 4)[:4]
        # Others sign archives under the same code name; `bookworm-updates` and the like are not whole.
        if (origin, name, component) == ("Debian", codename, "main") and address:
            return address
    return None


def read_last_lines(log: Path, count: int = 15) -> str:
    """Return the end of a log, indented, for an error message; a log that is not there has none."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return "    (no such file)"
    return "\n".join(f"    {line}" for line in lines)


def _apt(command: Sequence[str], log: Path, progress: Progress) -> bool:
    """Run apt and tell whether it succeeded; while another process has one of apt's locks, that is waited for."""
    deadline, waited = time.monotonic() + _LOCK_SECONDS, False
    while True:
        before = log.stat().st_size
        if _run(command, log):
            return True
        if time.monotonic() > deadline or not any(words in log.read_bytes()[before:] for words in _LOCKED):
            return False
        if not waited:
            progress.note(
                f"waiting for another apt-get on this machine, {_LOCK_SECONDS:.0f} s at most (`ps -C apt-get`)"
            )
        waited = True
        time.sleep(_LOCK_PAUSE)


def _run(command: Sequence[str], log: Path) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "PATH": search_path()}
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        try:
            code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        except OSError as error:
            output.write(f"{error}\n".encode())
            return False
    return code == 0


def _lists_are_fresh(lists: Path) -> bool:
    """Tell whether apt has read its mirrors within the last day (it touches ``partial`` each time it does)."""
    partial = lists / "partial"
    if not partial.is_dir() or not any(lists.glob("*_Packages*")):
        return False
    return time.time() - partial.stat().st_mtime < _LISTS_DAY
