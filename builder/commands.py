"""The commands that messages tell people to run, as they are typed where the person is."""

from __future__ import annotations

import glob
import os
import re
import shlex
import sys
from pathlib import Path


def with_config(name: str, config: Path, *options: str) -> str:
    """Return a command on a config, ready to be typed from the current folder.

    It is ``make NAME CONFIG=...`` next to a Makefile, and the command itself elsewhere.

    Args:
        name: The command, such as ``pickle``.
        config: A config file, or a ``dist/NAME`` folder: its config is meant.
        options: Such as ``--pull`` and ``--model=my_slot``.
    """
    here = Path(os.path.realpath(Path.cwd()))
    full = Path(os.path.realpath(config))
    path = full if full.suffix in {".yaml", ".yml"} else config_of(full) or _usual_config(full)
    if (here / "Makefile").is_file() and path.is_relative_to(here / "configs"):
        given = [f"CONFIG={path.relative_to(here)}", *map(_as_variable, options)]
        return " ".join(["make", name, *(shlex.quote(one.replace("$", "$$")) for one in given)])
    program = "numerai-builder" if Path(sys.argv[0]).name == "numerai-builder" else "python -m builder"
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return " ".join([program, name, *map(shlex.quote, [str(shown), *options])])


def name_config(text: str, config: Path) -> str:
    """Return a text whose commands name a config, as :func:`with_config` does, where it says ``CONFIG=...``."""
    return re.sub(r"make ([a-z]+) CONFIG=\.\.\.", lambda found: with_config(found[1], config), text)


def config_of(folder: Path) -> Path | None:
    """Return the config that a ``dist/NAME`` folder holds the results of; None if there is none of this name."""
    named = (folder.parent.parent / "configs").rglob(f"{glob.escape(folder.name)}.yaml")
    return next(iter(sorted(path for path in named if path.is_file())), None)


def _usual_config(folder: Path) -> Path:
    return folder.parent.parent / "configs" / f"{folder.name}.yaml"


def _as_variable(option: str) -> str:
    """Return an option as the Makefile takes it: ``--dry-run`` is ``DRY_RUN=1``."""
    name, _, value = option.removeprefix("--").partition("=")
    return f"{name.replace('-', '_').upper()}={value or 1}"
