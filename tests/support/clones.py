"""Copy the repository, and run commands in the copy as a person would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import fork_server

ROOT = Path(__file__).resolve().parents[2]


def clone(target: Path) -> Path:
    """Copy the files that git tracks, or would, into ``target``: no virtual environment, no results, no caches."""
    output = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    for name in sorted(entry.decode() for entry in output if entry):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def make_environment(**changes: str) -> dict[str, str]:
    """Return the environment of this process without the variables that ``make test`` sets."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "PYTEST"))}
    for name in ("CONFIG", "PYTHON", "YES", "JSON", "PULL", "LOCKED", "CHECK", "VIRTUAL_ENV"):
        variables.pop(name, None)
    return variables | changes


def run(folder: Path, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and return its result."""
    return subprocess.run(
        command, cwd=folder, env=make_environment(**changes), capture_output=True, text=True, check=False, timeout=900
    )


def run_builder(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the tool in a folder, forked from a process that has it imported already, which saves most of its start.

    The code is that of this repository, only the working directory is ``folder``. A test of the clone's own code runs
    ``make`` or the interpreter.
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
