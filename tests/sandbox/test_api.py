"""How the client handles the API's responses: what it prints, what it waits for, and the fix in its errors."""

from __future__ import annotations

import contextlib
import gzip
from typing import TYPE_CHECKING

import pytest

from builder import errors, tournament
from builder.progress import Silent
from builder.sandbox import faults
from builder.tournament import client as api
from builder.tournament import settings
from builder.upload import assign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.sandbox import server


ASSIGN = "assignPickleToModel"


@pytest.fixture
def tournament_api(sandbox: server.Sandbox, waits: list[float]) -> Iterator[tournament.Tournament]:
    """Ask the sandbox in this process, with the token of full scopes."""
    token = settings.parse_typed_token(
        sandbox.state.get_token("full").public_id, sandbox.state.get_token("full").secret_key
    )
    policy = api.ApiPolicy(attempts=2, first=0.0, longest=10.0)
    with contextlib.ExitStack() as undo:
        client = api.ApiClient(sandbox.api_url, token, Silent(), policy=policy)
        yield tournament.Tournament(undo.enter_context(client))


# ---- secrets


@pytest.mark.parametrize("before", range(360, 400, 8))
def test_a_secret_that_is_cut_in_two_is_hidden_all_the_same(
    sandbox: server.Sandbox, tournament_api: tournament.Tournament, before: int
) -> None:
    secret = sandbox.state.get_token("full").secret_key
    sandbox.faults.add("account", faults.errors("x" * before + secret))
    with pytest.raises(errors.ApiError) as caught:
        tournament_api.get_account()
    assert secret[:4] not in str(caught.value)


@pytest.mark.parametrize("before", range(60, 100, 8))
def test_nor_is_it_shown_of_an_answer_of_another_shape(
    sandbox: server.Sandbox, tournament_api: tournament.Tournament, before: int
) -> None:
    secret = sandbox.state.get_token("full").secret_key
    sandbox.faults.add("account", faults.changed(lambda _: {"x" * before: secret}))
    with pytest.raises(errors.ApiError, match="has no data: ") as caught:
        tournament_api.get_account()
    assert secret[:4] not in str(caught.value)


# ---- answers of a server that is damaged, or another


_STRANGE = {
    "nested": faults.status(200, b"[" * 100_000),
    "unending": faults.status(200, gzip.compress(bytes(1 << 20)), Content_Encoding="gzip"),
    "not gzip": faults.status(200, b"{}", Content_Encoding="gzip"),
}


@pytest.mark.parametrize("action", _STRANGE.values(), ids=_STRANGE)
def test_a_strange_answer_is_an_error_of_the_network_and_a_change_is_in_doubt(
    sandbox: server.Sandbox,
    tournament_api: tournament.Tournament,
    monkeypatch: pytest.MonkeyPatch,
    action: faults.Action,
) -> None:
    monkeypatch.setattr(api, "_MAX_BYTES", 1 << 16)
    pickle = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "one.pkl")
    sandbox.faults.add("account", action, times=9)
    with pytest.raises(errors.NetworkError, match="the account's slots"):
        tournament_api.get_account()
    sandbox.faults.add("updatePickleLabel", faults.applied(action), times=9)
    with pytest.raises(errors.UnavailableError, match="it may have taken effect") as caught:
        tournament_api.set_label(pickle.id, "mine")
    assert caught.value.sent
    assert pickle.label == "mine"


# ---- what is the token's fault


@pytest.mark.parametrize(
    "message",
    [
        "Cannot query field 'scope' on type 'Query'.",
        "permission denied for relation compute_pickles",
        "The round is out of scope",
    ],
)
def test_what_is_no_fault_of_the_token_is_not_put_down_to_it(
    sandbox: server.Sandbox, tournament_api: tournament.Tournament, message: str
) -> None:
    sandbox.faults.add("account", faults.errors(message))
    with pytest.raises(errors.ApiError, match="the API reports") as caught:
        tournament_api.get_account()
    assert not isinstance(caught.value, errors.TokenError)


