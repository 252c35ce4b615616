"""What a YAML scalar means here: what YAML 1.1, YAML 1.2 and the person who reads it agree on, and else a complaint."""

from __future__ import annotations

import math
import re
from typing import Any

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+][0-9]{1,4})?")
_SHORT_EXPONENT = re.compile(r"([-+]?[0-9][0-9_]*)(\.[0-9]*)?[eE]([-+]?)([0-9]+)")
_BOOLEAN = re.compile(r"(?i:y|n|yes|no|on|off|true|false)")
_NOT_FINITE = re.compile(r"[-+]?\.(?i:inf|nan)")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:.*)?")
_OTHER_NUMBER = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0[bB][01_]+|[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)"
)
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def resolve(text: str, *, is_plain: bool) -> tuple[Any, str | None]:  # noqa: PLR0911 - one return a sort of value
    """Return the value of a scalar and None, or its text and what is wrong with it.

    Args:
        text: The scalar as the parser gives it, quotes and escapes undone.
        is_plain: Whether it stood without quotes.
    """
    if UNPRINTABLE.search(text):
        return text, "the text has a control character in it; remove it"
    if not is_plain:
        return text, None
    if text in {"", "~", "null", "Null", "NULL"}:
        return None, None
    if text in {"true", "false"}:
        return text == "true", None
    if _INTEGER.fullmatch(text):
        return int(text), None
    if _DECIMAL.fullmatch(text) and math.isfinite(float(text)):
        return float(text), None
    return text, _trap(text)


def _trap(text: str) -> str | None:  # noqa: PLR0911 - one return a trap
    """Return what is wrong with a plain scalar that reads as something else than it looks like."""
    if len(text) > 100:
        return None
    if _BOOLEAN.fullmatch(text):
        return f'{text} is a truth value to some YAML readers; write true or false, or "{text}" if it is text'
    if _NOT_FINITE.fullmatch(text) or _DECIMAL.fullmatch(text):
        return f'{text} is not a finite number; write one, or "{text}" if it is text'
    if match := _SHORT_EXPONENT.fullmatch(text):
        whole, fraction, sign, exponent = match.groups()
        fraction = fraction if fraction and len(fraction) > 1 else ".0"
        return f'{text} reads as text; write {whole}{fraction}e{sign or "+"}{exponent}, or "{text}" if it is text'
    if _SEXAGESIMAL.fullmatch(text):
        return f'{text} is a number to base 60 to some YAML readers; write "{text}" if it is text'
    if _DATE.fullmatch(text):
        return f'{text} reads as a date; write "{text}" if it is text'
    if _OTHER_NUMBER.fullmatch(text):
        return f'{text} is not the same number to every YAML reader; write it like 12 or 0.5, or "{text}" if it is text'
    return None
