"""Formatting for messages: values, lists of names, and untrusted text made safe to print."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_LONGEST_LINE = 300


def describe(value: object) -> str:  # noqa: PLR0911 - one return a sort of value
    """Return a value as a message shows it: text in quotes and cut, containers by their sort."""
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
    """Return the first few of several, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def find_nearest(word: object, words: Iterable[str]) -> str | None:
    """Return the one of some names that a mistyped word was likely meant for."""
    import difflib  # noqa: PLC0415 - only a problem waits for it

    # difflib is quadratic in the length of the word, and names are short.
    known = {name.lower(): name for name in words}
    near = difflib.get_close_matches(str(word)[:40].lower(), known, n=1)
    return known[near[0]] if near else None


def escape(text: str | Path) -> str:
    """Return a text for a terminal or a comment: nothing in it moves a cursor, ends a line or turns its direction."""
    text = str(text)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def escape_lines(text: str) -> str:
    """Return a text of several lines for a terminal, each line escaped."""
    return "\n".join(map(escape, text.replace("\t", "    ").split("\n")))


def replace_unprintable(text: str) -> str:
    """Return a line with spaces for what cannot be printed, and none at its end."""
    return "".join(char if char.isprintable() else " " for char in text).rstrip()


def sanitize(text: str) -> str:
    """Return what somebody else wrote on one line that can be printed, cut to a readable length."""
    return " ".join(replace_unprintable(text).split())[:_LONGEST_LINE]
