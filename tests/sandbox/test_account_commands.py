"""Commands on slots, pickles and the account against the sandbox: their output and the state afterwards."""

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


class CommandLine:
    """Runs commands in this process, against the sandbox."""

    def __init__(self, sandbox: server.Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
        self.sandbox, self.words, self._capsys = sandbox, sandbox.state.words, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return the exit code, standard output and standard error; assert that no secret is printed."""
        code = command.call(*arguments)
        out, err = command.read_output(self._capsys)
        for token in self.sandbox.state.tokens:
            assert token.secret_key not in out + err
        assert "signature=" not in (out + err).lower()
        return code, out, err

    def good(self, *arguments: str) -> str:
        """Run a command that has to succeed; return its standard output."""
        code, out, err = self(*arguments)
        assert code == 0, err
        return out

    def data(self, *arguments: str) -> Any:
        """Run a command with ``--json``; return the parsed object."""
        answer = json.loads(self.good(*arguments, "--json"))
        assert answer["format"] == 1
        return answer

    def changes(self) -> list[str]:
        """Return the names of the mutations that the sandbox received."""
        names = {"assignPickleToModel", "addModel", "triggerComputePickleUpload", "updatePickleLabel"}
        return [field for record in self.sandbox.requests for field in record.fields if field in names]


@pytest.fixture
def cli(
    sandbox: server.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    use(sandbox, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return CommandLine(sandbox, capsys)


def use(sandbox: server.Sandbox, monkeypatch: pytest.MonkeyPatch, token: str = "full") -> None:
    monkeypatch.delenv("NUMERAI_MCP_AUTH", raising=False)
    for name, value in sandbox.create_environment(token).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def uploaded(cli: CommandLine, ask: client.Client) -> str:
    """The id of a pickle that was uploaded for ``fresh`` and has passed."""
    return str(ask.upload("fresh", CONTENT, f"mlp-{DIGITS}.pkl")["id"])


@pytest.fixture
def failed(cli: CommandLine, ask: client.Client) -> str:
    """The id of a pickle that is assigned to ``staked`` and whose last run failed."""
    record = cli.sandbox.state.add_pickle(cli.sandbox.state.get_slot("staked"), f"old-{'0' * 12}.pkl", assign=True)
    cli.sandbox.storage.get_path(runs.get_key(record.filename)).write_bytes(CONTENT)
    cli.sandbox.runs.runner = runs.ScriptedRunner.failing(runs.SEGMENTATION_FAULT, "starting", "Segfault")
    cli.sandbox.runs.start(record, kind="round", validates=False)
    cli.sandbox.runs.runner = runs.ScriptedRunner()
    return record.id


# ---- commands that read


@words.each_vocabulary
def test_models_lists_every_slot_and_what_runs_there(cli: CommandLine, failed: str) -> None:
    out = cli.good("models")
    assert "sandbox_user: 5 of 10 slots taken" in out
    assert f"old-{'0' * 12}.pkl" in out
    for name in ("fresh", "running", "hooked", "old_one", "signals_one", "staked"):
        assert name in out
    assert "theirs" not in out
    slots = {slot["name"]: slot for slot in cli.data("models")["slots"]}
    assert slots["staked"]["pickle"]["id"] == failed
    assert slots["hooked"]["webhook"] == "https://example.com/..."


def test_an_account_without_slots_is_shown_what_to_do(cli: CommandLine) -> None:
    cli.sandbox.state.slots.clear()
    assert "create-model NAME" in cli.good("models")
    assert "create-model NAME" in cli.good("status")


@words.each_vocabulary
def test_status_lists_what_needs_attention_first(cli: CommandLine, failed: str) -> None:
    lines = cli.good("status").splitlines()
    assert lines[0].startswith("round 1000 is open until ")
    assert lines[1].split()[:2] == ["FAILED", "staked"]
    assert runs.SEGMENTATION_FAULT in lines[1]
    assert "-> python -m builder why staked" in lines[1]
    assert {line.split()[1] for line in lines[-2:]} == {"old_one", "signals_one"}
    assert cli.data("status")["slots"][0]["state"] == "failed"


@words.each_vocabulary
def test_status_shows_an_upload_that_failed_and_was_not_assigned(cli: CommandLine, ask: client.Client) -> None:
    cli.sandbox.runs.runner = runs.ScriptedRunner.failing(runs.SEGMENTATION_FAULT)
    ask.upload("fresh", CONTENT, f"mlp-{DIGITS}.pkl")
    (fresh,) = (slot for slot in cli.data("status")["slots"] if slot["name"] == "fresh")
    assert (fresh["state"], fresh["todo"]) == ("failed", "why fresh")
    assert runs.SEGMENTATION_FAULT in fresh["reason"]
    assert runs.SEGMENTATION_FAULT in cli.good("models")
    assert "-> python -m builder why fresh" in cli.good("status", "fresh")


@words.each_vocabulary
def test_status_of_a_slot_shows_its_runs_and_the_next_round(cli: CommandLine, failed: str) -> None:
    cli.sandbox.state.close_round()
    out = cli.good("status", "STAKED")
    shown = ("stake        12.5", "no round is open; round", "numerai_predict_py_3_12:a78dedd")
    for text in (failed, runs.SEGMENTATION_FAULT, *shown):
        assert text in out
    assert cli.data("status", "staked")["slot"]["pickle"]["triggers"][0]["status"] == cli.words.run_bad


def test_an_unknown_slot_is_reported_with_similar_names(cli: CommandLine) -> None:
    code, _, err = cli("status", "runing")
    assert code == 2
    assert "did you mean running?" in err


@words.each_vocabulary
def test_pickles_of_all_slots_of_one_slot_and_unassigned(cli: CommandLine, uploaded: str, failed: str) -> None:
    assert {pickle["id"] for pickle in cli.data("pickles")["pickles"]} == {uploaded, failed}
    assert [pickle["id"] for pickle in cli.data("pickles", "fresh")["pickles"]] == [uploaded]
    assert [pickle["id"] for pickle in cli.data("pickles", "--unassigned")["pickles"]] == [uploaded]
    assert "no pickle was uploaded for hooked" in cli.good("pickles", "hooked")
    assert f"mlp-{DIGITS}.pkl" in cli.good("pickles")


def test_data_versions_need_no_token(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMERAI_SECRET_KEY")
    monkeypatch.delenv("NUMERAI_PUBLIC_ID")
    out = cli.good("data-versions")
    assert ["v5.3", "v5.3", "default"] in [line.split()[:3] for line in out.splitlines()]
    assert cli("models")[0] == 4


@words.each_vocabulary
@pytest.mark.parametrize("has_statuses", [True, False], ids=["own-status", "trigger-status"])
def test_a_slot_whose_run_submitted_is_good(cli: CommandLine, uploaded: str, *, has_statuses: bool) -> None:
    cli.sandbox.state.runs_have_statuses = has_statuses
    cli.sandbox.state.get_slot("fresh").pickle_id = uploaded
    answer = cli.data("status", "fresh")["slot"]
    assert (answer["state"], answer["reason"], answer["failure"]) == ("good", f"last run {cli.words.run_good}", None)
    assert f"{cli.words.run_good}, upload" in cli.good("status", "fresh")


@words.each_vocabulary
@pytest.mark.parametrize("has_statuses", [True, False], ids=["own-status", "trigger-status"])
def test_a_slot_whose_run_failed_has_description_log_and_fix(
    cli: CommandLine, failed: str, *, has_statuses: bool
) -> None:
    cli.sandbox.state.runs_have_statuses = has_statuses
    answer = cli.data("status", "staked")["slot"]
    assert (answer["state"], answer["todo"]) == ("failed", "why staked")
    assert answer["failure"]["status"] == cli.words.run_bad
    assert answer["failure"]["log"] == ["starting", "Segfault"]
    out = cli.good("status", "staked")
    code, explained, _ = cli("why", "staked", "--no-run")
    assert code == 1
    for text in (
        cli.words.run_bad,
        "Segfault",
        "cause",
        "fix",
        *([SEGFAULT, "builder pickle CONFIG`"] if has_statuses else []),
    ):
        assert (text in out, text in explained) == (True, True), text


def test_an_unknown_status_is_shown_and_neither_good_nor_bad(cli: CommandLine, failed: str) -> None:
    for word in ("submission_unsucceeded", "INVALIDATED"):
        cli.sandbox.state.pickles[failed].triggers[-1].statuses[-1].status = word
        answer = cli.data("status", "staked")["slot"]
        assert (answer["state"], answer["reason"]) == ("unsure", f"run {word!r}: an unknown status")
        assert word in cli.good("status")
        assert cli("why", "staked", "--no-run")[0] == 0


# ---- uploaded and not assigned


@words.each_vocabulary
def test_an_upload_that_is_not_assigned_is_waiting_and_the_shown_command_assigns_it(
    cli: CommandLine, uploaded: str
) -> None:
    for looking in (("status",), ("status", "fresh"), ("models",)):
        out = cli.good(*looking)
        (line,) = (line for line in out.splitlines() if "fresh" in line.split())
        assert "a validated pickle is waiting: " in line
        assert "upload --model" not in line
    assert cli.data("status", "fresh")["slot"]["state"] == "unassigned"
    shown = cli.good("status", "fresh").splitlines()[0].partition("-> python -m builder ")[2]
    assert shown == f"assign fresh {uploaded}"
    assert cli(*shown.split(), "--yes")[0] == 0
    assert cli.data("status", "fresh")["slot"]["state"] == "good"


def test_an_upload_of_the_official_client_is_waiting(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(base_api, "API_TOURNAMENT_URL", cli.sandbox.api_url)
    token = cli.sandbox.state.get_token("full")
    official = numerapi.NumerAPI(token.public_id, token.secret_key, show_progress_bars=False)  # type: ignore[no-untyped-call]
    pickle_id = official.model_upload(str(path), model_id=cli.sandbox.state.get_slot("fresh").id)
    assert f"-> python -m builder assign fresh {pickle_id}" in cli.good("status")
    with monkeypatch.context() as narrow:
        narrow.setattr("sys.stdout.isatty", lambda: True)
        narrow.setenv("COLUMNS", "60")
        assert (
            f"  -> python -m builder assign fresh {pickle_id}" in cli.good("status").splitlines()
        )  # whole, to be copied
    running = cli.sandbox.state.add_pickle(cli.sandbox.state.get_slot("fresh"), "earlier.pkl", assign=True)
    answer = cli.data("status", "fresh")["slot"]
    assert (answer["pickle"]["id"], answer["state"], answer["todo"]) == (
        running.id,
        "good",
        f"assign fresh {pickle_id}",
    )
    assert "a newer validated pickle is waiting" in answer["reason"]


@words.each_vocabulary
def test_an_upload_that_is_being_validated_is_not_an_empty_slot(cli: CommandLine, ask: client.Client) -> None:
    cli.sandbox.runs.runner = runs.ScriptedRunner(settles=False)
    pickle_id = ask.upload("fresh", CONTENT)["id"]
    answer = cli.data("status", "fresh")["slot"]
    assert (answer["state"], answer["todo"]) == ("waiting", "")
    assert f"validation of upload {pickle_id}: {cli.words.running}" in answer["reason"]
    cli.sandbox.state.pickles[pickle_id].status = "pondering"
    assert cli.data("status", "fresh")["slot"]["state"] == "unsure"


def test_a_pickle_listed_only_as_unassigned_is_waiting(cli: CommandLine, uploaded: str) -> None:
    cli.sandbox.faults.add(
        "pickles",
        faults.replace_field("computePickles", []),
        times=None,
        condition=lambda request: not request.variables["unassigned"],
    )
    assert f"assign fresh {uploaded}" in cli.good("status")
    assert cli("assign", "fresh", DIGITS, "--yes")[0] == 0


def test_an_upload_for_no_slot_is_waiting(cli: CommandLine, ask: client.Client) -> None:
    pickle_id = ask.upload(None, CONTENT)["id"]
    assert f"-> python -m builder assign SLOT {pickle_id}" in cli.good("status")
    assert cli.data("status")["ownerless"] == [pickle_id]
    assert cli("assign", "fresh", pickle_id, "--yes")[0] == 0
    assert pickle_id not in "".join(line for line in cli.good("status").splitlines() if "no slot" in line)
    assert cli.data("status")["ownerless"] == []


# ---- runs


@words.each_vocabulary
def test_logs_of_a_slot_a_pickle_and_a_run(cli: CommandLine, failed: str) -> None:
    run = cli.sandbox.state.pickles[failed].triggers[0].id
    for name in ("staked", failed, run):
        code, out, _ = cli("logs", name)
        assert code == 0
        assert [line.split(" ", 2)[2] for line in out.splitlines()] == ["starting", "Segfault"]
    _, _, err = cli("logs", "staked")
    assert runs.SEGMENTATION_FAULT in err
    assert [line["message"] for line in cli.data("logs", run)["lines"]] == ["starting", "Segfault"]


def test_logs_leave_out_the_help_box(cli: CommandLine, failed: str) -> None:
    log = cli.sandbox.state.pickles[failed].triggers[0].logs
    log[0].message = runner_logs.make_refusal("Pickle function returned 0 predictions")
    out = cli.good("logs", "staked")
    texts = [line.split(" ", 2)[2] for line in out.splitlines()]
    head = runner_logs.HEAD.splitlines()
    assert texts == [*head, "ERROR:root:Pickle function returned 0 predictions", "Segfault"]
    assert runner_logs.HELP_BOX in cli.data("logs", "staked")["lines"][0]["message"]  # JSON is the log as it is


def test_logs_of_a_run_if_the_api_refuses_an_id_that_is_not_a_pickles(cli: CommandLine, failed: str) -> None:
    run = cli.sandbox.state.pickles[failed].triggers[-1]
    cli.sandbox.faults.add(
        "computePickles",
        faults.respond_errors("Pickle not found"),
        condition=lambda request: "id" in request.variables,
        times=None,
    )
    assert "Segfault" in cli.good("logs", run.id)


def test_logs_of_an_empty_slot_by_id_report_that_it_runs_nothing(cli: CommandLine) -> None:
    code, _, err = cli("logs", cli.sandbox.state.get_slot("fresh").id)
    assert (code, "fresh: runs no pickle" in err) == (2, True)


@words.each_vocabulary
def test_logs_of_diagnostics(cli: CommandLine, uploaded: str) -> None:
    assert "no diagnostics" in cli.good("logs", uploaded, "--diagnostics")


def test_logs_cannot_move_the_cursor(cli: CommandLine, failed: str) -> None:
    log = cli.sandbox.state.pickles[failed].triggers[0].logs
    log[0].message = "\x1b[2Jgone"
    assert "\x1b" not in cli.good("logs", "staked")


def test_logs_of_a_pickle_that_has_not_run_show_how_to_run_it(cli: CommandLine) -> None:
    record = cli.sandbox.state.add_pickle(cli.sandbox.state.get_slot("fresh"), "never.pkl")
    code, _, err = cli("logs", record.id)
    assert (code, f"trigger {record.id}" in err) == (2, True)
    assert cli("logs", "nothing_like_it")[0] == 2


def test_trigger_shows_the_consequences_and_runs_the_pickle(cli: CommandLine, failed: str) -> None:
    code, _, err = cli("trigger", "staked")
    assert (code, cli.changes()) == (5, [])
    assert "submission for round 1000" in err
    assert "STAKE    staked 12.5" in err
    out = cli.good("trigger", "staked", "--yes")
    run = cli.sandbox.state.pickles[failed].triggers[-1]
    assert run.id in out
    assert len(cli.sandbox.state.pickles[failed].triggers) == 2


@words.each_vocabulary
@pytest.mark.parametrize("has_statuses", [True, False], ids=["own-status", "trigger-status"])
def test_trigger_ends_when_the_run_does(cli: CommandLine, failed: str, *, has_statuses: bool) -> None:
    cli.sandbox.state.runs_have_statuses = has_statuses
    answer = cli.data("trigger", "staked", "--yes")
    assert (answer["run"]["status"], answer["failure"]) == (cli.words.run_good, None)
    cli.sandbox.runs.runner = runs.ScriptedRunner.failing(runs.SEGMENTATION_FAULT, "starting", "Segfault")
    code, out, _ = cli("trigger", "staked", "--yes")
    assert code == 1
    for text in (
        cli.words.run_bad,
        "Segfault",
        "fix",
        *([SEGFAULT, "builder pickle CONFIG`"] if has_statuses else []),
    ):
        assert text in out, text
    assert out.startswith("FAILED: run ")


def test_trigger_waits_through_unknown_statuses_until_its_timeout(
    cli: CommandLine, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        for pickle in answer["data"]["computePickles"]:
            pickle["triggers"][0]["status"] = "invalidated"
        return answer

    cli.sandbox.faults.add("pickle", faults.edit_response(change), times=None)
    pauses: list[float] = []
    clock = types.SimpleNamespace(sleep=pauses.append, monotonic=lambda: sum(pauses))
    monkeypatch.setattr(waiting, "time", clock)
    code, _, err = cli("trigger", "staked", "--yes", "--wait", "60")
    assert (code, sum(pauses)) == (4, 60)
    assert "run: invalidated" in err
    assert "triggering it again would start another run" in err
    assert cli("trigger", "staked", "--yes", "--wait", "0")[0] == 0
    assert len(cli.sandbox.state.pickles[failed].triggers) == 3


@pytest.mark.parametrize(("typed", "agreed"), [("", False), ("y", False), ("yes", True)])
@pytest.mark.parametrize("command_name", ["trigger", "assign"])
def test_with_a_stake_only_yes_typed_in_full_is_a_yes(
    cli: CommandLine,
    failed: str,
    uploaded: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    command_name: str,
    typed: str,
    agreed: bool,
) -> None:
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: typed)
    code, _, err = cli(command_name, "staked", *([uploaded] if command_name == "assign" else []))
    assert "[type yes]" in err
    assert (code, bool(cli.changes())) == ((0, True) if agreed else (5, False))


def test_without_a_stake_enter_is_a_yes(cli: CommandLine, uploaded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: "")
    assert "[Y/n]" in cli("trigger", uploaded)[2]
    assert cli.changes() == ["triggerComputePickleUpload"]


def test_trigger_of_an_archived_slot_is_refused(cli: CommandLine) -> None:
    record = cli.sandbox.state.add_pickle(cli.sandbox.state.get_slot("old_one"), "old.pkl", assign=True)
    for name in ("old_one", record.id):
        code, _, err = cli("trigger", name, "--yes")
        assert (code, "is archived" in err, cli.changes()) == (5, True, [])


def test_trigger_shows_the_result_of_a_validation(cli: CommandLine) -> None:
    record = cli.sandbox.state.add_pickle(cli.sandbox.state.get_slot("fresh"), "bad.pkl", passed=False)
    code, _, err = cli("trigger", record.id)
    assert (code, f"its validation status is {cli.words.bad!r}" in err, cli.changes()) == (5, True, [])


@words.each_vocabulary
def test_trigger_without_an_open_round_reports_that_nothing_is_submitted(cli: CommandLine, uploaded: str) -> None:
    cli.sandbox.state.close_round()
    code, out, err = cli("trigger", uploaded, "--yes")
    assert code == 0
    assert "submits nothing" in err
    assert runs.NO_ROUND in out


@pytest.mark.parametrize("days", [-2, 2], ids=["ahead", "behind"])
def test_the_local_clock_decides_nothing(cli: CommandLine, failed: str, days: int) -> None:
    """By the local clock, which is two days off, no round would be open and no stake asked about."""
    cli.sandbox.state.clock_offset = dt.timedelta(days=days)
    cli.sandbox.state.open_round()
    code, _, err = cli("trigger", "staked")
    assert (code, cli.changes()) == (5, [])
    assert "round    round 1000 is open until " in err
    assert "(in 23 hours)" in err
    assert "STAKE    staked 12.5: that submission is staked" in err
    assert cli.good("status").startswith("round 1000 is open until ")
    assert cli.data("status", "staked")["round"]["open"] is True
    cli.sandbox.state.close_round()
    assert "no round is open; round 1001 opens" in cli.good("status", "staked")
    assert "a run that submits nothing: no round is open" in cli("trigger", "staked")[2]


def test_the_age_of_a_pickle_uses_the_apis_clock(cli: CommandLine) -> None:
    cli.sandbox.state.clock_offset = dt.timedelta(days=-40)
    cli.sandbox.state.add_pickle(cli.sandbox.state.get_slot("fresh"), "old.pkl")
    assert "3 days ago" in cli.good("pickles")


@pytest.mark.parametrize("later", [0, 2], ids=["listed", "listed-later"])
def test_trigger_finds_the_run_whose_answer_was_lost(
    cli: CommandLine, failed: str, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    cli.sandbox.faults.add("triggerComputePickleUpload", faults.apply_then(faults.respond_html(502)))
    if later:
        cli.sandbox.faults.add("computePickles", faults.replace_field("computePickles", []), times=later, after=1)
    out = cli.good("trigger", "staked", "--yes", "--wait", "0")
    assert cli.sandbox.state.pickles[failed].triggers[-1].id in out
    assert len(cli.sandbox.state.pickles[failed].triggers) == 2


def test_trigger_that_could_not_be_confirmed_warns_against_sending_it_again(
    cli: CommandLine, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    cli.sandbox.faults.add("triggerComputePickleUpload", faults.respond_html(502))
    code, out, err = cli("trigger", "staked", "--yes")
    assert (code, out) == (4, "")
    assert "run it again" not in err
    assert "could not confirm that the run started" in err
    assert f"logs {failed}" in err
    assert cli.changes() == ["triggerComputePickleUpload"]


def test_trigger_that_was_rejected_may_be_sent_again(cli: CommandLine, failed: str) -> None:
    cli.sandbox.faults.add("triggerComputePickleUpload", faults.respond_too_many("30"))
    code, _, err = cli("trigger", "staked", "--yes")
    assert code == 4
    assert "nothing was done: run it again in 30 s" in err


def test_query_that_may_have_changed_something_is_reported(cli: CommandLine, uploaded: str) -> None:
    cli.sandbox.faults.add("*", faults.apply_then(faults.respond_html(502)))
    text = f'mutation {{ updatePickleLabel(pickleId: "{uploaded}", label: "a") {{ id }} }}'
    code, _, err = cli("query", text, "--write")
    assert code == 4
    assert "check with `python -m builder status`" in err
    assert "run it again" not in err


def test_trigger_of_a_slot_that_runs_nothing_is_refused(cli: CommandLine) -> None:
    code, _, err = cli("trigger", "fresh", "--yes")
    assert (code, "runs no pickle" in err) == (2, True)


# ---- changes


def test_assign_shows_what_it_replaces_and_reads_it_back(cli: CommandLine, uploaded: str, failed: str) -> None:
    code, _, err = cli("assign", "staked", uploaded)
    assert (code, cli.changes()) == (5, [])
    assert failed in err
    assert uploaded in err
    assert "read back" in cli.good("assign", "staked", DIGITS, "--yes")
    assert cli.sandbox.state.get_slot("staked").pickle_id == uploaded
    assert cli.data("assign", "staked", uploaded)["changed"] is False


def test_assign_restores_the_previous_pickle_if_another_is_read_back(
    cli: CommandLine, uploaded: str, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assign, "_PAUSES", (0.0,) * 5)
    other = cli.sandbox.state.add_pickle(cli.sandbox.state.get_slot("running"), "other.pkl")
    cli.sandbox.faults.add("assignPickleToModel", faults.assign_other_pickle(other.id))
    code, _, err = cli("assign", "staked", uploaded, "--yes")
    assert code == 4
    assert other.id in err
    assert cli.sandbox.state.get_slot("staked").pickle_id == failed


@pytest.mark.parametrize("slot", ["hooked", "old_one", "signals_one"])
def test_assign_refuses_a_slot_that_accepts_no_pickle(cli: CommandLine, uploaded: str, slot: str) -> None:
    assert cli("assign", slot, uploaded, "--yes")[0] == 5
    assert cli.changes() == []


@words.each_vocabulary
def test_assign_refuses_a_pickle_that_has_not_passed(cli: CommandLine) -> None:
    record = cli.sandbox.state.add_pickle(cli.sandbox.state.get_slot("fresh"), "bad.pkl", passed=False)
    code, _, err = cli("assign", "fresh", record.id, "--yes")
    assert (code, f"logs {record.id}" in err, cli.changes()) == (5, True, [])


def test_a_name_of_several_pickles_is_asked_about(cli: CommandLine) -> None:
    slot = cli.sandbox.state.get_slot("fresh")
    first, second = (cli.sandbox.state.add_pickle(slot, "same.pkl") for _ in range(2))
    code, _, err = cli("assign", "fresh", "same.pkl", "--yes")
    assert code == 2
    assert first.id in err
    assert second.id in err


def test_disable_ends_with_a_slot_that_runs_nothing(cli: CommandLine, failed: str) -> None:
    code, _, err = cli("disable", "staked")
    assert (code, "python -m builder rollback staked" in err) == (5, True)
    assert cli.data("disable", "staked", "--yes") == {
        "format": 1,
        "slot": "staked",
        "before": failed,
        "now": None,
        "changed": True,
    }
    assert cli.sandbox.state.get_slot("staked").pickle_id is None
    assert "runs no pickle" in cli.good("disable", "staked")


def test_answering_no_changes_nothing(cli: CommandLine, failed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: "n")
    code, _, err = cli("disable", "staked")
    assert (code, "nothing was changed" in err, cli.changes()) == (5, True, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ("label", "{}", "a\udcff"),
        ("query", "query($a: ID) { computePickles(id: $a) { id } }", "--variables", '{{"a": "\\ud800"}}'),
    ],
)
def test_invalid_text_is_refused(cli: CommandLine, uploaded: str, arguments: tuple[str, ...]) -> None:
    code, _, err = cli(*(argument.format(uploaded) if "query" not in argument else argument for argument in arguments))
    assert code == 2
    assert "write it in UTF-8" in err
    assert cli.changes() == []


def test_label_is_read_back(cli: CommandLine, uploaded: str) -> None:
    assert "the good one" in cli.good("label", uploaded, "the good one")
    assert cli.sandbox.state.pickles[uploaded].label == "the good one"
    assert cli.data("label", "the good one", "")["before"] == "the good one"


def test_create_model_creates_a_slot_of_classic(cli: CommandLine) -> None:
    assert cli("create-model", "brand_new")[0] == 5
    assert "next: python -m builder upload CONFIG --model=brand_new" in cli.good("create-model", "brand_new", "--yes")
    assert cli.sandbox.state.get_slot("brand_new").tournament == 8


def test_create_model_refuses_before_anything_is_sent(cli: CommandLine) -> None:
    assert cli("create-model", "Not A Name", "--yes")[0] == 2
    assert cli("create-model", "fresh", "--yes")[0] == 2
    cli.sandbox.state.accounts[0].max_model_slots = 5
    code, _, err = cli("create-model", "brand_new", "--yes")
    assert (code, "its limit is 5" in err) == (5, True)
    assert cli.changes() == []


def test_an_unknown_number_of_slots_refuses_nothing(cli: CommandLine) -> None:
    def hide_slot_count(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"]["account"]["maxModelSlots"] = None
        return answer

    cli.sandbox.faults.add("account", faults.edit_response(hide_slot_count), times=None)
    assert "sandbox_user: 5 slots taken\n" in cli.good("models")
    assert cli.data("models")["most_slots"] is None
    code, _, err = cli("create-model", "brand_new")
    assert (code, "5 slots taken" in err) == (5, True)
    cli.good("create-model", "brand_new", "--yes")
    assert cli.sandbox.state.get_slot("brand_new").tournament == 8


def test_create_model_finds_the_slot_whose_answer_was_lost(cli: CommandLine) -> None:
    cli.sandbox.faults.add("addModel", faults.apply_then(faults.respond_html(502)))
    assert cli.data("create-model", "brand_new", "--yes")["slot"]["name"] == "brand_new"
    assert cli.changes() == ["addModel"]


# ---- the token, the API, the storage


def test_credentials_show_everything_but_the_secret(cli: CommandLine) -> None:
    answer = cli.data("credentials")
    assert (answer["account"], answer["lacking"]) == ("sandbox_user", {})
    assert answer["public_id"] == cli.sandbox.state.get_token("full").public_id
    assert "upload_submission  Upload submissions and models" in cli.good("credentials")


def test_credentials_list_the_commands_without_a_scope(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    use(cli.sandbox, monkeypatch, "read only")
    out = cli.good("credentials")
    assert "upload_submission, which upload, rollback, assign" in out
    assert "download_submission, which download, why, comparing in upload need" in out
    code, _, err = cli("label", "x" * 3, "y")
    assert (code, "pickles` lists them" in err) == (2, True)


def test_a_query_without_a_token_shows_where_to_set_one(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"):
        monkeypatch.delenv(name)
    code, _, err = cli("query", "{account{username}}")
    assert (code, "a token is required and none is set" in err, "numer.ai/account" in err) == (4, True, True)


def test_without_a_public_id_no_secret_is_asked_for(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(terminal, "is_interactive", lambda: True)
    monkeypatch.setattr(terminal, "ask", lambda _: "")
    monkeypatch.setattr(terminal, "ask_hidden", lambda _: pytest.fail("asked on"))
    code, _, err = cli("models")
    assert (code, "no API token was entered" in err) == (4, True)


def test_a_revoked_token_is_reported_by_every_command(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    use(cli.sandbox, monkeypatch, "revoked")
    for arguments in (["models"], ["status"], ["pickles"], ["credentials"], ["logs", "fresh"], ["disable", "fresh"]):
        code, _, err = cli(*arguments)
        assert (code, "was rejected" in err) == (4, True)
        assert "python -m builder credentials" not in err, "which says no more than this"


def test_query_sends_any_query_and_mutations_only_with_write(cli: CommandLine, uploaded: str, tmp_path: Path) -> None:
    assert json.loads(cli.good("query", "{ account { username } }")) == {"account": {"username": "sandbox_user"}}
    text = "mutation m($id: ID!, $text: String) { updatePickleLabel(pickleId: $id, label: $text) { label } }"
    variables = json.dumps({"id": uploaded, "text": "by query"})
    code, _, err = cli("query", text, "--variables", variables)
    assert (code, "--write" in err, cli.changes()) == (5, True, [])
    (tmp_path / "label.graphql").write_text(text)
    (tmp_path / "label.json").write_text(variables)
    answer = cli.data("query", "@label.graphql", "--variables", "@label.json", "--write")
    assert answer["data"] == {"updatePickleLabel": {"label": "by query"}}
    code, _, err = cli("query", "{ nothing_like_it }")
    assert (code, "nothing_like_it" in err) == (4, True)


def test_download_compares_the_hash_with_the_name_and_the_manifests(
    cli: CommandLine, uploaded: str, tmp_path: Path
) -> None:
    manifests.commit(tmp_path / "dist" / "mlp", CONTENT)
    out = cli.good("download", uploaded, "--to", "got.pkl")
    assert (tmp_path / "got.pkl").read_bytes() == CONTENT
    assert f"the digits in its name: {DIGITS}" in out
    assert "DIFFERS" not in out
    assert "built here: dist/mlp/manifest.json" in out
    record = list(cli.sandbox.requests)[-1]
    assert (record.method, record.had_token) == ("GET", False)
    code, _, err = cli("download", uploaded, "--to", "got.pkl")
    assert (code, "already exists" in err) == (2, True)


def test_download_of_bytes_that_differ_from_the_records_is_a_finding(
    cli: CommandLine, failed: str, tmp_path: Path
) -> None:
    other = b"other bytes"
    cli.sandbox.state.pickles[failed].filename = f"old-{hashlib.sha256(other).hexdigest()[:12]}.pkl"
    cli.sandbox.storage.get_path(runs.get_key(cli.sandbox.state.pickles[failed].filename)).write_bytes(CONTENT)
    manifests.commit(tmp_path / "dist" / "old", other)
    code, out, _ = cli("download", "staked", "--to", "got.pkl")
    assert (code, "DIFFERS" in out) == (1, True)
    assert (tmp_path / "got.pkl").read_bytes() == CONTENT


def test_twelve_digits_in_a_name_of_another_tool_are_not_a_finding(cli: CommandLine, failed: str) -> None:
    pickle = cli.sandbox.state.pickles[failed]
    pickle.filename = "model-202401011234.pkl"
    cli.sandbox.storage.get_path(runs.get_key(pickle.filename)).write_bytes(CONTENT)
    out = cli.good("download", "staked", "--to", "got.pkl")
    assert (
        "note    202401011234 in its name is not the start of this hash, and may be something else, such as a date"
        in out
    )
    assert "no recorded hash to compare it with" in out
    assert cli.data("download", "staked", "--to", "again.pkl")["compared"][0]["equal"] is None


def test_a_target_that_cannot_be_written_is_reported(cli: CommandLine, uploaded: str) -> None:
    code, _, err = cli("download", uploaded, "--to", "/proc/x.pkl")
    assert (code, "/proc/x.pkl: cannot be written: " in err, "--to" in err) == (2, True, True)


def test_download_without_the_scope_or_the_bytes_leaves_no_file(
    cli: CommandLine, failed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.sandbox.storage.get_path(runs.get_key(cli.sandbox.state.pickles[failed].filename)).unlink()
    code, _, err = cli("download", "staked")
    assert (code, "not stored there" in err) == (4, True)
    use(cli.sandbox, monkeypatch, "read only")
    code, _, err = cli("download", "staked")
    assert (code, "download_submission" in err) == (4, True)
    assert list(tmp_path.iterdir()) == []


def test_download_resumes_after_the_storage_failed_once(cli: CommandLine, uploaded: str) -> None:
    cli.sandbox.faults.add("GET", faults.respond_status(503))
    assert cli.data("download", uploaded)["compared"][0]["equal"] is True


def test_a_pickle_is_found_by_the_name_it_was_uploaded_under(cli: CommandLine, uploaded: str) -> None:
    stored = cli.data("pickles", "fresh")["pickles"][0]["filename"]
    assert stored.endswith(f"-mlp-{DIGITS}.pkl")
    for number, name in enumerate((f"mlp-{DIGITS}.pkl", f"mlp-{DIGITS}", DIGITS, stored, stored.removesuffix(".pkl"))):
        assert cli.data("label", name, str(number))["pickle"] == uploaded
    cli.good("assign", "fresh", f"mlp-{DIGITS}.pkl", "--yes")
    code, _, err = cli("label", f"mpl-{DIGITS[:-1]}.pkl", "x")
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
def test_the_fix_for_a_wrong_name_is_in_the_json(cli: CommandLine, arguments: tuple[str, ...], fix: str) -> None:
    code, out, _ = cli(*arguments, "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"]) == (2, 2)
    assert error["fix"].endswith(fix)
