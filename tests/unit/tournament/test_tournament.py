"""The API's queries and responses follow its schema; statuses, runs, stakes and rounds."""

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
SCHEMA_ERROR = "the response does not follow the API's schema for"


def parse_operation(text: str) -> graphql.OperationDefinitionNode:
    (node,) = graphql.parse(text).definitions
    assert isinstance(node, graphql.OperationDefinitionNode)
    return node


@pytest.mark.parametrize("name", queries.QUERIES)
def test_each_query_is_valid_in_the_schema(name: str) -> None:
    query = queries.QUERIES[name]
    assert graphql.validate(SCHEMA, graphql.parse(query.text)) == []
    operation = parse_operation(query.text)
    assert operation.name is not None
    assert (query.name, operation.name.value) == (name, name)
    fields = [node for node in operation.selection_set.selections if isinstance(node, graphql.FieldNode)]
    assert tuple((field.alias or field.name).value for field in fields) == query.roots


def test_schema_rejects_unknown_fields() -> None:
    assert graphql.validate(SCHEMA, graphql.parse("query { account { secret } }"))


# ---- answers


class FakeClient:
    """A client whose responses come from a function of the query."""

    display_url = "the API"

    def __init__(self, respond: Callable[[str], Any]) -> None:
        self.mutations: list[str] = []
        self._respond = respond

    def query(self, text: str, _variables: Mapping[str, Any], *, subject: str) -> dict[str, Any]:
        assert subject
        return cast("dict[str, Any]", self._respond(text))

    def mutate(self, text: str, _variables: Mapping[str, Any], *, subject: str) -> dict[str, Any]:
        self.mutations.append(text)
        return self.query(text, _variables, subject=subject)

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 11, 28, tzinfo=dt.UTC)


def call_method(name: str, respond: Callable[[str], Any]) -> None:
    """Call a method of the API; only a mutation may report an unknown outcome for an invalid response."""
    client = FakeClient(respond)
    method = getattr(tournament.Tournament(cast("api.ApiClient", client)), name)
    parameters = inspect.signature(method).parameters.values()
    arguments = {item.name: "x" for item in parameters if item.default is inspect.Parameter.empty}
    try:
        method(**arguments)
    except errors.UnavailableError:
        assert client.mutations
        raise
    except errors.NetworkError:
        assert not client.mutations
        raise


METHODS = [name for name in vars(tournament.Tournament) if not name.startswith("_") and name != "now"]


def create_value(kind: Any, selection: graphql.SelectionSetNode | None) -> Any:
    """Return a value with all selected fields, and one item in each list."""
    if isinstance(kind, graphql.GraphQLList):
        return [create_value(kind.of_type, selection)]
    if isinstance(kind, graphql.GraphQLObjectType):
        assert selection is not None
        nodes = [node for node in selection.selections if isinstance(node, graphql.FieldNode)]
        return {
            (node.alias or node.name).value: create_value(kind.fields[node.name.value].type, node.selection_set)
            for node in nodes
        }
    return {"Int": 7, "Boolean": True}.get(kind.name, "x")


def list_paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value in a response, except within stakes, whose fields are undocumented."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        if key != "v2Stake":
            yield from list_paths(inner, (*path, key))


@pytest.fixture
def good(name: str) -> dict[str, Any]:
    """The complete response to the first query of a method."""
    responses: list[dict[str, Any]] = []

    def respond(text: str) -> dict[str, Any]:
        operation = parse_operation(text)
        responses.append(create_value(SCHEMA.get_root_type(operation.operation), operation.selection_set))
        return responses[-1]

    call_method(name, respond)
    return responses[0]


def replace_value(data: Any, path: tuple[str | int, ...], value: object) -> Any:
    """Return a copy of a response with another value at a path, or without that field."""
    if not path:
        return value
    inner = replace_value(data[path[0]], path[1:], value)
    if inner is _absent:
        return {key: item for key, item in data.items() if key != path[0]}
    result = copy.copy(data)
    result[path[0]] = inner
    return result


@pytest.mark.parametrize("name", METHODS)
def test_any_field_may_be_null(name: str, good: dict[str, Any]) -> None:
    for path in list_paths(good):
        broken = replace_value(good, path, None)
        try:
            call_method(name, lambda _, broken=broken: broken)  # type: ignore[misc]
        except errors.NetworkError as error:
            message = str(error)
            assert SCHEMA_ERROR not in message
            assert len(path) == 1 or path[-1] in {"id", "url"}, "only where there is nothing to return"


