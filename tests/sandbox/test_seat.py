"""The verbs on slots, pickles and the account, over real sockets: what a person sees, and what the account has then."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import time
import types
from typing import TYPE_CHECKING, Any

import numerapi
import pytest
from numerapi import base_api

from builder.cli import terminal
from builder.sandbox import faults, runs, server
from builder.upload import assign, waiting
from tests.support import command, manifests, runner_logs, words

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox import client

SEGFAULT = runs.SEGMENTATION_FAULT

CONTENT = b"the bytes of a pickle, never loaded"
DIGITS = hashlib.sha256(CONTENT).hexdigest()[:12]


class Seat:
    """Runs verbs in this process, against a stand-in."""

    def __init__(self, sandbox: server.Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
        self.sandbox, self.words, self._capsys = sandbox, sandbox.state.words, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return the exit code and what was printed."""
        code = command.call(*arguments)
        out, err = command.read_output(self._capsys)
        for token in self.sandbox.state.tokens:
            assert token.secret_key not in out + err
        assert "signature=" not in (out + err).lower()
        return code, out, err

    def good(self, *arguments: str) -> str:
        """Return what a verb printed that ends with 0."""
        code, out, err = self(*arguments)
        assert code == 0, err
        return out

    def data(self, *arguments: str) -> Any:
        """Return the JSON that a verb prints."""
        actual = json.loads(self.good(*arguments, "--json"))
        assert actual["format"] == 1
        return actual

    def changes(self) -> list[str]:
        """Return the names of the mutations that came."""
        names = {"assignPickleToModel", "addModel", "triggerComputePickleUpload", "updatePickleLabel"}
        return [item for record in self.sandbox.requests for item in record.fields if item in names]


