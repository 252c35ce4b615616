"""Reading the strict subset of YAML, and writing it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.config import strict_yaml

SETTINGS = settings(max_examples=40)


def read_problems(text: str | bytes) -> list[tuple[int, str]]:
    document = strict_yaml.read(text.encode() if isinstance(text, str) else text)
    return [(at[0], problem.text) for at, problem in document.problems]


def test_a_document_has_data_positions_and_spelling() -> None:
    document = strict_yaml.read(b"a: 1\nb:\n  - x\n  - {c: 3.10, d: true}\n'e': null\nf:\n")
    assert document.data == {"a": 1, "b": ["x", {"c": 3.1, "d": True}], "e": None, "f": None}
    assert document.problems == ()
    assert document.positions == {
        (): (1, 1),
        ("a",): (1, 1),
        ("b",): (2, 1),
        ("b", 0): (3, 5),
        ("b", 1): (4, 5),
        ("b", 1, "c"): (4, 6),
        ("b", 1, "d"): (4, 15),
        ("e",): (5, 1),
        ("f",): (6, 1),
    }
    assert document.spelling == {("a",): "1", ("b", 1, "c"): "3.10", ("b", 1, "d"): "true", ("e",): "null"}
    assert document.position(("b", 1, "z", 3)) == (4, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-17", -17),
        ("+1", 1),
        ("0", 0),
        ("1.5", 1.5),
        ("-0.25", -0.25),
        ("1.0e-3", 0.001),
        ("2.5e+3", 2500.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("4g", "4g"),
        ("v5.3", "v5.3"),
        ("a78dedd", "a78dedd"),
        ("0a78ded", "0a78ded"),
        ("1.2.3", "1.2.3"),
        ("ghcr.io/a/b:c", "ghcr.io/a/b:c"),
        ("a b  # c", "a b"),
        ("'1e-3'", "1e-3"),
        ('"NO"', "NO"),
        ("'012'", "012"),
        ('"a\\tb\\u00e9"', "a\tbé"),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_unambiguous_scalars_are_read(text: str, value: object) -> None:
    document = strict_yaml.read(f"a: {text}".encode())
    assert (document.data, document.problems) == ({"a": value}, ())
    assert type(document.data["a"]) is type(value)


NUMBERS = (
    "1e-3 1e3 -2.5E10 1.e3 0123 089 0o17 0x1f 0b11 1_000 6_000 1. .5 12:30:45 1:30 190:20:30.15 .nan -.INF 1.0e+999"
)
TRAPS = [
    *(
        (text, "a number like 12, 0.5 or 1.0e-3")
        for text in [*NUMBERS.split(), "9" * 50, "2026-01-31", "2026-01-31 10:00:00", "="]
    ),
    *((text, "true or false") for text in ("NO", "yes", "on", "Off", "True", "FALSE", "y", "N")),
]


@pytest.mark.parametrize(("text", "good"), TRAPS)
def test_ambiguous_scalars_are_refused(text: str, good: str) -> None:
    assert read_problems(f"b: 1\na: {text}") == [
        (2, f'{text} is not allowed without quotes; write {good}, or "{text}" if it is text')
    ]
    assert strict_yaml.read(f"a: {strict_yaml.write_flow(text)}".encode()).data == {"a": text}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key, also on line 1; remove one of them"),
        ("a: {b: 1, b: {c: 2}}\n", 1, "duplicate key, also on line 1; remove one of them"),
        ("a:\n\tb: 1\n", 2, "column 1: a tab is used for indentation; indent with spaces"),
        ("a:\n  b: 1\n\tc: 2\n", 3, "column 1: a tab is used for indentation; indent with spaces"),
        ("a:\n  - 1\n b: 2\n", 3, "column 2: the indentation matches no block above (opened on line 1); indent"),
        ("a: b: c\n", 1, "column 5: a key is not expected here; indent it like the other keys, or quote text"),
        ("b: 1\na: [1, 2\n", 2, "column 4: a [ or { is not closed (opened on line 2); close it, with commas"),
        ("b: 1\na: [\n", 3, "column 1: a [ or { is not closed; close it, with commas between the items"),
        ("b: 1\na: 'x\n", 2, "column 4: a quote is not closed (opened on line 2); close it"),
        ("a: x\nb\n", 2, "column 1: the colon after this key is missing; write key: value"),
        ("a: @b\n", 1, "column 4: text cannot start with this character; quote it"),
        ("a: &x [1]\n", 1, "anchors (&name) are not allowed; write the value out wherever it is used"),
        ("a: *x\n", 1, "aliases (*name) are not allowed; write the value out"),
        ("<<: {a: 1}\n", 1, "merge keys are not allowed; write the keys out"),
        ("? [a]\n: b\n", 1, "column 3: not a valid key; keys must be text"),
        ("1: a\n", 1, "this key is not text; quote it"),
        ("on: a\n", 1, "this key is not text; quote it"),
        (
            "a: !!python/object:os.system x\n",
            1,
            "the tag !!python/object:os.system is not allowed; write the plain value",
        ),
        ("a: !!str 1\n", 1, "the tag !!str is not allowed; write the plain value"),
        ("a: ! 1\n", 1, "the tag ! is not allowed; write the plain value"),
        ("a: !e!x 1\n", 1, "column 4: this tag is not allowed; write the plain value"),
        ("!!map {a: 1}\n", 1, "the tag !!map is not allowed; write the plain value"),
        ("a: 1\n--- \nb: 1\n", 2, "column 1: a second document starts here; expected one mapping (key: value)"),
        ("---\n", 2, "the file is empty; expected one mapping (key: value)"),
        ("- 1\n", 1, "the file contains a list; expected one mapping (key: value)"),
        ("a: \x07\n", 1, "column 4: a control character is not allowed; remove it"),
        ('a: "\\0"\n', 1, "the text contains a control character; remove it"),
        ("a: " + "[" * 100_000, 1, "column 35: lists and mappings are nested deeper than 32 levels; use fewer levels"),
        ("{" * 100_000, 1, "column 33: lists and mappings are nested deeper than 32 levels; use fewer levels"),
        (
            "a: " + "{a: " * 100_000,
            1,
            "column 128: lists and mappings are nested deeper than 32 levels; use fewer levels",
        ),
        ("- " * 100_000, 1, "column 65: lists and mappings are nested deeper than 32 levels; use fewer levels"),
    ],
)
def test_the_problem_of_an_invalid_file(text: str, line: int, message: str) -> None:
    ((at, problem),) = read_problems(text)
    assert (at, problem[: len(message)]) == (line, message)


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 25))
    problems = read_problems(bomb)
    assert problems[0] == (1, "anchors (&name) are not allowed; write the value out wherever it is used")
    assert len(problems) < 200


def test_all_problems_are_reported_in_the_order_of_the_file() -> None:
    text = "a: NO\nb: {c: 012, c: 3}\nd: *e\nf: [1, !!int 2]\na: 3\ng: [1\n"
    assert [line for line, _ in read_problems(text)] == [1, 2, 2, 3, 4, 5, 6]


def test_the_number_of_problems_is_limited() -> None:
    assert len(read_problems("".join(f"a{n}: NO\n" for n in range(1_000)))) == 100


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfa: 1", "a: 1".encode("utf-16"), b"\xff\xfea"])
def test_a_byte_order_mark_is_refused(text: bytes) -> None:
    ((line, problem),) = read_problems(text)
    assert line == 1
    assert problem.startswith("starts with a byte order mark; save the file")


def test_a_byte_that_is_not_utf_8_is_reported_with_its_position() -> None:
    assert read_problems(b"a: 1\nb: \xc3\xa9\xff\n") == [
        (2, "column 5: byte 0xff is not UTF-8; save the file as UTF-8")
    ]


@given(text=st.binary(max_size=80))
@SETTINGS
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    check(text)


YAMLISH = st.text(st.sampled_from(list("ab01 :-\n\t[]{},'\"&*!|>#%@?~.<=e_\\\x85\u2028\ufeff")), max_size=40)


@given(text=YAMLISH)
@SETTINGS
def test_any_text_that_looks_like_yaml_is_read_or_refused(text: str) -> None:
    check(text.encode())


def check(text: bytes) -> None:
    document = strict_yaml.read(text)
    assert isinstance(document.data, dict)
    lines = text.count(b"\n") + text.count(b"\r") + text.count(b"\x85") + text.count(b"\xe2\x80") + 2
    for (line, column), problem in document.problems:
        assert 1 <= line <= lines
        assert column >= 1
        assert problem.text


WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029\ufeff"), max_size=10
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(data=st.dictionaries(WORDS, PLAIN), indent=st.sampled_from([None, 0, 2]))
@SETTINGS
def test_json_is_read_as_json_reads_it(data: dict[str, Any], indent: int | None) -> None:
    # JSON is YAML in flow style, except for escapes of surrogate pairs, so non-ASCII text is not escaped here.
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    document = strict_yaml.read(text.encode())
    assert (document.problems, document.data) == ((), data)


@given(data=st.dictionaries(WORDS, PLAIN | st.floats(allow_nan=False, allow_infinity=False)))
@SETTINGS
def test_written_data_is_read_back(data: dict[str, Any]) -> None:
    for text in (strict_yaml.write(data), strict_yaml.write_flow(data)):
        document = strict_yaml.read(text.encode())
        assert (document.problems, document.data) == ((), data)
        assert text.replace("\n", "").isprintable()
