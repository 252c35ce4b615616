"""Parse the config values that are written as text: references, amounts of memory, hashes, slots, paths."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from builder import schema
from builder.registry import reference
from builder.text import describe

Name = Annotated[str, schema.require_pattern(r"[a-z0-9_-]{1,40}", "of 1 to 40 characters a-z 0-9 _ -")]
"""A model's name: of its config, its manifest and its folder in ``dist``."""

PathKind = Literal["bundle", "archive", "pickle", "parquet"]

DEFAULT_IMAGE = "default"
"""Instead of a reference: the image that the tournament runs pickles in by default."""

# As `docker run --memory`, in powers of 1024:
# https://docs.docker.com/engine/containers/resource_constraints/#limit-a-containers-access-to-memory
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MEMORY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)([bkmg])", re.IGNORECASE)
_MIN_MEMORY, _MAX_MEMORY = 64 << 20, 1 << 40
# Wider than what a new slot may be named, because the account is searched ignoring case.
_SLOT = re.compile(r"[A-Za-z0-9_]{1,20}")
_UUID = re.compile(r"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_DATA_WORDS = ("shaped", "live")
_DATA_EXPECTED = '"shaped", "live", or a mapping with the keys live, benchmarks'


def parse_reference(text: str) -> str:
    """Return an image reference, or ``default``, unchanged if it is valid.

    Raises:
        ValueError: It is not valid.
    """
    if text != DEFAULT_IMAGE:
        reference.parse(text)
    return text


def parse_memory(text: str) -> int:
    """Return bytes from an amount in Docker's units, such as ``4g``.

    Raises:
        ValueError: It is not an amount, or not from 64m to 1024g.
    """
    match = _MEMORY.fullmatch(text)
    if not match:
        raise ValueError(f"{describe(text)} is not an amount of memory; write it like 4g or 512m")
    size = int(float(match[1]) * _UNITS[match[2].lower()])
    if not _MIN_MEMORY <= size <= _MAX_MEMORY:
        raise ValueError(f"{describe(text)} is invalid; expected from 64m to 1024g")
    return size


def format_memory(size: int) -> str:
    """Return an amount of bytes in the largest of Docker's units that divides it."""
    unit = next(unit for unit in "gmkb" if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]}{unit}"


def parse_data_word(text: str) -> str:
    """Return ``shaped`` or ``live`` unchanged.

    Raises:
        ValueError: It is another word.
    """
    if text not in _DATA_WORDS:
        raise ValueError(f"{describe(text)} is invalid; expected {_DATA_EXPECTED}")
    return text


def find_path_problem(path: Path, *, kind: PathKind) -> str:
    """Return why a path is invalid, as the end of a sentence, or an empty text; no file is opened.

    Args:
        path: Absolute, with links resolved.
        kind: What is expected: a bundle's folder or zip, only its zip, or a pickle or a parquet file, which need not
            exist yet.
    """
    # os.path, since the methods of Path raise OSError for names that are too long.
    is_folder, exists, is_file = os.path.isdir(path), os.path.exists(path), os.path.isfile(path)  # noqa: PTH110, PTH112, PTH113
    if kind in {"parquet", "pickle"}:
        return f"is a folder; expected a {kind} file" if is_folder else ""
    expected = f"{'the folder that contains bundle.json, or ' if kind == 'bundle' else ''}a NAME.bundle.zip"
    if is_folder:
        return "" if kind == "bundle" else f"is a folder; expected {expected}"
    if not exists:
        return f"does not exist; expected {expected}"
    if not is_file or path.suffix != ".zip":
        return f"is not {'a folder or ' if kind == 'bundle' else ''}a .zip; expected {expected}"
    return ""


def parse_sha256(text: str) -> str:
    """Return a sha256 in lower case, without the prefix ``sha256:``.

    Raises:
        ValueError: It is not a sha256.
    """
    sha256 = text.lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(
            f"{describe(text)} is not a sha256; expected 64 digits 0-9 a-f, as `sha256sum NAME.bundle.zip` prints"
        )
    return sha256


def parse_model(text: str) -> str:
    """Return a slot's name or a model id unchanged if it is valid.

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
