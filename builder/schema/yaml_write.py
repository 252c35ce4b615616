"""Plain values written as YAML, so that every reader of it, ours and others, reads the same. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from builder.schema import yaml_scalar

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,100}")


def flow(value: Any) -> str:
    """Return plain data as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def scalar(value: object) -> str:
    """Return one value as YAML, in quotes wherever it could be read as something else.

    Args:
        value: str without control characters, bool, int, or a finite float.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        digits, letter, exponent = repr(value).partition("e")
        return f"{digits}{'' if '.' in digits else '.0'}{letter}{exponent}"
    if not isinstance(value, str):
        return str(value)
    if _PLAIN.fullmatch(value) and yaml_scalar.resolve(value, is_plain=True) == (value, None):
        return value
    # JSON's text is YAML's, but for what YAML wants escaped.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
