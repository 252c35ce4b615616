"""How the API client handles responses: what it shows of them, when it retries, what it advises."""

from __future__ import annotations

import contextlib
import gzip
from typing import TYPE_CHECKING

import pytest

from builder import errors, tournament
from builder.progress import Silent
from builder.sandbox import faults
from builder.tournament import client as api_client
from builder.tournament import settings
from builder.upload import assign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.sandbox import server


ASSIGN = "assignPickleToModel"


@pytest.fixture
def api(sandbox: server.Sandbox, waits: list[float]) -> Iterator[tournament.Tournament]:
    """A client of the sandbox in this process, with the token that has all scopes."""
    token = settings.parse_typed_token(
        sandbox.state.get_token("full").public_id, sandbox.state.get_token("full").secret_key
    )
    policy = api_client.ApiPolicy(attempts=2, first=0.0, longest=10.0)
    with contextlib.ExitStack() as undo:
        client = api_client.ApiClient(sandbox.api_url, token, Silent(), policy=policy)
        yield tournament.Tournament(undo.enter_context(client))


# ---- secrets


@pytest.mark.parametrize("length", range(360, 400, 8))
def test_no_part_of_a_secret_is_shown_when_a_message_is_cut(
    sandbox: server.Sandbox, api: tournament.Tournament, length: int
) -> None:
    secret = sandbox.state.get_token("full").secret_key
    sandbox.faults.add("account", faults.respond_errors("x" * length + secret))
    with pytest.raises(errors.ApiError) as caught:
        api.get_account()
    assert secret[:4] not in str(caught.value)


@pytest.mark.parametrize("length", range(60, 100, 8))
def test_no_part_of_a_secret_is_shown_of_an_unexpected_response(
    sandbox: server.Sandbox, api: tournament.Tournament, length: int
) -> None:
    secret = sandbox.state.get_token("full").secret_key
    sandbox.faults.add("account", faults.edit_response(lambda _: {"x" * length: secret}))
    with pytest.raises(errors.ApiError, match="has no data: ") as caught:
        api.get_account()
    assert secret[:4] not in str(caught.value)


# ---- malformed responses


_MALFORMED = {
    "nested": faults.respond_status(200, b"[" * 100_000),
    "unending": faults.respond_status(200, gzip.compress(bytes(1 << 20)), Content_Encoding="gzip"),
    "not gzip": faults.respond_status(200, b"{}", Content_Encoding="gzip"),
}


@pytest.mark.parametrize("action", _MALFORMED.values(), ids=_MALFORMED)
def test_a_malformed_response_is_a_network_error_and_leaves_a_change_unconfirmed(
    sandbox: server.Sandbox,
    api: tournament.Tournament,
    monkeypatch: pytest.MonkeyPatch,
    action: faults.Action,
) -> None:
    monkeypatch.setattr(api_client, "_MAX_BYTES", 1 << 16)
    pickle = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "one.pkl")
    sandbox.faults.add("account", action, times=9)
    with pytest.raises(errors.NetworkError, match="the account's slots"):
        api.get_account()
    sandbox.faults.add("updatePickleLabel", faults.apply_then(action), times=9)
    with pytest.raises(errors.UnavailableError, match="it may have taken effect") as caught:
        api.set_label(pickle.id, "mine")
    assert caught.value.sent
    assert pickle.label == "mine"


# ---- errors about the token


@pytest.mark.parametrize(
    "message",
    [
        "Cannot query field 'scope' on type 'Query'.",
        "permission denied for relation compute_pickles",
        "The round is out of scope",
    ],
)
def test_other_api_errors_do_not_blame_the_token(
    sandbox: server.Sandbox, api: tournament.Tournament, message: str
) -> None:
    sandbox.faults.add("account", faults.respond_errors(message))
    with pytest.raises(errors.ApiError, match="the API reports") as caught:
        api.get_account()
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
def test_an_error_about_scopes_or_permission_blames_the_token(
    sandbox: server.Sandbox, api: tournament.Tournament, message: str
) -> None:
    sandbox.faults.add("account", faults.respond_errors(message))
    with pytest.raises(errors.TokenError, match="was rejected"):
        api.get_account()


def test_a_server_error_that_mentions_permission_is_retried(
    sandbox: server.Sandbox, api: tournament.Tournament
) -> None:
    sandbox.faults.add("account", faults.respond_error_detail("you do not have permission on relation x", 500))
    assert api.get_account().username == "sandbox_user"


# ---- text that cannot be sent


@pytest.mark.parametrize("text", ["a\udcff", "\ud800"])
def test_text_that_is_not_valid_unicode_is_not_sent(
    sandbox: server.Sandbox, api: tournament.Tournament, text: str
) -> None:
    with pytest.raises(errors.UsageError, match="write it in UTF-8"):
        api.set_label("1", text)
    with pytest.raises(errors.UsageError, match="number is not valid in JSON"):
        api.client.query("{ account { id } }", {"a": float("nan")}, subject="the query")
    assert len(sandbox.requests) == 0


def test_non_ascii_text_is_sent_unchanged(sandbox: server.Sandbox, api: tournament.Tournament) -> None:
    pickle = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "one.pkl")
    api.set_label(pickle.id, "größer, 模型")
    assert pickle.label == "größer, 模型"


# ---- mutations


def test_a_mutation_with_an_unknown_result_is_not_to_be_repeated_unchecked(
    sandbox: server.Sandbox, api: tournament.Tournament
) -> None:
    sandbox.faults.add("*", faults.apply_then(faults.respond_html(502)))
    with pytest.raises(errors.UnavailableError, match="check with `make status`") as caught:
        api.set_label("1", "a")
    assert caught.value.sent
    assert "run it again" not in str(caught.value)


def test_a_rejected_mutation_says_that_nothing_was_done(sandbox: server.Sandbox, api: tournament.Tournament) -> None:
    sandbox.faults.add("*", faults.respond_too_many("30"))
    with pytest.raises(errors.UnavailableError, match="nothing was done: run it again in 30 s") as caught:
        api.set_label("1", "a")
    assert not caught.value.sent


@pytest.mark.parametrize(("retry_after", "delay"), [("3", 3.0), ("86400", 10.0)], ids=["honoured", "capped"])
@pytest.mark.parametrize("status", [429, 503])
def test_an_assignment_is_retried_after_the_servers_delay(
    sandbox: server.Sandbox,
    api: tournament.Tournament,
    waits: list[float],
    retry_after: str,
    delay: float,
    *,
    status: int,
) -> None:
    pickle = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "one.pkl")
    sandbox.faults.add(ASSIGN, faults.respond_status(status, Retry_After=retry_after))
    slot = next(slot for slot in api.get_account().slots if slot.name == "running")
    assign.assign_and_read_back(api, slot, pickle.id, Silent())
    assert sandbox.state.get_slot("running").pickle_id == pickle.id
    assert max(waits) == delay
    assert sandbox.requests.count(ASSIGN) == 2


def test_a_failed_assignment_reports_what_the_slot_runs(
    sandbox: server.Sandbox, api: tournament.Tournament, waits: list[float]
) -> None:
    pickle = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "one.pkl")
    sandbox.faults.add(ASSIGN, faults.respond_html(502), times=None)
    slot = next(slot for slot in api.get_account().slots if slot.name == "running")
    with pytest.raises(
        errors.ApiError, match=r"HTTP 502, the server failed \(tried 3 times\)\nrunning still runs"
    ) as caught:
        assign.assign_and_read_back(api, slot, pickle.id, Silent())
    assert "may have taken effect" not in str(caught.value)
