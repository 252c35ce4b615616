"""Check of custom GraphQL queries."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import errors
from builder.tournament import query_check


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ account { username } }", False),
        ("query { account { username } }", False),
        ("query mutation { mutation }", False),
        ("# mutation\n{ a }", False),
        ('{ a(text: "mutation { b }") }', False),
        ("query a { ...f } fragment f on Query { a }", False),
        ("mutation { a }", True),
        ("  ,\n mutation a($b: ID) { a(b: $b) }", True),
        ("fragment f on Mutation { a } mutation { ...f }", True),
        ("subscription { a }", True),
    ],
)
def test_mutations_are_detected_by_parsing(text: str, expected: bool) -> None:  # noqa: FBT001
    assert query_check.is_mutation(text) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1"),
        ("{ account {", "line 1, column 12"),
        ("\n{ a } }", "line 2, column 7"),
        ("query a { b } mutation c { d }", "contains 2 operations"),
        ("type A { b: Int }", "contains a type definition"),
        ("fragment f on A { b }", "contains 0 operations"),
        ("{a" * 5_000, "nested too deep"),
        ("{ a " + "b " * 30_000 + "}", "tokens"),
    ],
)
def test_invalid_query_is_rejected(text: str, message: str) -> None:
    with pytest.raises(errors.UsageError, match="the query: ") as caught:
        query_check.is_mutation(text)
    assert message in str(caught.value)


@given(st.text(alphabet='{}()$:!@#"\\ \nabmutationquery…\x00', max_size=60) | st.text(max_size=60))
def test_any_text_is_checked_or_rejected(text: str) -> None:
    with contextlib.suppress(errors.UsageError):
        assert query_check.is_mutation(text) in {True, False}


@pytest.mark.parametrize("text", ["", "[]", "1", "{", "null", "[" * 100_000])
def test_variables_must_be_an_object(text: str) -> None:
    with pytest.raises(errors.UsageError, match=r"--variables: not (valid|a) JSON"):
        query_check.read_variables(text)
    assert query_check.read_variables('{"a": 1}') == {"a": 1}
