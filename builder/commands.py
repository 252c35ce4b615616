"""The commands that messages tell people to run, as they are typed where the person is."""

from __future__ import annotations

import glob
import os
import re
import shlex
import sys
from pathlib import Path

UNDER_MAKE = "NUMERAI_BUILDER_UNDER_MAKE"
"""Set by the Makefile's targets, in requirements/run.sh."""


def suggest(name: str, config: Path | None, *options: str) -> str:
    """Return a command on a config, ready to be typed from the current folder.

    It is ``make NAME CONFIG=...`` next to a Makefile, and the command itself elsewhere.

    Args:
        name: The command, such as ``pickle``.
        config: A config file, or a ``dist/NAME`` folder: its config is meant. The command has ``CONFIG`` in its place
            if there is none, or it is not known (None).
        options: Such as ``--pull`` and ``--model=my_slot``.
    """
    here = Path(os.path.realpath(Path.cwd()))
    full = Path(os.path.realpath(config)) if config else None
    path = full if full is None or full.suffix in {".yaml", ".yml"} else find_config(full)
    if path is None:
        return suggest_plain(name, *options, takes="CONFIG")
    if _uses_make(here) and path.is_relative_to(here / "configs"):
        variables = [f"CONFIG={path.relative_to(here)}", *map(_as_variable, options)]
        return " ".join(["make", name, *(shlex.quote(word.replace("$", "$$")) for word in variables)])
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return " ".join([_program(), name, *map(shlex.quote, [str(shown), *options])])


def suggest_plain(name: str, *options: str, takes: str = "") -> str:
    """Return a command as :func:`with_config` does; what it ``takes`` is left to the reader to fill in."""
    if _uses_make(Path.cwd()):
        return " ".join(["make", name, *([f"{takes}=..."] if takes else []), *map(_as_variable, options)])
    return " ".join([_program(), name, *([takes] if takes else []), *options])


def suggest_for_folder(name: str, folder: Path) -> str:
    """Return a command on a ``dist/NAME`` folder that has no config."""
    return f"{_program()} {name} {shlex.quote(str(folder))}"


def format_option(text: str) -> str:
    """Return an option such as ``--yes``, as the person types it who called the command, or make."""
    return f"{_as_variable(text)} ({text})" if os.environ.get(UNDER_MAKE) else text


def suggest_rebuild(folder: Path) -> str:
    """Return the fix for an invalid ``dist/NAME``: without a config it cannot be built again here."""
    if folder.parent.name != "dist" or find_config(Path(os.path.realpath(folder))) is None:
        return "get the folder again from where it came"
    return f"run `{suggest('pickle', folder)}` to build it again"


def fill_in_config(text: str, config: Path | None) -> str:
    """Return a text whose commands name a config, as :func:`with_config` does, where it says ``CONFIG=...``."""
    return re.sub(r"make ([a-z]+) CONFIG=\.\.\.", lambda match: suggest(match[1], config), text)


def find_config(folder: Path) -> Path | None:
    """Return the config that a ``dist/NAME`` folder holds the results of; None if there is none of this name."""
    named = (folder.parent.parent / "configs").rglob(f"{glob.escape(folder.name)}.yaml")
    return next(iter(sorted(path for path in named if path.is_file())), None)


def _uses_make(here: Path) -> bool:
    return (here / "Makefile").is_file()


def _program() -> str:
    return "numerai-builder" if Path(sys.argv[0]).name == "numerai-builder" else "python -m builder"


def _as_variable(option: str) -> str:
    """Return an option as the Makefile takes it: ``--dry-run`` is ``DRY_RUN=1``."""
    name, _, value = option.removeprefix("--").partition("=")
    return f"{name.replace('-', '_').upper()}={value or 1}"