@pytest.mark.parametrize(
    "message",
    [
        "Your API key does not have the required scope: upload_submission",
        "You do not have permission to do that",
        "Token lacks the upload_submission scope",
        "missing scope upload_submission",
        "insufficient permissions",
        "Unauthorized",
    ],
)
def test_what_is_a_fault_of_the_token_is(
    sandbox: server.Sandbox, tournament_api: tournament.Tournament, message: str
) -> None:
    sandbox.faults.add("account", faults.errors(message))
    with pytest.raises(errors.TokenError, match="was rejected"):
        tournament_api.get_account()


def test_a_server_that_fails_with_words_of_permission_is_asked_again(
    sandbox: server.Sandbox, tournament_api: tournament.Tournament
) -> None:
    sandbox.faults.add("account", faults.errors_detail("you do not have permission on relation x", 500))
    assert tournament_api.get_account().username == "sandbox_user"


# ---- what cannot be sent


@pytest.mark.parametrize("text", ["a\udcff", "\ud800"])
def test_text_that_is_none_is_refused_and_not_sent(
    sandbox: server.Sandbox, tournament_api: tournament.Tournament, text: str
) -> None:
    with pytest.raises(errors.UsageError, match="write it in UTF-8"):
        tournament_api.set_label("1", text)
    with pytest.raises(errors.UsageError, match="number is not valid in JSON"):
        tournament_api.client.query("{ account { id } }", {"a": float("nan")}, what="the query")
    assert len(sandbox.requests) == 0


def test_other_text_arrives_as_it_is(sandbox: server.Sandbox, tournament_api: tournament.Tournament) -> None:
    pickle = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "one.pkl")
    tournament_api.set_label(pickle.id, "größer, 模型")
    assert pickle.label == "größer, 模型"


# ---- orders


def test_an_order_that_may_have_been_done_is_not_to_be_given_again_unseen(
    sandbox: server.Sandbox, tournament_api: tournament.Tournament
) -> None:
    sandbox.faults.add("*", faults.applied(faults.html(502)))
    with pytest.raises(errors.UnavailableError, match="check with `python -m builder status`") as caught:
        tournament_api.set_label("1", "a")
    assert caught.value.sent
    assert "run it again" not in str(caught.value)


def test_an_order_that_was_not_looked_at_says_so(
    sandbox: server.Sandbox, tournament_api: tournament.Tournament
) -> None:
    sandbox.faults.add("*", faults.too_many("30"))
    with pytest.raises(errors.UnavailableError, match="nothing was done: run it again in 30 s") as caught:
        tournament_api.set_label("1", "a")
    assert not caught.value.sent


@pytest.mark.parametrize(("message", "waited"), [("3", 3.0), ("86400", 10.0)], ids=["honoured", "capped"])
@pytest.mark.parametrize("status", [429, 503])
def test_an_assignment_is_ordered_again_when_the_server_says(
    sandbox: server.Sandbox,
    tournament_api: tournament.Tournament,
    waits: list[float],
    message: str,
    waited: float,
    *,
    status: int,
) -> None:
    pickle = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "one.pkl")
    sandbox.faults.add(ASSIGN, faults.status(status, Retry_After=message))
    slot = next(item for item in tournament_api.get_account().slots if item.name == "running")
    assign.assign_and_read_back(tournament_api, slot, pickle.id, Silent())
    assert sandbox.state.get_slot("running").pickle_id == pickle.id
    assert max(waits) == waited
    assert sandbox.requests.count(ASSIGN) == 2


def test_what_is_not_assigned_is_said_by_the_slot_alone(
    sandbox: server.Sandbox, tournament_api: tournament.Tournament, waits: list[float]
) -> None:
    pickle = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "one.pkl")
    sandbox.faults.add(ASSIGN, faults.html(502), times=None)
    slot = next(item for item in tournament_api.get_account().slots if item.name == "running")
    with pytest.raises(errors.ApiError, match=r"HTTP 502, the server failed \(3 times\)\nrunning runs what") as caught:
        assign.assign_and_read_back(tournament_api, slot, pickle.id, Silent())
    assert "may have taken effect" not in str(caught.value)
