"""Commands that messages suggest, written as the user would type them in the current folder."""

from __future__ import annotations

import glob
import os
import re
import shlex
import sys
from pathlib import Path

_TARGETS = {
    **dict.fromkeys(("pickle", "render", "validate", "verify", "upload", "pin", "doctor", "data"), "CONFIG"),
    **dict.fromkeys(("init", "engine", "stand-in", "sandbox", "models"), ""),
    "adopt": "PICKLE",
    "check": "PICKLE",
    "rollback": "MODEL",
    "status": "SLOT",
    "why": "SLOT",
}
"""The Makefile's targets that are commands, with the variable of each that is the command's argument."""
_PLACEHOLDERS = ("BUNDLE", "CONFIG", "NAME", "PICKLE", "SLOT")
UNDER_MAKE = "NUMERAI_BUILDER_UNDER_MAKE"
"""Environment variable that requirements/run.sh sets for the Makefile's targets."""


def suggest(name: str, config: Path | None, *options: str) -> str:
    """Return a command on a config, quoted for a shell in the current folder.

    It is ``make NAME CONFIG=...`` if the current folder has a Makefile, else ``python -m builder NAME ...``.

    Args:
        name: The command, such as ``pickle``.
        config: A config file, or a ``dist/NAME`` folder, which selects its config. If the folder has none, or the
            config is not known (None), the command contains the placeholder ``CONFIG``.
        options: Command-line options, such as ``--pull`` and ``--model=my_slot``.
    """
    current = Path(os.path.realpath(Path.cwd()))
    full = Path(os.path.realpath(config)) if config else None
    path = full if full is None or full.suffix in {".yaml", ".yml"} else find_config(full)
    if path is None:
        return suggest_plain(name, "CONFIG", *options)
    if _uses_make(current) and path.is_relative_to(current / "configs"):
        variables = [f"CONFIG={path.relative_to(current)}", *map(_to_variable, options)]
        # make expands $ in the values on its command line.
        return " ".join(["make", name, *(shlex.quote(variable.replace("$", "$$")) for variable in variables)])
    shown = path.relative_to(current) if path.is_relative_to(current) else path
    return " ".join([_find_program(), name, *map(shlex.quote, [str(shown), *options])])


def suggest_plain(name: str, *arguments: str) -> str:
    """Return a command like :func:`suggest` does, without a config.

    Args:
        name: The command, such as ``rollback``.
        arguments: Its argument and options. The user has to fill in the placeholders ``BUNDLE``, ``CONFIG``, ``NAME``,
            ``PICKLE`` and ``SLOT``.
    """
    if name not in _TARGETS or not _uses_make(Path.cwd()):
        return " ".join([_find_program(), name, *arguments])
    variables = [
        _to_variable(argument) if argument.startswith("--") else f"{_TARGETS[name]}={argument}"
        for argument in arguments
    ]
    return " ".join(["make", name, *(_fill_placeholder(variable) for variable in variables)])


def suggest_for_folder(name: str, folder: Path) -> str:
    """Return a command on a ``dist/NAME`` folder that has no config."""
    return f"{_find_program()} {name} {shlex.quote(str(folder))}"


def format_option(text: str) -> str:
    """Return an option such as ``--yes`` as the user passes it: under make, ``YES=1 (--yes)``."""
    return f"{_to_variable(text)} ({text})" if os.environ.get(UNDER_MAKE) else text


def suggest_rebuild(folder: Path) -> str:
    """Return what to do about an invalid ``dist/NAME``: build it again, or fetch it again if it has no config here."""
    if folder.parent.name != "dist" or find_config(Path(os.path.realpath(folder))) is None:
        return "get the folder again from where it came"
    return f"run `{suggest('pickle', folder)}` to build it again"


def fill_in_config(text: str, config: Path | None) -> str:
    """Replace each ``make NAME CONFIG=...`` in a text with the command that :func:`suggest` returns for the config."""
    return re.sub(r"make ([a-z]+) CONFIG=\.\.\.", lambda match: suggest(match[1], config), text)


def find_config(folder: Path) -> Path | None:
    """Return the config of a ``dist/NAME`` folder: the first ``NAME.yaml`` below ``configs/``, or None."""
    paths = (folder.parent.parent / "configs").rglob(f"{glob.escape(folder.name)}.yaml")
    return next(iter(sorted(path for path in paths if path.is_file())), None)


def _uses_make(folder: Path) -> bool:
    return (folder / "Makefile").is_file()


def _fill_placeholder(variable: str) -> str:
    name, _, value = variable.partition("=")
    return f"{name}=..." if value in _PLACEHOLDERS else variable


def _find_program() -> str:
    return "numerai-builder" if Path(sys.argv[0]).name == "numerai-builder" else "python -m builder"


def _to_variable(option: str) -> str:
    """Return the Makefile's variable for an option: ``DRY_RUN=1`` for ``--dry-run``."""
    name, _, value = option.removeprefix("--").partition("=")
    return f"{name.replace('-', '_').upper()}={value or 1}"
