"""Formatting for messages: untrusted text cannot move the cursor or fill the screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import text


def test_sanitize_gives_one_printable_line() -> None:
    assert text.sanitize("a\n\x1b[2Jb" + "c" * 400) == ("a [2Jb" + "c" * 400)[:300]


def test_escape_keeps_printable_text() -> None:
    assert text.escape("é \u6587 name") == "é \u6587 name"


@pytest.mark.parametrize("bad", ["\x1b[2J", "a\nb", "\u202ename", "\udcff"])
def test_escape_removes_what_moves_the_cursor(bad: str) -> None:
    assert text.escape(bad).isprintable()
    assert text.escape(Path(bad)).isprintable()


def test_escape_keeps_what_is_printable_beside_what_is_not() -> None:
    assert text.escape("\u00e9\u202e\x9b") == "\u00e9" + r"\u202e\x9b"


def test_a_very_long_line_is_cut() -> None:
    assert text.escape_lines("a" * 5_000 + "\nb") == "a" * 2_000 + "... (3,000 more characters)\nb"


def test_escape_lines_keeps_lines() -> None:
    assert text.escape_lines("a\n\tb\x1b[2J") == "a\n    b\\x1b[2J"


def test_replace_unprintable_keeps_the_length_except_trailing_spaces() -> None:
    assert text.replace_unprintable("a\tb\x1bc \n") == "a b c"


def test_format_list_counts_the_omitted_names() -> None:
    assert text.format_list(range(1_003), most=3) == "0, 1, 2 and 1,000 more"
    assert text.format_list(["a", "b"]) == "a, b"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a" * 61, f'"{"a" * 57}..."'),
        ('a"b\\', r'"a\"b\\"'),
        ("\x1b[2J", r'"\x1b[2J"'),
        (True, "true"),
        (None, "nothing"),
        ({"a": 1}, "a mapping"),
        ([1], "a list"),
        pytest.param(10**5_000, "a huge number", id="huge"),
        (3.5, "3.5"),
    ],
)
def test_describe(value: object, shown: str) -> None:
    assert text.describe(value) == shown
