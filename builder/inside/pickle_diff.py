"""Compare two pickles without loading them."""

from __future__ import annotations

import pickletools
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_first_difference(left: IO[bytes], right: IO[bytes]) -> tuple[int, str, str] | None:
    """Return the first opcodes that differ: the position in the left pickle, and the opcode of each pickle there.

    None if there are none, or if one pickle is the beginning of the other. Raises ValueError, OverflowError or
    MemoryError if one of them is not a pickle.
    """
    for (name, value, position), (other_name, other_value, _) in zip(
        _read_opcodes(left), _read_opcodes(right), strict=False
    ):
        is_nan = value != value and other_value != other_value  # noqa: PLR0124 - NaN differs from itself
        if (name, value) != (other_name, other_value) and not (name == other_name and is_nan):
            return position, f"{name} {value!r:.60}", f"{other_name} {other_value!r:.60}"
    return None


def _read_opcodes(file: IO[bytes]) -> Iterator[tuple[str, Any, int]]:
    # A FRAME opcode contains the frame's length, so it differs whenever anything inside the frame does.
    return (
        (code.name, value, position or 0) for code, value, position in pickletools.genops(file) if code.name != "FRAME"
    )
