"""What is asked of the tournament's API follows its schema, and so does what is believed of its answers."""

from __future__ import annotations

import copy
import datetime as dt
import inspect
import re
from typing import TYPE_CHECKING, Any, cast

import graphql
import pytest
from pydantic import TypeAdapter

from builder import errors, paths, tournament
from builder.tournament import queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from builder.tournament import client as api

SCHEMA = graphql.build_schema((paths.PACKAGE / "sandbox" / "schema.graphql").read_text(encoding="utf-8"))
NOT_OF_THE_SCHEMA = "the answer is not what the API's schema says of"


def operation(text: str) -> graphql.OperationDefinitionNode:
    (found,) = graphql.parse(text).definitions
    assert isinstance(found, graphql.OperationDefinitionNode)
    return found


@pytest.mark.parametrize("name", queries.QUERIES)
def test_each_text_is_of_the_schema(name: str) -> None:
    query = queries.QUERIES[name]
    assert graphql.validate(SCHEMA, graphql.parse(query.text)) == []
    found = operation(query.text)
    assert found.name is not None
    assert (query.name, found.name.value) == (name, name)
    answered = [one for one in found.selection_set.selections if isinstance(one, graphql.FieldNode)]
    assert tuple((one.alias or one.name).value for one in answered) == query.roots


def test_a_text_that_asks_for_too_much_would_be_found() -> None:
    assert graphql.validate(SCHEMA, graphql.parse("query { account { secret } }"))


# ---- answers


class Answering:
    """A client whose every answer is what a function makes of the text."""

    display_url = "the API"

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self.told: list[str] = []
        self._answer = answer

    def query(self, text: str, _variables: Mapping[str, Any], *, what: str) -> dict[str, Any]:
        assert what
        return cast("dict[str, Any]", self._answer(text))

    def mutate(self, text: str, _variables: Mapping[str, Any], *, what: str) -> dict[str, Any]:
        self.told.append(text)
        return self.query(text, _variables, what=what)

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 11, 28, tzinfo=dt.UTC)


def ask(name: str, answer: Callable[[str], Any]) -> None:
    """Ask what a method asks; what cannot be read of an order's answer is no answer."""
    client = Answering(answer)
    method = getattr(tournament.Tournament(cast("api.ApiClient", client)), name)
    parameters = inspect.signature(method).parameters.values()
    needed = {one.name: "x" for one in parameters if one.default is inspect.Parameter.empty}
    try:
        method(**needed)
    except errors.UnavailableError:
        assert client.told
        raise
    except errors.NetworkError:
        assert not client.told
        raise


METHODS = [name for name in vars(tournament.Tournament) if not name.startswith("_") and name != "now"]


def whole(kind: Any, asked: graphql.SelectionSetNode | None) -> Any:
    """Return a value with nothing left out: one item in each list."""
    if isinstance(kind, graphql.GraphQLList):
        return [whole(kind.of_type, asked)]
    if isinstance(kind, graphql.GraphQLObjectType):
        assert asked is not None
        nodes = [one for one in asked.selections if isinstance(one, graphql.FieldNode)]
        return {
            (one.alias or one.name).value: whole(kind.fields[one.name.value].type, one.selection_set) for one in nodes
        }
    return {"Int": 7, "Boolean": True}.get(kind.name, "x")


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of everything in an answer; what a stake looks like is not promised."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        if key != "v2Stake":
            yield from places(inner, (*path, key))


@pytest.fixture
def good(name: str) -> dict[str, Any]:
    """Return the first answer that a method gets, with nothing left out."""
    asked: list[dict[str, Any]] = []

    def answer(text: str) -> dict[str, Any]:
        found = operation(text)
        asked.append(whole(SCHEMA.get_root_type(found.operation), found.selection_set))
        return asked[-1]

    ask(name, answer)
    return asked[0]


def changed(answer: Any, path: tuple[str | int, ...], value: object) -> Any:
    """Return an answer with another value in one place, or none there."""
    if not path:
        return value
    inner = changed(answer[path[0]], path[1:], value)
    if inner is _absent:
        return {key: one for key, one in answer.items() if key != path[0]}
    made = copy.copy(answer)
    made[path[0]] = inner
    return made


@pytest.mark.parametrize("name", METHODS)
def test_anything_may_be_null(name: str, good: dict[str, Any]) -> None:
    for path in places(good):
        broken = changed(good, path, None)
        try:
            ask(name, lambda _, broken=broken: broken)  # type: ignore[misc]
        except errors.NetworkError as error:
            said = str(error)
            assert NOT_OF_THE_SCHEMA not in said
            assert len(path) == 1 or path[-1] in {"id", "url"}, "only where there is nothing to return"


@pytest.mark.parametrize("name", METHODS)
def test_what_is_missing_or_of_another_type_is_named_by_its_path(name: str, good: dict[str, Any]) -> None:
    for path in places(good):
        for wrong in (_absent, [7], {"x": 7}, 7.5, "\x1b[2Jsecret", True, 7):
            if _fits(good, path, wrong):
                continue
            broken = changed(good, path, wrong)
            with pytest.raises(errors.NetworkError, match=NOT_OF_THE_SCHEMA) as caught:
                ask(name, lambda _, broken=broken: broken)  # type: ignore[misc]
            text = str(caught.value)
            assert re.search(rf" {re.escape('.'.join(map(str, path)))}[.:]", text), "it, or what is missing in it"
            assert "secret" not in text
            assert text.isprintable()


