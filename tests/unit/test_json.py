"""Strict JSON: the problems with their key paths, and canonical output."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import schema

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (b'{"a": {"b": 1, "b": 2}}', ("a", "b"), "duplicate key; remove one of them"),
        (b'{"a": [0, NaN]}', ("a", 1), "NaN is not a finite number; expected a number"),
        (b'{"a": -Infinity}', ("a",), "-Infinity is not a finite number; expected a number"),
        (b'{"a": 1e999}', ("a",), "1e999 is not a finite number; expected a number"),
        (b'{"a": ' + b"1" * 9_000 + b"}", ("a",), "11111111111111111... is not a finite number; expected a number"),
        (b'{"a": "\\ud800"}', ("a",), "the text contains a lone surrogate; expected valid Unicode"),
        (
            b'{"\\ud800": 1}',
            (),
            'the key "\\ud800" is invalid: the text contains a lone surrogate; expected valid Unicode',
        ),
        (b"[1]", (), "the file does not contain a JSON object; expected {...}"),
        (b"", (), "line 1, column 1: not valid JSON (Expecting value); write the file again"),
        (b'{"a": 1,\n"b"}', (), "line 2, column 4: not valid JSON (Expecting ':' delimiter); write the file again"),
        (b'{"a": "\xff"}', (), "byte 8 is not UTF-8; expected JSON in UTF-8"),
        (b"\xef\xbb\xbf{}", (), "starts with a byte order mark; expected plain UTF-8"),
        (b"[" * 100_000, (), "lists and objects nest deeper than 64; this file was not written by this tool"),
        (b'{"a":' * 100_000, (), "lists and objects nest deeper than 64; this file was not written by this tool"),
    ],
)
def test_invalid_json_is_refused_with_a_key_path(text: bytes, path: schema.KeyPath, message: str) -> None:
    problems = schema.read_json(text)
    assert isinstance(problems, list)
    assert [(problem.path, problem.text) for problem in problems] == [(path, message)]


def test_all_problems_are_reported_together() -> None:
    problems = schema.read_json(b'{"a": NaN, "b": {"c": 1, "c": Infinity}, "a": 2}')
    assert isinstance(problems, list)
    assert [problem.path for problem in problems] == [("a",), ("b", "c"), ("b", "c"), ("a",)]


def test_brackets_in_text_do_not_count_as_nesting() -> None:
    assert schema.read_json(json.dumps({"a": "[" * 500 + '"\\' + "{" * 500}).encode()) == {
        "a": "[" * 500 + '"\\' + "{" * 500
    }


def test_an_unterminated_text_is_read_in_linear_time() -> None:
    # Quadratic time would not end within the test run.
    assert isinstance(schema.read_json(b'{"a": "' + b'\\"' * 2_000_000), list)


@given(data=st.dictionaries(st.text(), PLAIN))
@settings(max_examples=50)
def test_reading_inverts_writing(data: dict[str, Any]) -> None:
    text = schema.canonical_json(data)
    assert schema.read_json(text) == data
    assert schema.canonical_json(schema.read_json(text)) == text


@given(text=st.binary(max_size=60) | st.text('{}[]",:1e-\\uNaInfity ', max_size=40).map(str.encode))
@settings(max_examples=50)
def test_any_bytes_give_a_mapping_or_problems(text: bytes) -> None:
    read = schema.read_json(text)
    if isinstance(read, list):
        assert read
        assert all(isinstance(problem, schema.Problem) for problem in read)


def test_the_order_of_keys_and_the_type_of_a_list_do_not_matter() -> None:
    assert schema.canonical_json({"b": (1, 2.0), "a": "é"}) == schema.canonical_json({"a": "é", "b": [1, 2.0]})
    assert schema.canonical_json({"b": (1, 2.0), "a": "é"}) == '{"a":"é","b":[1,2.0]}'.encode()


@pytest.mark.parametrize("data", [math.nan, [math.inf], {"a": -math.inf}, "\ud800"])
def test_numbers_and_text_that_json_cannot_represent(data: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own messages
        schema.canonical_json(data)


@pytest.mark.parametrize("data", [{1: 2}, [{None: 1}], {"a": object()}, {"a": {1, 2}}, b"x"])
def test_values_that_json_cannot_represent(data: object) -> None:
    with pytest.raises(TypeError):
        schema.canonical_json(data)
