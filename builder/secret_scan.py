"""Detection of secrets in config files, by the names of keys and the form of values, so that messages hide them."""

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
    r"|\b(?![A-F0-9]{64}\b)[A-Z0-9]{64}\b"  # except an upper-case sha256
)
_PASSWORD = re.compile(r"(?<=://)[^/\s@]+@")
_MIN_HIDDEN = 6
MIN_LENGTH = 4
"""A secret shorter than this cannot be distinguished from other text."""


def find(data: object, spelling: Mapping[KeyPath, str]) -> set[KeyPath]:
    """Return the key paths of all secrets, and of all values that repeat a secret from elsewhere in the file."""
    scalars = [(path, spelling.get(path, str(value))) for path, value in _scalars(data, ())]
    secrets = {
        _find_secret_key(path) or path for path, text in scalars if _find_secret_key(path) or _VALUE.search(text)
    }
    texts = {text for path, text in scalars if len(text) >= MIN_LENGTH and is_hidden(secrets, path)}
    # The search inside of longer texts is quadratic; a config has few secrets, so it is limited to 50 of them.
    parts = sorted(texts)[:50]
    return secrets | {path for path, text in scalars if text in texts or any(part in text for part in parts)}


def hide(text: str, environment: Mapping[str, str]) -> str:
    """Mask in a text what looks like a secret, passwords in addresses, and the environment's secrets.

    These are the values of all variables with the name of a secret, and of this tool's settings.
    """
    for name, value in environment.items():
        if _KEY.search(name) or name.startswith("NUMERAI_"):
            for part in {value, *value.split("$"), *value.split()}:
                if len(part) >= _MIN_HIDDEN and not part.startswith("http"):
                    text = text.replace(part, "********")
    return _PASSWORD.sub("********@", _VALUE.sub("********", text))


def is_secret_key(key: str) -> bool:
    """Return whether the name of a key is that of a secret, such as ``api_key``."""
    return bool(_KEY.search(key))


def has_secret(text: str) -> bool:
    """Return whether a text contains something that looks like a secret."""
    return bool(_VALUE.search(text))


def is_hidden(secrets: set[KeyPath], path: KeyPath) -> bool:
    """Return whether messages must hide a value: its path, or a parent of it, is a secret or has the name of one."""
    return _find_secret_key(path) is not None or any(path[:length] in secrets for length in range(1, len(path) + 1))


def is_secret_part(part: str | int) -> bool:
    """Return whether a part of a key path is itself a secret, so that messages must not show it."""
    return isinstance(part, str) and bool(_VALUE.search(part))


def _find_secret_key(path: KeyPath) -> KeyPath | None:
    """Return the path up to its first key that has the name of a secret, or is a secret; None if there is none."""
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
