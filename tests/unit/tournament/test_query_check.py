"""Whether a GraphQL text of the user's own changes something."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import errors
from builder.tournament import query_check


@pytest.mark.parametrize(
    ("text", "changes"),
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
def test_what_is_a_mutation_is_told_by_a_parser(text: str, changes: bool) -> None:  # noqa: FBT001
    assert query_check.is_mutation(text) is changes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1"),
        ("{ account {", "line 1, column 12"),
        ("\n{ a } }", "line 2, column 7"),
        ("query a { b } mutation c { d }", "has 2 operations"),
        ("type A { b: Int }", "has 0 operations and a type"),
        ("fragment f on A { b }", "has 0 operations"),
        ("{a" * 5_000, "nested too deep"),
        ("{ a " + "b " * 30_000 + "}", "tokens"),
    ],
)
def test_what_is_not_one_operation_is_refused(text: str, said: str) -> None:
    with pytest.raises(errors.UsageError, match="the query: ") as caught:
        query_check.is_mutation(text)
    assert said in str(caught.value)


@given(st.text(alphabet='{}()$:!@#"\\ \nabmutationquery…\x00', max_size=60) | st.text(max_size=60))
def test_any_text_is_a_question_or_refused(text: str) -> None:
    with contextlib.suppress(errors.UsageError):
        assert query_check.is_mutation(text) in {True, False}


@pytest.mark.parametrize("text", ["", "[]", "1", "{", "null", "[" * 100_000])
def test_variables_are_an_object(text: str) -> None:
    with pytest.raises(errors.UsageError, match="--variables: is no JSON"):
        query_check.read_variables(text)
    assert query_check.read_variables('{"a": 1}') == {"a": 1}
