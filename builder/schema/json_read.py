"""JSON as this project reads and writes it: strictly, and one way to write each value.

Python's own reader takes duplicate keys (the last wins), NaN, numbers that overflow, and nesting until the stack ends.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from builder.schema import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPTH = 64
"""How deep lists and mappings may nest."""

# A string that never ends counts to the end of the file: no second look at any byte.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_DIGITS = 400
"""Longer numbers are refused: no double has more digits, and to read them takes quadratic time."""


class _Pairs(list[tuple[str, Any]]):
    """A mapping as written, duplicates and all."""


class _Refused(str):
    """A number that cannot be: ``NaN``, ``Infinity``, or one of hundreds of digits."""

    __slots__ = ()


def canonical(data: object) -> bytes:
    """Return the one way to write plain data: sorted keys, no spaces, UTF-8, no newline.

    Args:
        data: dict with text keys, list, tuple, str, int, finite float, bool, None.

    Raises:
        TypeError: If something else is in it, or a key that is no text.
        ValueError: If a number is not finite or a text has lone surrogates.
    """
    _refuse_other_keys(data)
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def read(text: bytes) -> dict[str, Any] | list[parse.Problem]:
    """Read one JSON object.

    Args:
        text: UTF-8, no byte order mark.

    Returns:
        Plain data, or everything that is wrong with it, by key path: duplicate keys, numbers that are not finite,
        lone surrogates, nesting beyond ``DEPTH``. A fault of the syntax has an empty path and says line and column.
    """
    try:
        decoded = text.decode("utf-8")
        if decoded.startswith("\ufeff"):
            return _fault("starts with a byte order mark; plain UTF-8 is needed")
        if _is_too_deep(decoded):
            return _fault(f"lists and mappings nest deeper than {DEPTH}; this is not a file of this tool")
        raw = json.loads(
            decoded, object_pairs_hook=_Pairs, parse_constant=_Refused, parse_int=_integer, parse_float=_decimal
        )
    except UnicodeDecodeError as error:
        return _fault(f"byte {error.start + 1} is not UTF-8; JSON in UTF-8 is needed")
    except json.JSONDecodeError as error:
        return _fault(f"line {error.lineno}, column {error.colno}: not valid JSON ({error.msg}); write the file again")
    if not isinstance(raw, _Pairs):
        return _fault("the file holds no object; {...} is needed")
    faults: list[parse.Problem] = []
    data = _build(raw, (), faults)
    return faults or data


def _fault(text: str) -> list[parse.Problem]:
    return [parse.Problem(path=(), text=text)]


def _is_too_deep(text: str) -> bool:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = match.group()[0]
        depth += (first in "[{") - (first in "]}")
        if depth > DEPTH:
            return True
    return False


def _integer(digits: str) -> int | _Refused:
    return int(digits) if len(digits) <= _DIGITS else _Refused(digits)


def _decimal(digits: str) -> float | _Refused:
    value = float(digits)
    return value if math.isfinite(value) else _Refused(digits)


def _build(raw: Any, path: parse.Place, faults: list[parse.Problem]) -> Any:
    """Return plain data; recursion is bounded by ``DEPTH``, checked before."""
    if isinstance(raw, _Pairs):
        data: dict[str, Any] = {}
        for key, item in raw:
            place = (*path, key)
            if key in data:
                faults.append(parse.Problem(path=place, text="this key stands here twice; leave one"))
            elif not _is_encodable(key):
                faults.append(parse.Problem(path=path, text="a key has half a surrogate pair; text is needed"))
            data[key] = _build(item, place, faults)
        return data
    if isinstance(raw, list):
        return [_build(item, (*path, index), faults) for index, item in enumerate(raw)]
    if isinstance(raw, _Refused):
        shown = raw if len(raw) <= 20 else f"{raw[:17]}..."
        faults.append(parse.Problem(path=path, text=f"{shown} is not a finite number; a number is needed"))
    elif isinstance(raw, str) and not _is_encodable(raw):
        faults.append(parse.Problem(path=path, text="the text has half a surrogate pair; text is needed"))
    return raw


def _is_encodable(text: str) -> bool:
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def _refuse_other_keys(data: object) -> None:
    for key in _keys(data):
        if not isinstance(key, str):
            # json.dumps would write 1 and "1" alike.
            raise TypeError(f"the key {key!r} is no text")


def _keys(data: object) -> Iterator[object]:
    if isinstance(data, dict):
        yield from data
        for item in data.values():
            yield from _keys(item)
    elif isinstance(data, list | tuple):
        for item in data:
            yield from _keys(item)
