"""Detection of secrets in config files, by the names of keys and the form of values; messages never show them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.schema import KeyPath

MESSAGE = (
    "a secret does not belong in a config; use the environment (NUMERAI_PUBLIC_ID and NUMERAI_SECRET_KEY), "
    "and if this file was ever shared, make a new key"
)

_KEY = re.compile(r"(?i)token|secret|passw(?:or)?d|api[_-]?key|private[_-]?key|credential")
_VALUE = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z0-9]{6,}\$[A-Za-z0-9]{6,}|(?i:^\s*(?:token|bearer)\s+\S{6,})"
    r"|\b(?![A-F0-9]{64}\b)[A-Z0-9]{64}\b"  # a sha256 in capitals is none
)
MIN_LENGTH = 4
"""A secret shorter than this cannot be distinguished from other text."""


def find(data: object, spelling: Mapping[KeyPath, str]) -> set[KeyPath]:
    """Return every place that is a secret, holds one, or repeats one from elsewhere in the file."""
    scalars = [(path, spelling.get(path, str(value))) for path, value in _scalars(data, ())]
    secret_paths = {_top_of(path) or path for path, text in scalars if _top_of(path) or _VALUE.search(text)}
    texts = {text for path, text in scalars if len(text) >= MIN_LENGTH and is_hidden(secret_paths, path)}
    # A file with more secrets than this is not a config: equal texts are still found, parts of texts no longer.
    some = sorted(texts)[:50]
    return secret_paths | {path for path, text in scalars if text in texts or any(secret in text for secret in some)}


def is_secret_key(key: str) -> bool:
    """Whether a key is called like a secret."""
    return bool(_KEY.search(key))


def has_secret(text: str) -> bool:
    """Whether a text has a part that looks like a secret."""
    return bool(_VALUE.search(text))


def is_hidden(secret_paths: set[KeyPath], path: KeyPath) -> bool:
    """Whether a place is one of those found, lies below one, or is below a key that is called like a secret."""
    return _top_of(path) is not None or any(path[:length] in secret_paths for length in range(1, len(path) + 1))


def is_secret_part(part: str | int) -> bool:
    """Whether a key is itself a secret, so that no key path may show it."""
    return isinstance(part, str) and bool(_VALUE.search(part))


def _top_of(path: KeyPath) -> KeyPath | None:
    """Return the first part of a path whose key is called like a secret, or is one."""
    for length, part in enumerate(path, start=1):
        if isinstance(part, str) and (_KEY.search(part) or _VALUE.search(part)):
            return path[:length]
    return None


def _scalars(data: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(data, dict):
        for key, item in data.items():
            yield from _scalars(item, (*path, key))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from _scalars(item, (*path, index))
    else:
        yield path, data
