"""What is asked of the tournament's API follows its schema, and answers are read whatever is null in them."""

from __future__ import annotations

import datetime as dt
import inspect
from typing import TYPE_CHECKING, Any, cast

import graphql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import errors, paths, tournament
from builder.tournament import queries, reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.tournament import client as api

SCHEMA = graphql.build_schema((paths.PACKAGE / "sandbox" / "schema.graphql").read_text(encoding="utf-8"))


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
    ask = getattr(tournament.Tournament(cast("api.ApiClient", client)), name)
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


_GOOD = ("succeeded", "success", "passed", "validated", "completed")
_BAD = ("failed", "error", "invalid")
_IN_PROGRESS = ("queued", "pending", "running", "validating")
_UNKNOWN = (
    *("invalidated", "unvalidated", "unsuccessful", "failing", "teleporting"),
    *("validated_maybe", "failed 2", "success!", "FAİLED"),
)


def _spellings(word: str) -> tuple[str, ...]:
    return (word, word.upper(), word.title(), f"submission_{word}", f"MODEL-{word}", f"is it {word}", f" {word}_")


@pytest.mark.parametrize("word", [each for word in (*_GOOD, *_BAD, *_IN_PROGRESS) for each in _spellings(word)])
def test_a_status_is_classified_by_its_last_word_in_any_case(word: str) -> None:
    last = word.strip(" _").replace("-", "_").replace(" ", "_").rpartition("_")[2].lower()
    assert tournament.verdict(word) is (True if last in _GOOD else False if last in _BAD else None)
    assert tournament.is_in_progress(word) is (last in _IN_PROGRESS)
    assert tournament.is_unknown(word) is False
    assert tournament.is_their_fault(word) is (last == "error")


@pytest.mark.parametrize("word", [*_UNKNOWN, "validated_un-known", "succeeded at_last"])
def test_an_unknown_status_is_neither_good_nor_bad_nor_in_progress(word: str) -> None:
    assert (tournament.verdict(word), tournament.is_in_progress(word), tournament.is_unknown(word)) == (
        None,
        False,
        True,
    )


@pytest.mark.parametrize("word", ["", " ", "_-"])
def test_an_empty_status_is_not_an_unknown_one(word: str) -> None:
    assert (tournament.verdict(word), tournament.is_in_progress(word), tournament.is_unknown(word)) == (
        None,
        False,
        False,
    )


def test_a_run_without_a_status_has_that_of_its_last_step_or_of_the_pickle_if_it_is_the_newest() -> None:
    steps = [{"status": "queued"}, {"status": "model_failed"}]
    runs = [
        {"id": "old", "insertedAt": "2026-03-09T12:00:00Z"},
        {"id": "steps", "insertedAt": "2026-03-10T12:00:00Z", "statuses": steps},
        {"id": "newest", "insertedAt": "2026-03-11T12:00:00Z"},
    ]
    found = reading.pickle({"triggerStatus": "submission_succeeded", "triggers": runs})
    assert {one.id: one.status for one in found.triggers} == {
        "old": "",
        "steps": "model_failed",
        "newest": "submission_succeeded",
    }
    own = reading.pickle({"triggerStatus": "submission_succeeded", "triggers": [{"id": "a", "status": "queued"}]})
    assert [one.status for one in own.triggers] == ["queued"]


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
