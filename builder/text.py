"""Formatting for messages: values, lists of names, and untrusted text made safe to print."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_LONGEST_LINE = 300
_MAX_PRINTED = 2_000
"""Characters of a line that are printed; a longer one is not text for people."""


def describe(value: object) -> str:  # noqa: PLR0911 - one return for each type
    """Format a value for a message: text quoted and cut to 60 characters, containers as their type only."""
    if isinstance(value, str):
        cut = value if len(value) <= 60 else value[:57] + "..."
        plain = cut.replace("\\", "\\\\") if cut.isprintable() else escape(cut)
        return '"' + plain.replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**40:
        # Python refuses to print integers of more than 4,300 digits.
        return "a huge number"
    return str(value)


def format_list(names: Sequence[object], *, most: int = 5) -> str:
    """Join the first ``most`` names with commas, and append how many more there are: ``a, b and 3 more``."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def find_nearest(word: object, words: Iterable[str]) -> str | None:
    """Return the word that is most similar to a mistyped one, ignoring case; None if none is similar."""
    import difflib  # noqa: PLC0415 - only messages about problems use it

    # difflib is quadratic in the length of the word, and names are short.
    originals = {name.lower(): name for name in words}
    near = difflib.get_close_matches(str(word)[:40].lower(), originals, n=1)
    return originals[near[0]] if near else None


def escape(text: str | Path) -> str:
    """Escape a text for one line of a terminal or a comment: no control characters, newlines or direction marks."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def escape_line(text: str) -> str:
    """Escape a text for one line of a terminal, and cut it if it is very long; tabs become four spaces."""
    more = f"... ({len(text) - _MAX_PRINTED:,} more characters)" if len(text) > _MAX_PRINTED else ""
    return escape(text[:_MAX_PRINTED].replace("\t", "    ")) + more


def escape_lines(text: str) -> str:
    """Escape each line of a text for a terminal, as ``escape_line`` does."""
    return "\n".join(map(escape_line, text.split("\n")))


def replace_unprintable(text: str) -> str:
    """Replace what is not printable in a line with spaces, and strip trailing spaces."""
    return "".join(char if char.isprintable() else " " for char in text).rstrip()


def sanitize(text: str) -> str:
    """Return an untrusted text as one printable line of at most 300 characters."""
    return " ".join(replace_unprintable(text).split())[:_LONGEST_LINE]
