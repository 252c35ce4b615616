"""What is asked of the tournament's API follows its schema, and answers are read whatever is null in them."""

from __future__ import annotations

import datetime as dt
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import graphql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import errors, tournament
from builder.tournament import queries, reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder import api

SCHEMA = graphql.build_schema((Path(__file__).parents[1] / "sandbox" / "schema.graphql").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", queries.TEXTS)
def test_each_text_is_of_the_schema(name: str) -> None:
    document = graphql.parse(queries.TEXTS[name])
    assert graphql.validate(SCHEMA, document) == []
    (operation,) = document.definitions
    assert isinstance(operation, graphql.OperationDefinitionNode)
    assert operation.name is not None
    assert operation.name.value == name
    answered = [one for one in operation.selection_set.selections if isinstance(one, graphql.FieldNode)]
    assert tuple((one.alias or one.name).value for one in answered) == queries.ROOTS[name]


def test_a_text_that_asks_for_too_much_would_be_found() -> None:
    assert graphql.validate(SCHEMA, graphql.parse("query { account { secret } }"))


class Nonsense:
    """A client whose every answer has what was asked for, and none of it as the schema has it."""

    where = "the API"

    def __init__(self) -> None:
        self.told: list[str] = []

    def query(self, text: str, _variables: Mapping[str, Any], *, what: str) -> dict[str, Any]:
        assert what
        document = graphql.parse(text).definitions[0]
        assert isinstance(document, graphql.OperationDefinitionNode)
        assert document.name
        return dict.fromkeys(queries.ROOTS[document.name.value], cast("Any", 7))

    def mutate(self, text: str, _variables: Mapping[str, Any], *, what: str) -> dict[str, Any]:
        self.told.append(text)
        return self.query(text, _variables, what=what)


# Of these any answer is text, or true or false, or nothing that is read.
_ANY_ANSWER_WILL_DO = {"assign", "dataset_url", "name_available", "set_label", "set_webhook"}


@pytest.mark.parametrize("name", [name for name in vars(tournament.Tournament) if not name.startswith("_")])
def test_an_answer_that_cannot_be_read_is_said_and_what_was_ordered_may_have_been_done(name: str) -> None:
    client = Nonsense()
    ask = getattr(tournament.Tournament(cast("api.Client", client)), name)
    named = {
        parameter.name: dt.datetime(2026, 11, 28, tzinfo=dt.UTC) if parameter.name == "now" else "x"
        for parameter in inspect.signature(ask).parameters.values()
        if parameter.default is inspect.Parameter.empty
    }
    if name in _ANY_ANSWER_WILL_DO:
        ask(**named)
        return
    with pytest.raises(errors.ApiError if not _is_order(name) else errors.UnansweredError) as caught:
        ask(**named)
    assert "not what the API's schema says" in str(caught.value)
    assert bool(client.told) == _is_order(name)


def _is_order(name: str) -> bool:
    return name in {"create_pickle", "create_slot", "trigger"}


@pytest.mark.parametrize(
    ("word", "good"),
    [
        ("success", True),
        ("VALIDATED", True),
        ("Failed", False),
        ("error", False),
        ("pending", None),
        ("teleporting", None),
        ("", None),
    ],
)
def test_status_words_in_either_case(word: str, *, good: bool | None) -> None:
    assert tournament.verdict(word) is good


@pytest.mark.parametrize(
    ("stake", "said"),
    [
        (None, ""),
        ({"status": None, "latestValue": None}, ""),
        ({"status": "live", "latestValue": "0.000"}, ""),
        ({"status": "live", "latestValue": "12.5"}, "12.5"),
        ({"status": "live"}, "live"),
    ],
)
def test_what_is_at_stake(stake: dict[str, Any] | None, said: str) -> None:
    assert reading.slot({"v2Stake": stake}).stake == said


def test_a_round_is_open_from_its_opening_to_its_close() -> None:
    found = reading.round_of({"number": 7, "openTime": "2026-11-24T12:00:00Z", "closeTime": "2026-11-24T13:00:00Z"})
    at = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
    assert found.is_open(at)
    assert not found.is_open(at + dt.timedelta(hours=1))
    assert not found.is_open(at - dt.timedelta(seconds=1))


@given(
    st.recursive(
        st.none() | st.text(max_size=5) | st.integers(),
        lambda inner: st.fixed_dictionaries(
            {}, optional={"id": inner, "filename": st.none() | st.text(), "validationStatus": st.none() | st.text()}
        ),
        max_leaves=4,
    ).filter(lambda one: isinstance(one, dict))
)
def test_whatever_is_null_is_empty(data: dict[str, Any]) -> None:
    found = reading.pickle(data)
    assert isinstance(found.filename, str)
    assert found.triggers == ()
