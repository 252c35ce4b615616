"""Recognise Git LFS pointers: small text files that a checkout without Git LFS has in place of large files.

Their format: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

START = b"version https://git-lfs.github.com/spec/"
PROBLEM = "is a Git LFS pointer, not the file itself; fetch the file with `git lfs pull`"


def find_pointer_problem(path: Path) -> str:
    """Return why a file is not what it should be, as the end of a sentence, if it is a pointer; else an empty text."""
    try:
        with path.open("rb") as file:
            return PROBLEM if file.read(len(START)) == START else ""
    except OSError:
        return ""
