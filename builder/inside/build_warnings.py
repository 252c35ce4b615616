"""Find the warnings that are printed while a pickle is built. Standard library only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import custom

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LINES = 10
MAX_CHARACTERS = 500
# Python's warnings, the levels of logging, and native libraries: LightGBM prints "[LightGBM] [Warning] ...".
_WARNING = re.compile("warning|error|critical", re.IGNORECASE)


def format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Return a warning as one line; Python's own format has several. Replaces ``warnings.formatwarning``."""
    file = custom.strip_filename(filename).rpartition("site-packages/")[2]
    return f"{file}:{lineno}: {category.__name__}: {' '.join(str(message).split())}\n"


def find_warnings(lines: Iterable[str]) -> list[str]:
    """Return the distinct lines that contain a warning, at most 10 of them; a last line says how many more there are.

    A line is printable and has at most 500 characters.
    """
    matches = (line.strip()[:MAX_CHARACTERS] for line in lines if _WARNING.search(line))
    warnings = list(dict.fromkeys("".join(char if char.isprintable() else " " for char in line) for line in matches))
    more = len(warnings) - MAX_LINES
    return [*warnings[:MAX_LINES], f"and {more:,} more warnings"] if more > 0 else warnings