@pytest.mark.parametrize("name", METHODS)
def test_missing_or_invalid_field_is_reported_with_its_path(name: str, good: dict[str, Any]) -> None:
    for path in list_paths(good):
        for wrong in (_absent, [7], {"x": 7}, 7.5, "\x1b[2Jsecret", True, 7):
            if _fits(good, path, wrong):
                continue
            broken = replace_value(good, path, wrong)
            with pytest.raises(errors.NetworkError, match=SCHEMA_ERROR) as caught:
                call_method(name, lambda _, broken=broken: broken)  # type: ignore[misc]
            text = str(caught.value)
            assert re.search(rf" {re.escape('.'.join(map(str, path)))}[.:]", text), "it, or what is missing in it"
            assert "secret" not in text
            assert text.isprintable()


_absent = object()


def _fits(answer: Any, path: tuple[str | int, ...], wrong: Any) -> bool:
    """Return whether a value is valid at a path: of the same type, or a stake's text."""
    for key in path:
        answer = answer[key]
    if wrong is _absent:
        return isinstance(path[-1], int)  # a shorter list
    if path[-1] == "v2Stake":
        return isinstance(wrong, dict | str)
    return type(wrong) is type(answer) and not isinstance(wrong, dict | list)


def validate_null(kind: type, **changes: Any) -> Any:
    """Validate data in which all fields but these are null."""
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
def test_status_is_classified_by_its_last_word_ignoring_case(last: str) -> None:
    for word in _spellings(last):
        assert tournament.judge_status(word) is (True if last in _GOOD else False if last in _BAD else None), word
        assert tournament.is_in_progress(word) is (last in _IN_PROGRESS), word
        assert tournament.is_unknown(word) is False, word
        assert tournament.is_server_error(word) is (last == "error"), word


@pytest.mark.parametrize("word", [*_UNKNOWN, "validated_un-known", "succeeded at_last"])
def test_unknown_status_is_neither_good_nor_bad_nor_in_progress(word: str) -> None:
    assert (tournament.judge_status(word), tournament.is_in_progress(word), tournament.is_unknown(word)) == (
        None,
        False,
        True,
    )


@pytest.mark.parametrize("word", ["", " ", "_-"])
def test_empty_status_is_not_unknown(word: str) -> None:
    assert (tournament.judge_status(word), tournament.is_in_progress(word), tournament.is_unknown(word)) == (
        None,
        False,
        False,
    )


def test_run_without_a_status_has_that_of_its_last_step_or_of_its_pickle() -> None:
    nothing = {"type": None, "roundId": None, "submissionId": None, "status": None, "statuses": None}
    steps = [{"status": status, "description": None, "insertedAt": None} for status in ("queued", "model_failed")]
    runs = [
        {**nothing, "id": "old", "insertedAt": "2026-03-09T12:00:00Z"},
        {**nothing, "id": "steps", "insertedAt": "2026-03-10T12:00:00Z", "statuses": steps},
        {**nothing, "id": "newest", "insertedAt": "2026-03-11T12:00:00Z"},
    ]
    pickle = validate_null(tournament.UploadedPickle, triggerStatus="submission_succeeded", triggers=runs)
    assert {run.id: run.status for run in pickle.triggers} == {
        "old": "",
        "steps": "model_failed",
        "newest": "submission_succeeded",
    }
    queued = {**nothing, "id": "a", "insertedAt": None, "status": "queued"}
    pickle = validate_null(tournament.UploadedPickle, triggerStatus="submission_succeeded", triggers=[queued])
    assert [run.status for run in pickle.triggers] == ["queued"]


@pytest.mark.parametrize(
    ("stake", "expected"),
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
def test_stake_is_formatted(stake: dict[str, Any] | None, expected: str) -> None:
    assert validate_null(tournament.Slot, v2Stake=stake).stake == expected


def test_round_is_open_from_its_opening_to_its_close() -> None:
    current = validate_null(tournament.Round, openTime="2026-11-24T12:00:00Z", closeTime="2026-11-24T13:00:00Z")
    at = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
    assert current.is_open(at)
    assert not current.is_open(at + dt.timedelta(hours=1))
    assert not current.is_open(at - dt.timedelta(seconds=1))


def test_lone_surrogate_in_a_log_is_replaced() -> None:
    assert validate_null(tournament.LogLine, message="cut \ud83d").message == "cut ?"
