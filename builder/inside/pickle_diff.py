"""Where two pickles differ, without loading them."""

from __future__ import annotations

import pickletools
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_first_difference(one: IO[bytes], other: IO[bytes]) -> tuple[int, str, str] | None:
    """Return the first opcodes that differ: the position in the first pickle, and what each has there.

    None: one ends before the other. Raises ValueError, OverflowError or MemoryError if one of them is not a pickle.
    """
    for (name, value, at), (name_2, value_2, _) in zip(_read(one), _read(other), strict=False):
        if (name, value) != (name_2, value_2):
            return at, f"{name} {value!r:.60}", f"{name_2} {value_2!r:.60}"
    return None


def _read(file: IO[bytes]) -> Iterator[tuple[str, Any, int]]:
    # A frame has its length, so it differs whenever anything in it does.
    return ((code.name, value, at or 0) for code, value, at in pickletools.genops(file) if code.name != "FRAME")