@pytest.fixture
def seat(
    sandbox: server.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Seat:
    use(sandbox, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return Seat(sandbox, capsys)


def use(sandbox: server.Sandbox, monkeypatch: pytest.MonkeyPatch, token: str = "full") -> None:
    monkeypatch.delenv("NUMERAI_MCP_AUTH", raising=False)
    for name, value in sandbox.environment(token).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def uploaded(seat: Seat, ask: client.Client) -> str:
    """The id of a pickle that was uploaded for ``fresh`` and has passed."""
    return str(ask.upload("fresh", CONTENT, f"mlp-{DIGITS}.pkl")["id"])


@pytest.fixture
def failed(seat: Seat, ask: client.Client) -> str:
    """The id of one that was uploaded for ``staked``, assigned, and whose last run failed."""
    built = seat.sandbox.state.add_pickle(seat.sandbox.state.get_slot("staked"), f"old-{'0' * 12}.pkl", assign=True)
    seat.sandbox.storage.path(runs.key(built.filename)).write_bytes(CONTENT)
    seat.sandbox.runs.judge = runs.Scripted.failing(runs.SEGMENTATION_FAULT, "starting", "Segfault")
    seat.sandbox.runs.begin(built, kind="round", validates=False)
    seat.sandbox.runs.judge = runs.Scripted()
    return built.id


# ---- looking


@words.each_vocabulary
def test_models_lists_every_slot_and_what_runs_there(seat: Seat, failed: str) -> None:
    out = seat.good("models")
    assert "sandbox_user: 5 of 10 slots taken" in out
    assert f"old-{'0' * 12}.pkl" in out
    for name in ("fresh", "running", "hooked", "old_one", "signals_one", "staked"):
        assert name in out
    assert "theirs" not in out
    slots = {item["name"]: item for item in seat.data("models")["slots"]}
    assert slots["staked"]["pickle"]["id"] == failed
    assert slots["hooked"]["webhook"] == "https://example.com/..."


def test_an_account_without_slots_is_told_what_to_do(seat: Seat) -> None:
    seat.sandbox.state.slots.clear()
    assert "create-model NAME" in seat.good("models")
    assert "create-model NAME" in seat.good("status")


@words.each_vocabulary
def test_status_has_what_needs_attention_first(seat: Seat, failed: str) -> None:
    lines = seat.good("status").splitlines()
    assert lines[0].startswith("round 1000 is open until ")
    assert lines[1].split()[:2] == ["FAILED", "staked"]
    assert runs.SEGMENTATION_FAULT in lines[1]
    assert "-> python -m builder why staked" in lines[1]
    assert {line.split()[1] for line in lines[-2:]} == {"old_one", "signals_one"}
    assert seat.data("status")["slots"][0]["state"] == "failed"


@words.each_vocabulary
def test_status_tells_of_an_upload_that_failed_and_was_not_assigned(seat: Seat, ask: client.Client) -> None:
    seat.sandbox.runs.judge = runs.Scripted.failing(runs.SEGMENTATION_FAULT)
    ask.upload("fresh", CONTENT, f"mlp-{DIGITS}.pkl")
    (fresh,) = (item for item in seat.data("status")["slots"] if item["name"] == "fresh")
    assert (fresh["state"], fresh["todo"]) == ("failed", "why fresh")
    assert runs.SEGMENTATION_FAULT in fresh["reason"]
    assert runs.SEGMENTATION_FAULT in seat.good("models")
    assert "-> python -m builder why fresh" in seat.good("status", "fresh")


@words.each_vocabulary
def test_status_of_a_slot_shows_its_runs_and_the_next_round(seat: Seat, failed: str) -> None:
    seat.sandbox.state.close_round()
    out = seat.good("status", "STAKED")
    shown = ("stake        12.5", "no round is open; round", "numerai_predict_py_3_11:a78dedd")
    for text in (failed, runs.SEGMENTATION_FAULT, *shown):
        assert text in out
    assert seat.data("status", "staked")["slot"]["pickle"]["triggers"][0]["status"] == seat.words.run_bad


def test_a_slot_that_is_not_there_is_named_with_those_that_are_near(seat: Seat) -> None:
    code, _, err = seat("status", "runing")
    assert code == 2
    assert "did you mean running?" in err


@words.each_vocabulary
def test_pickles_of_all_slots_of_one_and_those_that_run_nowhere(seat: Seat, uploaded: str, failed: str) -> None:
    assert {item["id"] for item in seat.data("pickles")["pickles"]} == {uploaded, failed}
    assert [item["id"] for item in seat.data("pickles", "fresh")["pickles"]] == [uploaded]
    assert [item["id"] for item in seat.data("pickles", "--unassigned")["pickles"]] == [uploaded]
    assert "no pickle was uploaded for hooked" in seat.good("pickles", "hooked")
    assert f"mlp-{DIGITS}.pkl" in seat.good("pickles")


def test_data_versions_take_no_token(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMERAI_SECRET_KEY")
    monkeypatch.delenv("NUMERAI_PUBLIC_ID")
    out = seat.good("data-versions")
    assert ["v5.2", "v5.2", "default"] in [line.split()[:3] for line in out.splitlines()]
    assert seat("models")[0] == 4


@words.each_vocabulary
@pytest.mark.parametrize("has_statuses", [True, False], ids=["own-status", "trigger-status"])
def test_a_slot_whose_run_submitted_is_good(seat: Seat, uploaded: str, *, has_statuses: bool) -> None:
    seat.sandbox.state.runs_have_statuses = has_statuses
    seat.sandbox.state.get_slot("fresh").pickle_id = uploaded
    actual = seat.data("status", "fresh")["slot"]
    assert (actual["state"], actual["reason"], actual["failure"]) == ("good", f"last run {seat.words.run_good}", None)
    assert f"{seat.words.run_good}, upload" in seat.good("status", "fresh")


@words.each_vocabulary
@pytest.mark.parametrize("has_statuses", [True, False], ids=["own-status", "trigger-status"])
def test_a_slot_whose_run_failed_has_description_log_and_fix(seat: Seat, failed: str, *, has_statuses: bool) -> None:
    seat.sandbox.state.runs_have_statuses = has_statuses
    actual = seat.data("status", "staked")["slot"]
    assert (actual["state"], actual["todo"]) == ("failed", "why staked")
    assert actual["failure"]["status"] == seat.words.run_bad
    assert actual["failure"]["log"] == ["starting", "Segfault"]
    out = seat.good("status", "staked")
    code, explained, _ = seat("why", "staked", "--no-run")
    assert code == 1
    for text in (
        seat.words.run_bad,
        "Segfault",
        "cause",
        "fix",
        *([SEGFAULT, "builder pickle CONFIG`"] if has_statuses else []),
    ):
        assert (text in out, text in explained) == (True, True), text


def test_an_unknown_status_is_shown_and_neither_good_nor_bad(seat: Seat, failed: str) -> None:
    for word in ("submission_unsucceeded", "INVALIDATED"):
        seat.sandbox.state.pickles[failed].triggers[-1].statuses[-1].status = word
        actual = seat.data("status", "staked")["slot"]
        assert (actual["state"], actual["reason"]) == ("unsure", f"run {word!r}: an unknown status")
        assert word in seat.good("status")
        assert seat("why", "staked", "--no-run")[0] == 0


# ---- uploaded and not assigned


@words.each_vocabulary
def test_an_upload_that_is_not_assigned_is_waiting_and_the_shown_command_assigns_it(seat: Seat, uploaded: str) -> None:
    for looking in (("status",), ("status", "fresh"), ("models",)):
        out = seat.good(*looking)
        (line,) = (item for item in out.splitlines() if "fresh" in item.split())
        assert "a validated pickle is waiting: " in line
        assert "upload --model" not in line
    assert seat.data("status", "fresh")["slot"]["state"] == "unassigned"
    shown = seat.good("status", "fresh").splitlines()[0].partition("-> python -m builder ")[2]
    assert shown == f"assign fresh {uploaded}"
    assert seat(*shown.split(), "--yes")[0] == 0
    assert seat.data("status", "fresh")["slot"]["state"] == "good"


def test_what_the_official_client_uploads_is_waiting(
    seat: Seat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(base_api, "API_TOURNAMENT_URL", seat.sandbox.api_url)
    token = seat.sandbox.state.get_token("full")
    official = numerapi.NumerAPI(token.public_id, token.secret_key, show_progress_bars=False)  # type: ignore[no-untyped-call]
    built = official.model_upload(str(path), model_id=seat.sandbox.state.get_slot("fresh").id)
    assert f"-> python -m builder assign fresh {built}" in seat.good("status")
    with monkeypatch.context() as narrow:
        narrow.setattr("sys.stdout.isatty", lambda: True)
        narrow.setenv("COLUMNS", "60")
        assert f"  -> python -m builder assign fresh {built}" in seat.good("status").splitlines()  # whole, to be copied
    running = seat.sandbox.state.add_pickle(seat.sandbox.state.get_slot("fresh"), "earlier.pkl", assign=True)
    actual = seat.data("status", "fresh")["slot"]
    assert (actual["pickle"]["id"], actual["state"], actual["todo"]) == (running.id, "good", f"assign fresh {built}")
    assert "a newer validated pickle is waiting" in actual["reason"]


@words.each_vocabulary
def test_an_upload_that_is_being_validated_is_not_an_empty_slot(seat: Seat, ask: client.Client) -> None:
    seat.sandbox.runs.judge = runs.Scripted(settles=False)
    built = ask.upload("fresh", CONTENT)["id"]
    actual = seat.data("status", "fresh")["slot"]
    assert (actual["state"], actual["todo"]) == ("waiting", "")
    assert f"validation of upload {built}: {seat.words.running}" in actual["reason"]
    seat.sandbox.state.pickles[built].status = "pondering"
    assert seat.data("status", "fresh")["slot"]["state"] == "unsure"


def test_what_is_listed_as_unassigned_alone_is_waiting_too(seat: Seat, uploaded: str) -> None:
    seat.sandbox.faults.add(
        "pickles", faults.answers("computePickles", []), times=None, when=lambda item: not item.variables["unassigned"]
    )
    assert f"assign fresh {uploaded}" in seat.good("status")
    assert seat("assign", "fresh", DIGITS, "--yes")[0] == 0


def test_an_upload_for_no_slot_is_waiting(seat: Seat, ask: client.Client) -> None:
    built = ask.upload(None, CONTENT)["id"]
    assert f"-> python -m builder assign SLOT {built}" in seat.good("status")
    assert seat.data("status")["ownerless"] == [built]
    assert seat("assign", "fresh", built, "--yes")[0] == 0
    assert built not in "".join(line for line in seat.good("status").splitlines() if "no slot" in line)
    assert seat.data("status")["ownerless"] == []


# ---- runs


@words.each_vocabulary
def test_logs_of_a_slot_a_pickle_and_a_run(seat: Seat, failed: str) -> None:
    run = seat.sandbox.state.pickles[failed].triggers[0].id
    for name in ("staked", failed, run):
        code, out, _ = seat("logs", name)
        assert code == 0
        assert [line.split(" ", 2)[2] for line in out.splitlines()] == ["starting", "Segfault"]
    _, _, err = seat("logs", "staked")
    assert runs.SEGMENTATION_FAULT in err
    assert [item["message"] for item in seat.data("logs", run)["lines"]] == ["starting", "Segfault"]


def test_logs_leave_the_box_of_help_out(seat: Seat, failed: str) -> None:
    log = seat.sandbox.state.pickles[failed].triggers[0].logs
    log[0].message = runner_logs.make_refusal("Pickle function returned 0 predictions")
    out = seat.good("logs", "staked")
    texts = [line.split(" ", 2)[2] for line in out.splitlines()]
    head = runner_logs.HEAD.splitlines()
    assert texts == [*head, "ERROR:root:Pickle function returned 0 predictions", "Segfault"]
    assert runner_logs.HELP_BOX in seat.data("logs", "staked")["lines"][0]["message"]  # JSON is the log as it is


def test_logs_of_a_run_where_the_api_refuses_an_id_that_is_no_pickles(seat: Seat, failed: str) -> None:
    run = seat.sandbox.state.pickles[failed].triggers[-1]
    seat.sandbox.faults.add(
        "computePickles", faults.errors("Pickle not found"), when=lambda item: "id" in item.variables, times=None
    )
    assert "Segfault" in seat.good("logs", run.id)


def test_logs_of_an_empty_slot_by_its_id_say_that_it_runs_nothing(seat: Seat) -> None:
    code, _, err = seat("logs", seat.sandbox.state.get_slot("fresh").id)
    assert (code, "fresh: runs no pickle" in err) == (2, True)


@words.each_vocabulary
def test_logs_of_diagnostics(seat: Seat, uploaded: str) -> None:
    assert "no diagnostics" in seat.good("logs", uploaded, "--diagnostics")


def test_logs_cannot_move_the_cursor(seat: Seat, failed: str) -> None:
    log = seat.sandbox.state.pickles[failed].triggers[0].logs
    log[0].message = "\x1b[2Jgone"
    assert "\x1b" not in seat.good("logs", "staked")


def test_logs_of_what_has_not_run_say_how_to_run_it(seat: Seat) -> None:
    built = seat.sandbox.state.add_pickle(seat.sandbox.state.get_slot("fresh"), "never.pkl")
    code, _, err = seat("logs", built.id)
    assert (code, f"trigger {built.id}" in err) == (2, True)
    assert seat("logs", "nothing_like_it")[0] == 2


def test_trigger_says_what_follows_and_runs_the_pickle(seat: Seat, failed: str) -> None:
    code, _, err = seat("trigger", "staked")
    assert (code, seat.changes()) == (5, [])
    assert "submission for round 1000" in err
    assert "STAKE    staked 12.5" in err
    out = seat.good("trigger", "staked", "--yes")
    run = seat.sandbox.state.pickles[failed].triggers[-1]
    assert run.id in out
    assert len(seat.sandbox.state.pickles[failed].triggers) == 2


@words.each_vocabulary
@pytest.mark.parametrize("has_statuses", [True, False], ids=["own-status", "trigger-status"])
def test_trigger_ends_when_the_run_does(seat: Seat, failed: str, *, has_statuses: bool) -> None:
    seat.sandbox.state.runs_have_statuses = has_statuses
    actual = seat.data("trigger", "staked", "--yes")
    assert (actual["run"]["status"], actual["failure"]) == (seat.words.run_good, None)
    seat.sandbox.runs.judge = runs.Scripted.failing(runs.SEGMENTATION_FAULT, "starting", "Segfault")
    code, out, _ = seat("trigger", "staked", "--yes")
    assert code == 1
    for text in (
        seat.words.run_bad,
        "Segfault",
        "fix",
        *([SEGFAULT, "builder pickle CONFIG`"] if has_statuses else []),
    ):
        assert text in out, text
    assert out.startswith("FAILED: run ")


def test_trigger_waits_through_unknown_words_and_no_longer_than_it_is_told(
    seat: Seat, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        for item in answer["data"]["computePickles"]:
            item["triggers"][0]["status"] = "invalidated"
        return answer

    seat.sandbox.faults.add("pickle", faults.changed(change), times=None)
    pauses: list[float] = []
    clock = types.SimpleNamespace(sleep=pauses.append, monotonic=lambda: sum(pauses))
    monkeypatch.setattr(waiting, "time", clock)
    code, _, err = seat("trigger", "staked", "--yes", "--wait", "60")
    assert (code, sum(pauses)) == (4, 60)
    assert "run: invalidated" in err
    assert "triggering it again would begin another run" in err
    assert seat("trigger", "staked", "--yes", "--wait", "0")[0] == 0
    assert len(seat.sandbox.state.pickles[failed].triggers) == 3


@pytest.mark.parametrize(("typed", "agreed"), [("", False), ("y", False), ("yes", True)])
@pytest.mark.parametrize("verb", ["trigger", "assign"])
def test_where_a_stake_hangs_on_it_only_the_whole_word_is_a_yes(
    seat: Seat, failed: str, uploaded: str, monkeypatch: pytest.MonkeyPatch, *, verb: str, typed: str, agreed: bool
) -> None:
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: typed)
    code, _, err = seat(verb, "staked", *([uploaded] if verb == "assign" else []))
    assert "[type yes]" in err
    assert (code, bool(seat.changes())) == ((0, True) if agreed else (5, False))


def test_where_no_stake_hangs_on_it_enter_is_a_yes(seat: Seat, uploaded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: "")
    assert "[Y/n]" in seat("trigger", uploaded)[2]
    assert seat.changes() == ["triggerComputePickleUpload"]


def test_trigger_of_an_archived_slot_is_refused(seat: Seat) -> None:
    built = seat.sandbox.state.add_pickle(seat.sandbox.state.get_slot("old_one"), "old.pkl", assign=True)
    for name in ("old_one", built.id):
        code, _, err = seat("trigger", name, "--yes")
        assert (code, "is archived" in err, seat.changes()) == (5, True, [])


def test_trigger_says_what_a_validation_said(seat: Seat) -> None:
    built = seat.sandbox.state.add_pickle(seat.sandbox.state.get_slot("fresh"), "bad.pkl", passed=False)
    code, _, err = seat("trigger", built.id)
    assert (code, f"its validation says {seat.words.bad!r}" in err, seat.changes()) == (5, True, [])


@words.each_vocabulary
def test_trigger_with_no_open_round_says_that_nothing_is_submitted(seat: Seat, uploaded: str) -> None:
    seat.sandbox.state.close_round()
    code, out, err = seat("trigger", uploaded, "--yes")
    assert code == 0
    assert "submits nothing" in err
    assert runs.NO_ROUND in out


@pytest.mark.parametrize("days", [-2, 2], ids=["ahead", "behind"])
def test_this_computers_clock_decides_nothing(seat: Seat, failed: str, days: int) -> None:
    """By a clock that is two days off no round would be open, and no stake asked about."""
    seat.sandbox.state.clock_offset = dt.timedelta(days=days)
    seat.sandbox.state.open_round()
    code, _, err = seat("trigger", "staked")
    assert (code, seat.changes()) == (5, [])
    assert "round    round 1000 is open until " in err
    assert "(in 23 hours)" in err
    assert "STAKE    staked 12.5: that submission is staked" in err
    assert seat.good("status").startswith("round 1000 is open until ")
    assert seat.data("status", "staked")["round"]["open"] is True
    seat.sandbox.state.close_round()
    assert "no round is open; round 1001 opens" in seat.good("status", "staked")
    assert "a run that submits nothing: no round is open" in seat("trigger", "staked")[2]


def test_the_age_of_a_pickle_goes_by_the_apis_clock(seat: Seat) -> None:
    seat.sandbox.state.clock_offset = dt.timedelta(days=-40)
    seat.sandbox.state.add_pickle(seat.sandbox.state.get_slot("fresh"), "old.pkl")
    assert "3 days ago" in seat.good("pickles")


@pytest.mark.parametrize("later", [0, 2], ids=["listed", "listed-later"])
def test_trigger_finds_the_run_whose_answer_was_lost(
    seat: Seat, failed: str, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    seat.sandbox.faults.add("triggerComputePickleUpload", faults.applied(faults.html(502)))
    if later:
        seat.sandbox.faults.add("computePickles", faults.answers("computePickles", []), times=later, after=1)
    out = seat.good("trigger", "staked", "--yes", "--wait", "0")
    assert seat.sandbox.state.pickles[failed].triggers[-1].id in out
    assert len(seat.sandbox.state.pickles[failed].triggers) == 2


def test_trigger_that_nobody_can_tell_of_is_not_to_be_sent_again_unseen(
    seat: Seat, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    seat.sandbox.faults.add("triggerComputePickleUpload", faults.html(502))
    code, out, err = seat("trigger", "staked", "--yes")
    assert (code, out) == (4, "")
    assert "run it again" not in err
    assert "could not confirm that the run started" in err
    assert f"logs {failed}" in err
    assert seat.changes() == ["triggerComputePickleUpload"]


def test_trigger_that_was_not_looked_at_may_be_sent_again(seat: Seat, failed: str) -> None:
    seat.sandbox.faults.add("triggerComputePickleUpload", faults.too_many("30"))
    code, _, err = seat("trigger", "staked", "--yes")
    assert code == 4
    assert "nothing was done: run it again in 30 s" in err


def test_query_that_may_have_changed_something_says_so(seat: Seat, uploaded: str) -> None:
    seat.sandbox.faults.add("*", faults.applied(faults.html(502)))
    text = f'mutation {{ updatePickleLabel(pickleId: "{uploaded}", label: "a") {{ id }} }}'
    code, _, err = seat("query", text, "--write")
    assert code == 4
    assert "check with `python -m builder status`" in err
    assert "run it again" not in err


def test_trigger_of_a_slot_that_runs_nothing_is_refused(seat: Seat) -> None:
    code, _, err = seat("trigger", "fresh", "--yes")
    assert (code, "runs no pickle" in err) == (2, True)


# ---- changes


def test_assign_shows_what_it_replaces_and_reads_it_back(seat: Seat, uploaded: str, failed: str) -> None:
    code, _, err = seat("assign", "staked", uploaded)
    assert (code, seat.changes()) == (5, [])
    assert failed in err
    assert uploaded in err
    assert "read back" in seat.good("assign", "staked", DIGITS, "--yes")
    assert seat.sandbox.state.get_slot("staked").pickle_id == uploaded
    assert seat.data("assign", "staked", uploaded)["changed"] is False


def test_assign_gives_back_what_was_there_when_another_is_read_back(
    seat: Seat, uploaded: str, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assign, "_PAUSES", (0.0,) * 5)
    other = seat.sandbox.state.add_pickle(seat.sandbox.state.get_slot("running"), "other.pkl")
    seat.sandbox.faults.add("assignPickleToModel", faults.assigns_another(other.id))
    code, _, err = seat("assign", "staked", uploaded, "--yes")
    assert code == 4
    assert other.id in err
    assert seat.sandbox.state.get_slot("staked").pickle_id == failed


@pytest.mark.parametrize("slot", ["hooked", "old_one", "signals_one"])
def test_assign_refuses_a_slot_that_takes_no_pickle(seat: Seat, uploaded: str, slot: str) -> None:
    assert seat("assign", slot, uploaded, "--yes")[0] == 5
    assert seat.changes() == []


@words.each_vocabulary
def test_assign_refuses_a_pickle_that_has_not_passed(seat: Seat) -> None:
    built = seat.sandbox.state.add_pickle(seat.sandbox.state.get_slot("fresh"), "bad.pkl", passed=False)
    code, _, err = seat("assign", "fresh", built.id, "--yes")
    assert (code, f"logs {built.id}" in err, seat.changes()) == (5, True, [])


def test_a_name_of_several_pickles_is_asked_about(seat: Seat) -> None:
    slot = seat.sandbox.state.get_slot("fresh")
    item, two = (seat.sandbox.state.add_pickle(slot, "same.pkl") for _ in range(2))
    code, _, err = seat("assign", "fresh", "same.pkl", "--yes")
    assert code == 2
    assert item.id in err
    assert two.id in err


def test_disable_ends_with_a_slot_that_runs_nothing(seat: Seat, failed: str) -> None:
    code, _, err = seat("disable", "staked")
    assert (code, "python -m builder rollback staked" in err) == (5, True)
    assert seat.data("disable", "staked", "--yes") == {
        "format": 1,
        "slot": "staked",
        "before": failed,
        "now": None,
        "changed": True,
    }
    assert seat.sandbox.state.get_slot("staked").pickle_id is None
    assert "runs no pickle" in seat.good("disable", "staked")


def test_a_person_who_says_no_changes_nothing(seat: Seat, failed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: "n")
    code, _, err = seat("disable", "staked")
    assert (code, "nothing was changed" in err, seat.changes()) == (5, True, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ("label", "{}", "a\udcff"),
        ("query", "query($a: ID) { computePickles(id: $a) { id } }", "--variables", '{{"a": "\\ud800"}}'),
    ],
)
def test_text_that_is_none_is_refused(seat: Seat, uploaded: str, arguments: tuple[str, ...]) -> None:
    code, _, err = seat(*(item.format(uploaded) if "query" not in item else item for item in arguments))
    assert code == 2
    assert "write it in UTF-8" in err
    assert seat.changes() == []


def test_label_is_read_back(seat: Seat, uploaded: str) -> None:
    assert "the good one" in seat.good("label", uploaded, "the good one")
    assert seat.sandbox.state.pickles[uploaded].label == "the good one"
    assert seat.data("label", "the good one", "")["before"] == "the good one"


def test_create_model_makes_a_slot_of_classic(seat: Seat) -> None:
    assert seat("create-model", "brand_new")[0] == 5
    assert "next: python -m builder upload CONFIG --model=brand_new" in seat.good("create-model", "brand_new", "--yes")
    assert seat.sandbox.state.get_slot("brand_new").tournament == 8


def test_create_model_refuses_before_anything_is_sent(seat: Seat) -> None:
    assert seat("create-model", "Not A Name", "--yes")[0] == 2
    assert seat("create-model", "fresh", "--yes")[0] == 2
    seat.sandbox.state.accounts[0].max_model_slots = 5
    code, _, err = seat("create-model", "brand_new", "--yes")
    assert (code, "its limit is 5" in err) == (5, True)
    assert seat.changes() == []


def test_a_number_of_slots_that_the_api_does_not_tell_refuses_nothing(seat: Seat) -> None:
    def unknown(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"]["account"]["maxModelSlots"] = None
        return answer

    seat.sandbox.faults.add("account", faults.changed(unknown), times=None)
    assert "sandbox_user: 5 slots taken\n" in seat.good("models")
    assert seat.data("models")["most_slots"] is None
    code, _, err = seat("create-model", "brand_new")
    assert (code, "5 slots taken" in err) == (5, True)
    seat.good("create-model", "brand_new", "--yes")
    assert seat.sandbox.state.get_slot("brand_new").tournament == 8


def test_create_model_finds_the_slot_whose_answer_was_lost(seat: Seat) -> None:
    seat.sandbox.faults.add("addModel", faults.applied(faults.html(502)))
    assert seat.data("create-model", "brand_new", "--yes")["slot"]["name"] == "brand_new"
    assert seat.changes() == ["addModel"]


# ---- the token, the API, the storage


def test_credentials_show_everything_but_the_secret(seat: Seat) -> None:
    actual = seat.data("credentials")
    assert (actual["account"], actual["lacking"]) == ("sandbox_user", {})
    assert actual["public_id"] == seat.sandbox.state.get_token("full").public_id
    assert "upload_submission  Upload submissions and models" in seat.good("credentials")


def test_credentials_name_the_verbs_that_lack_a_scope(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    use(seat.sandbox, monkeypatch, "read only")
    out = seat.good("credentials")
    assert "upload_submission, which upload, rollback, assign" in out
    assert "download_submission, which download, why, comparing in upload need" in out
    code, _, err = seat("label", "x" * 3, "y")
    assert (code, "pickles` lists them" in err) == (2, True)


def test_a_question_that_takes_a_token_says_where_one_is_set(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"):
        monkeypatch.delenv(name)
    code, _, err = seat("query", "{account{username}}")
    assert (code, "a token is required and none is set" in err, "numer.ai/account" in err) == (4, True, True)


def test_who_types_no_public_id_is_asked_for_no_secret(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr(terminal, "ask", lambda _: "")
    monkeypatch.setattr(terminal, "ask_hidden", lambda _: pytest.fail("asked on"))
    code, _, err = seat("models")
    assert (code, "none was typed in" in err) == (4, True)


def test_a_revoked_token_is_told_so_everywhere(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    use(seat.sandbox, monkeypatch, "revoked")
    for verb in (["models"], ["status"], ["pickles"], ["credentials"], ["logs", "fresh"], ["disable", "fresh"]):
        code, _, err = seat(*verb)
        assert (code, "was rejected" in err) == (4, True)
        assert "python -m builder credentials" not in err, "which says no more than this"


def test_query_asks_anything_and_changes_nothing_unless_told_to(seat: Seat, uploaded: str, tmp_path: Path) -> None:
    assert json.loads(seat.good("query", "{ account { username } }")) == {"account": {"username": "sandbox_user"}}
    text = "mutation m($id: ID!, $text: String) { updatePickleLabel(pickleId: $id, label: $text) { label } }"
    variables = json.dumps({"id": uploaded, "text": "by query"})
    code, _, err = seat("query", text, "--variables", variables)
    assert (code, "--write" in err, seat.changes()) == (5, True, [])
    (tmp_path / "label.graphql").write_text(text)
    (tmp_path / "label.json").write_text(variables)
    actual = seat.data("query", "@label.graphql", "--variables", "@label.json", "--write")
    assert actual["data"] == {"updatePickleLabel": {"label": "by query"}}
    code, _, err = seat("query", "{ nothing_like_it }")
    assert (code, "nothing_like_it" in err) == (4, True)


def test_download_compares_the_hash_with_the_name_and_the_manifests(seat: Seat, uploaded: str, tmp_path: Path) -> None:
    manifests.commit(tmp_path / "dist" / "mlp", CONTENT)
    out = seat.good("download", uploaded, "--to", "got.pkl")
    assert (tmp_path / "got.pkl").read_bytes() == CONTENT
    assert f"the digits in its name: {DIGITS}" in out
    assert "DIFFERS" not in out
    assert "built here: dist/mlp/manifest.json" in out
    record = list(seat.sandbox.requests)[-1]
    assert (record.method, record.had_token) == ("GET", False)
    code, _, err = seat("download", uploaded, "--to", "got.pkl")
    assert (code, "already exists" in err) == (2, True)


def test_download_of_other_bytes_than_are_on_record_is_a_finding(seat: Seat, failed: str, tmp_path: Path) -> None:
    other = b"other bytes"
    seat.sandbox.state.pickles[failed].filename = f"old-{hashlib.sha256(other).hexdigest()[:12]}.pkl"
    seat.sandbox.storage.path(runs.key(seat.sandbox.state.pickles[failed].filename)).write_bytes(CONTENT)
    manifests.commit(tmp_path / "dist" / "old", other)
    code, out, _ = seat("download", "staked", "--to", "got.pkl")
    assert (code, "DIFFERS" in out) == (1, True)
    assert (tmp_path / "got.pkl").read_bytes() == CONTENT


def test_twelve_digits_of_somebody_elses_are_no_finding(seat: Seat, failed: str) -> None:
    pickle = seat.sandbox.state.pickles[failed]
    pickle.filename = "model-202401011234.pkl"
    seat.sandbox.storage.path(runs.key(pickle.filename)).write_bytes(CONTENT)
    out = seat.good("download", "staked", "--to", "got.pkl")
    assert (
        "note    202401011234 in its name is not the start of this hash, and may be something else, such as a date"
        in out
    )
    assert "no recorded hash to compare it with" in out
    assert seat.data("download", "staked", "--to", "again.pkl")["compared"][0]["equal"] is None


def test_a_place_that_cannot_be_written_is_told(seat: Seat, uploaded: str) -> None:
    code, _, err = seat("download", uploaded, "--to", "/proc/x.pkl")
    assert (code, "/proc/x.pkl: cannot be written (" in err, "--to" in err) == (2, True, True)


def test_download_without_the_scope_or_the_bytes_leaves_no_file(
    seat: Seat, failed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat.sandbox.storage.path(runs.key(seat.sandbox.state.pickles[failed].filename)).unlink()
    code, _, err = seat("download", "staked")
    assert (code, "not stored there" in err) == (4, True)
    use(seat.sandbox, monkeypatch, "read only")
    code, _, err = seat("download", "staked")
    assert (code, "download_submission" in err) == (4, True)
    assert list(tmp_path.iterdir()) == []


def test_download_goes_on_after_the_storage_failed_once(seat: Seat, uploaded: str) -> None:
    seat.sandbox.faults.add("GET", faults.status(503))
    assert seat.data("download", uploaded)["compared"][0]["equal"] is True


def test_a_pickle_is_known_by_the_name_that_it_was_sent_under(seat: Seat, uploaded: str) -> None:
    stored = seat.data("pickles", "fresh")["pickles"][0]["filename"]
    assert stored.endswith(f"-mlp-{DIGITS}.pkl")
    for number, name in enumerate((f"mlp-{DIGITS}.pkl", f"mlp-{DIGITS}", DIGITS, stored, stored.removesuffix(".pkl"))):
        assert seat.data("label", name, str(number))["pickle"] == uploaded
    seat.good("assign", "fresh", f"mlp-{DIGITS}.pkl", "--yes")
    code, _, err = seat("label", f"mpl-{DIGITS[:-1]}.pkl", "x")
    assert code == 2
    assert f"; did you mean mlp-{DIGITS}.pkl" in err


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("why", "nosuch"), "`python -m builder pickles` lists the pickles"),
        (("assign", "running", "m4"), "`python -m builder pickles` lists them"),
        (("assign", "runing", "m4"), "did you mean running? `python -m builder models` lists them"),
    ],
)
def test_the_fix_of_a_name_that_is_wrong_is_in_the_json(seat: Seat, arguments: tuple[str, ...], fix: str) -> None:
    code, out, _ = seat(*arguments, "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"]) == (2, 2)
    assert error["fix"].endswith(fix)
