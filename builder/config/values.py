"""The values of a config that are written as text and mean more: each is read with its own words for what is wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from builder import schema
from builder.registry import reference
from builder.text import describe

Name = Annotated[str, schema.require_pattern(r"[a-z0-9_-]{1,40}", "of 1 to 40 characters a-z 0-9 _ -")]
"""A model's name: of its config, its manifest and its folder below ``dist``."""

Sort = Literal["bundle", "archive", "parquet"]

DEFAULT_IMAGE = "default"
"""In place of a reference: the image that the tournament itself names."""

_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MEMORY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)([bkmg])", re.IGNORECASE)
_LEAST_MEMORY, _MOST_MEMORY = 64 << 20, 1 << 40
_SLOT = re.compile(r"[A-Za-z0-9_]{1,20}")
_UUID = re.compile(r"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_DATA_EXPECTED = '"shaped", or a mapping with the keys live, benchmarks'


def parse_reference(text: str) -> str:
    """Return an image reference as written, once it parses; or the word for the tournament's own.

    Raises:
        ValueError: It does not.
    """
    if text != DEFAULT_IMAGE:
        reference.parse(text)
    return text


def read_memory(text: str) -> int:
    """Return bytes from an amount in Docker's units.

    Raises:
        ValueError: It is none, or less or more than makes sense.
    """
    match = _MEMORY.fullmatch(text)
    if not match:
        raise ValueError(f"{describe(text)} is not an amount of memory; write it like 4g or 512m")
    size = int(float(match[1]) * _UNITS[match[2].lower()])
    if not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        raise ValueError(f"{describe(text)} is invalid; expected from 64m to 1024g")
    return size


def write_memory(size: int) -> str:
    """Return an amount of bytes in the largest unit that divides it."""
    unit = next(unit for unit in "gmkb" if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]}{unit}"


def read_data_word(text: str) -> str:
    """Return ``shaped``.

    Raises:
        ValueError: It is another word.
    """
    if text == "live":
        raise ValueError(
            f'"live" (data fetched from the tournament) comes with a later version; write {_DATA_EXPECTED}'
        )
    if text != "shaped":
        raise ValueError(f"{describe(text)} is invalid; expected {_DATA_EXPECTED}")
    return text


def path_fault(path: Path, *, sort: Sort) -> str:
    """Return why a path will not do where it stands; nothing where it may. What is in it is not looked at.

    Args:
        path: Absolute, links resolved.
        sort: What is needed there: a bundle's folder or zip, its zip alone, or a parquet file, which may come later.
    """
    # Not Path's own methods, which raise for names that are too long.
    is_folder, there, is_file = os.path.isdir(path), os.path.exists(path), os.path.isfile(path)  # noqa: PTH110, PTH112, PTH113
    if sort == "parquet":
        return "is a folder; name a parquet file" if is_folder else ""
    good = f"{'the folder that holds bundle.json, or ' if sort == 'bundle' else ''}a NAME.bundle.zip"
    if is_folder:
        return "" if sort == "bundle" else f"is a folder; name {good}"
    if not there:
        return f"does not exist; name {good}"
    if not is_file or path.suffix != ".zip":
        return f"is not {'a folder or ' if sort == 'bundle' else ''}a .zip; name {good}"
    return ""


def read_sha256(text: str) -> str:
    """Return a sha256 in small letters.

    Raises:
        ValueError: It is none.
    """
    found = text.lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", found):
        shown = describe(text)
        raise ValueError(f"{shown} is not a sha256; expected 64 digits 0-9 a-f, as `sha256sum NAME.bundle.zip` prints")
    return found


def read_model(text: str) -> str:
    """Return a slot's name or a model id.

    Raises:
        ValueError: It is neither.
    """
    if _SLOT.fullmatch(text) or _UUID.fullmatch(text):
        return text
    shown = describe(text)
    if re.fullmatch(r"\w{21,}", text, re.ASCII):
        raise ValueError(f"{shown} has {len(text)} characters; a slot's name has at most 20")
    if "-" in text:
        raise ValueError(f"{shown} is not a model id; expected a UUID (8-4-4-4-12 digits 0-9 a-f) or a slot's name")
    raise ValueError(f"{shown} is not a slot's name; expected 1 to 20 of A-Z a-z 0-9 _, or a model id (a UUID)")