_absent = object()


def _fits(answer: Any, path: tuple[str | int, ...], wrong: Any) -> bool:
    """Tell whether a value is one that may be there: of the same type, or a stake's text."""
    for key in path:
        answer = answer[key]
    if wrong is _absent:
        return isinstance(path[-1], int)  # a shorter list
    if path[-1] == "v2Stake":
        return isinstance(wrong, dict | str)
    return type(wrong) is type(answer) and not isinstance(wrong, dict | list)


def null(kind: type, **changes: Any) -> Any:
    """Read what has nothing but null and these."""
    empty = TypeAdapter(kind).json_schema()["properties"]
    return TypeAdapter(kind).validate_python({**dict.fromkeys(empty), **changes})


_GOOD = ("succeeded", "success", "passed", "validated", "completed")
_BAD = ("failed", "error", "invalid")
_IN_PROGRESS = ("queued", "pending", "running", "validating")
_UNKNOWN = (
    *("invalidated", "unvalidated", "unsuccessful", "failing", "teleporting"),
    *("validated_maybe", "failed 2", "success!", "FAİLED"),
)


def _spellings(word: str) -> tuple[str, ...]:
    return (word, word.upper(), word.title(), f"submission_{word}", f"MODEL-{word}", f"is it {word}", f" {word}_")


@pytest.mark.parametrize("last", [*_GOOD, *_BAD, *_IN_PROGRESS])
def test_a_status_is_classified_by_its_last_word_in_any_case(last: str) -> None:
    for word in _spellings(last):
        assert tournament.judge_status(word) is (True if last in _GOOD else False if last in _BAD else None), word
        assert tournament.is_in_progress(word) is (last in _IN_PROGRESS), word
        assert tournament.is_unknown(word) is False, word
        assert tournament.is_server_error(word) is (last == "error"), word


@pytest.mark.parametrize("word", [*_UNKNOWN, "validated_un-known", "succeeded at_last"])
def test_an_unknown_status_is_neither_good_nor_bad_nor_in_progress(word: str) -> None:
    assert (tournament.judge_status(word), tournament.is_in_progress(word), tournament.is_unknown(word)) == (
        None,
        False,
        True,
    )


@pytest.mark.parametrize("word", ["", " ", "_-"])
def test_an_empty_status_is_not_an_unknown_one(word: str) -> None:
    assert (tournament.judge_status(word), tournament.is_in_progress(word), tournament.is_unknown(word)) == (
        None,
        False,
        False,
    )


def test_a_run_without_a_status_has_that_of_its_last_step_or_of_the_pickle_if_it_is_the_newest() -> None:
    nothing = {"type": None, "roundId": None, "submissionId": None, "status": None, "statuses": None}
    steps = [{"status": status, "description": None, "insertedAt": None} for status in ("queued", "model_failed")]
    runs = [
        {**nothing, "id": "old", "insertedAt": "2026-03-09T12:00:00Z"},
        {**nothing, "id": "steps", "insertedAt": "2026-03-10T12:00:00Z", "statuses": steps},
        {**nothing, "id": "newest", "insertedAt": "2026-03-11T12:00:00Z"},
    ]
    found = null(tournament.UploadedPickle, triggerStatus="submission_succeeded", triggers=runs)
    assert {one.id: one.status for one in found.triggers} == {
        "old": "",
        "steps": "model_failed",
        "newest": "submission_succeeded",
    }
    own = {**nothing, "id": "a", "insertedAt": None, "status": "queued"}
    found = null(tournament.UploadedPickle, triggerStatus="submission_succeeded", triggers=[own])
    assert [one.status for one in found.triggers] == ["queued"]


@pytest.mark.parametrize(
    ("stake", "said"),
    [
        (None, ""),
        ({"status": None, "latestValue": None}, ""),
        ({"status": "live", "latestValue": "0.000"}, ""),
        ({"status": "live", "latestValue": "12.5"}, "12.5"),
        ({"status": "live", "latestValue": 12.5}, "12.5"),
        ({"status": "live", "latestValue": "much"}, "much"),
        ({"status": "live"}, "live"),
    ],
)
def test_what_is_at_stake(stake: dict[str, Any] | None, said: str) -> None:
    assert null(tournament.Slot, v2Stake=stake).stake == said


def test_a_round_is_open_from_its_opening_to_its_close() -> None:
    found = null(tournament.Round, openTime="2026-11-24T12:00:00Z", closeTime="2026-11-24T13:00:00Z")
    at = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
    assert found.is_open(at)
    assert not found.is_open(at + dt.timedelta(hours=1))
    assert not found.is_open(at - dt.timedelta(seconds=1))


def test_half_a_character_hides_no_log() -> None:
    assert null(tournament.LogLine, message="cut \ud83d").message == "cut ?"
