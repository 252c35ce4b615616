"""Fresh copies of the repository, and commands run in them as a person would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import fork_server

ROOT = Path(__file__).resolve().parents[2]


def clone(target: Path) -> Path:
    """Copy what git tracks, or would, into ``target``: no virtual environment, no results, no caches."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    for name in sorted(entry.decode() for entry in listed if entry):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def make_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without what ``make test`` adds to it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "PYTEST"))}
    for name in ("CONFIG", "PYTHON", "YES", "JSON", "PULL", "LOCKED", "CHECK", "VIRTUAL_ENV"):
        kept.pop(name, None)
    return kept | changes


def run(folder: Path, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and return what it printed."""
    return subprocess.run(
        command, cwd=folder, env=make_environment(**changes), capture_output=True, text=True, check=False, timeout=900
    )


def run_builder(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the tool in a folder, with the virtual environment that the tests have, from a process that has it loaded.

    What runs is this repository's: only its files are the folder's. A test of what the clone itself holds runs ``make``
    or the interpreter.
    """
    return fork_server.run(
        [sys.executable, "-m", "builder", *arguments],
        cwd=folder,
        env=make_environment(**changes),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
