"""An upload that fails restores the slot's pickle and webhook, or reports what the slot runs now."""

from __future__ import annotations

import dataclasses
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import faults, runs
from tests.support import words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from builder.sandbox.state import State
    from tests.support.uploads import Project

ASSIGN, TRIGGER, WEBHOOK = "assignPickleToModel", "triggerComputePickleUpload", "setSubmissionWebhook"
OUT_OF_MEMORY = runs.ScriptedRunner.failing("Out of memory.", "the last line")
ENDLESS = runs.ScriptedRunner(settles=False)


def judge_runs_after_assignment(project: Project, judge: runs.PickleRunner) -> None:
    """Let the pickle pass validation, and use another judge for runs after the assignment."""

    def judge_so(state: State, variables: Mapping[str, Any]) -> None:
        project.sandbox.runs.runner = judge

    project.sandbox.faults.add(ASSIGN, faults.call_after(judge_so))


def settle(project: Project, outcome: runs.ScriptedRunner) -> None:
    """End the run in progress now."""
    (record,) = project.list_records()
    record.status = project.sandbox.state.words.good
    project.sandbox.runs.runner = outcome
    project.sandbox.runs._settle(record, record.triggers[-1], outcome.outcome, validates=False)


def test_no_slot_is_created_that_could_not_be_assigned_the_pickle(project: Project, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = project.upload("--create", slot="brand_new", XDG_STATE_HOME=str(tmp_path / "file"))
    assert (code, "set XDG_STATE_HOME" in err) == (2, True)
    assert "brand_new" not in {slot.name for slot in project.sandbox.state.slots.values()}


def test_killed_while_the_slot_is_created_it_is_created_once(project: Project) -> None:
    _kill_at(project, "addModel", "--create", slot="brand_new", applied=True)
    code, _, err = project.upload("--create", slot="brand_new")
    assert code == 0, err
    assert sum(slot.name == "brand_new" for slot in project.sandbox.state.slots.values()) == 1
    assert project.get_slot("brand_new").pickle_id == project.list_records()[0].id


# ---- the webhook


def test_a_run_that_fails_restores_the_webhook(project: Project) -> None:
    address = project.get_slot("hooked").webhook
    judge_runs_after_assignment(project, OUT_OF_MEMORY)
    code, out, err = project.upload("--clear-webhook", "--trigger", slot="hooked")
    assert code == 1
    assert "hooked still runs no pickle" in out
    assert "restored the webhook of hooked" in err
    assert (project.get_slot("hooked").pickle_id, project.get_slot("hooked").webhook) == (None, address)


def test_a_slot_that_keeps_the_pickle_does_not_get_its_webhook_back(project: Project) -> None:
    judge_runs_after_assignment(project, ENDLESS)
    code, _, err = project.upload("--clear-webhook", "--trigger", "--wait", "0", slot="hooked")
    (record,) = project.list_records()
    assert code == 4
    assert f"hooked runs {record.filename}, read back from the slot: that is not undone" in err
    assert (project.get_slot("hooked").pickle_id, project.get_slot("hooked").webhook) == (record.id, None)


def test_a_webhook_removed_by_a_killed_upload_is_restored_by_the_next_failure(project: Project) -> None:
    address = project.get_slot("hooked").webhook
    _kill_at(project, "createComputePickleUpload", "--clear-webhook", slot="hooked")
    assert project.get_slot("hooked").webhook is None
    project.sandbox.runs.runner = OUT_OF_MEMORY
    assert project.upload("--clear-webhook", slot="hooked")[0] == 1
    assert project.get_slot("hooked").webhook == address


def test_an_upload_killed_while_the_webhook_is_removed_can_be_resumed(project: Project) -> None:
    _kill_at(project, "createComputePickleUpload", "--clear-webhook", slot="hooked")
    assert project.upload("--clear-webhook", slot="hooked")[0] == 0
    project.replace_pickle(b"the next one, which is bad")
    project.sandbox.runs.runner = OUT_OF_MEMORY
    assert project.upload("--no-compare", slot="hooked")[0] == 1
    assert project.get_slot("hooked").webhook is None


def test_a_webhook_that_cannot_be_restored_is_reported_with_the_log_that_has_its_address(project: Project) -> None:
    address = project.get_slot("hooked").webhook
    assert address
    project.sandbox.runs.runner = OUT_OF_MEMORY
    project.sandbox.faults.add(WEBHOOK, faults.respond_html(502), times=None, after=1)
    code, _, err = project.upload("--clear-webhook", slot="hooked")
    assert code == 1
    assert "could NOT be restored" in err
    assert address not in err
    (log_path,) = [word for word in err.split() if word.endswith(".jsonl")]
    assert address in Path(log_path).read_text()


def test_a_webhook_change_without_an_answer_is_retried(project: Project) -> None:
    project.sandbox.faults.add(WEBHOOK, faults.respond_html(502))
    assert project.upload("--clear-webhook", slot="hooked")[0] == 0
    assert project.get_slot("hooked").webhook is None


def test_a_webhook_is_asked_about_even_if_the_pickle_already_runs_there(project: Project) -> None:
    assert project.upload("--clear-webhook", slot="hooked")[0] == 0
    project.get_slot("hooked").webhook = "https://example.com/again"
    code, shown = project.run_in_terminal(
        "upload", "configs/small.yaml", "--model", "hooked", "--clear-webhook", typed="y\nno\n"
    )
    assert code == 5
    assert "removes the slot's webhook" in shown
    assert "[type yes]" in shown
    assert project.get_slot("hooked").webhook == "https://example.com/again"


def test_rollback_to_no_pickle_restores_the_webhook(project: Project) -> None:
    address = project.get_slot("hooked").webhook
    assert project.upload("--clear-webhook", slot="hooked")[0] == 0
    code, _, err = project.run("rollback", "hooked", "--yes")
    assert code == 0
    assert "the webhook that was removed for its current pickle is restored" in err
    assert (project.get_slot("hooked").pickle_id, project.get_slot("hooked").webhook) == (None, address)


# ---- a triggered run


def test_each_assignment_is_run(project: Project) -> None:
    assert project.upload("--trigger")[0] == 0
    assert project.run("rollback", "fresh", "--yes")[0] == 0
    assert project.upload("--trigger")[0] == 0
    assert project.sandbox.requests.count(TRIGGER) == 2
    assert project.read_receipt()["trigger"] == project.list_records()[0].triggers[-1].id


def test_a_failed_run_is_followed_by_a_new_run(project: Project) -> None:
    judge_runs_after_assignment(project, OUT_OF_MEMORY)
    assert project.upload("--trigger")[0] == 1
    project.sandbox.runs.runner = runs.ScriptedRunner()
    assert project.upload("--trigger")[0] == 0
    assert project.sandbox.requests.count(TRIGGER) == 2


def test_an_upload_killed_before_recording_the_run_does_not_run_it_twice(project: Project) -> None:
    _kill_at(project, TRIGGER, "--trigger", applied=True)
    code, out, err = project.upload("--trigger")
    assert code == 0, err
    (record,) = project.list_records()
    assert f"run {record.triggers[-1].id}" in out
    assert project.sandbox.requests.count(TRIGGER) == 1


def test_an_upload_killed_before_the_trigger_runs_the_pickle_once_resumed(project: Project) -> None:
    _kill_at(project, TRIGGER, "--trigger")
    assert project.upload("--trigger")[0] == 0
    assert len(project.list_records()[0].triggers) == 2


@pytest.mark.parametrize("slot", ["fresh", "running"])
def test_a_run_that_fails_later_restores_the_slot(project: Project, slot: str) -> None:
    before = project.assign_earlier_pickle().id if slot == "running" else None
    judge_runs_after_assignment(project, ENDLESS)
    assert project.upload("--no-compare", "--trigger", "--wait", "0", slot=slot)[0] == 4
    assert project.get_slot(slot).pickle_id == project.list_records()[0].id
    settle(project, OUT_OF_MEMORY)
    code, out, _ = project.upload("--no-compare", "--trigger", slot=slot)
    assert code == 1
    assert f"{slot} still runs {'11112222-before' if before else 'no pickle'}" in out
    assert project.get_slot(slot).pickle_id == before


def test_a_run_that_fails_with_the_previous_pickle_unknown_is_reported(project: Project) -> None:
    judge_runs_after_assignment(project, ENDLESS)
    assert project.upload("--no-compare", "--trigger", "--wait", "0")[0] == 4
    project.remove_logs()
    settle(project, OUT_OF_MEMORY)
    code, out, _ = project.upload("--no-compare", "--trigger")
    assert code == 1
    assert "fresh RUNS THE FAILED PICKLE; `make rollback MODEL=fresh`" in out
    assert project.get_slot().pickle_id == project.list_records()[0].id


def test_a_run_that_is_refused_restores_the_slot(project: Project) -> None:
    before = project.assign_earlier_pickle()
    project.sandbox.faults.add(TRIGGER, faults.respond_errors("no runs today"))
    code, _, err = project.upload("--no-compare", "--trigger", slot="running")
    assert code == 4
    assert "no runs today" in err
    assert f"running runs {before.filename}" in err
    assert project.get_slot("running").pickle_id == before.id


@pytest.mark.parametrize("ends", ["failed", "unreadable"])
def test_a_pickle_assigned_by_someone_else_during_the_run_is_kept(project: Project, ends: str) -> None:
    project.assign_earlier_pickle()
    theirs = project.sandbox.state.add_pickle(project.get_slot("running"), "theirs-ffffffffffff.pkl")
    judge_runs_after_assignment(project, OUT_OF_MEMORY)

    def change(state: State, variables: Mapping[str, Any]) -> None:
        state.get_slot("running").pickle_id = theirs.id

    def then(state: State, variables: Mapping[str, Any]) -> None:
        action = faults.edit_response(lambda answer: answer if ends == "failed" else {"data": None})
        project.sandbox.faults.add("computePickles", dataclasses.replace(action, callback=change))

    project.sandbox.faults.add(TRIGGER, faults.call_after(then))
    code, out, err = project.upload("--no-compare", "--trigger", slot="running")
    assert code == (1 if ends == "failed" else 4)
    assert f"running runs {theirs.filename} ({theirs.id}), which was assigned elsewhere in the meantime" in out + err
    assert project.get_slot("running").pickle_id == theirs.id
    assert not (project.folder / "receipt.json").exists()


def test_a_run_that_started_without_an_answer_is_watched(project: Project) -> None:
    project.sandbox.faults.add(TRIGGER, faults.apply_then(faults.respond_null_data()))
    code, out, err = project.upload("--trigger")
    assert code == 0, err
    (record,) = project.list_records()
    assert f"run {record.triggers[-1].id}" in out
    assert project.get_slot().pickle_id == record.id


def test_a_run_that_is_listed_late_is_waited_for(project: Project) -> None:
    before = project.assign_earlier_pickle()
    judge_runs_after_assignment(project, OUT_OF_MEMORY)

    def hide(answer: dict[str, Any]) -> dict[str, Any]:
        for pickle in answer["data"]["computePickles"]:
            pickle["triggers"] = pickle["triggers"][:1]
        return answer

    def then(state: State, variables: Mapping[str, Any]) -> None:
        project.sandbox.faults.add("computePickles", faults.edit_response(hide), times=2)

    project.sandbox.faults.add(TRIGGER, faults.call_after(then))
    code, out, _ = project.upload("--no-compare", "--trigger", slot="running")
    assert (code, "Out of memory." in out) == (1, True)
    assert project.get_slot("running").pickle_id == before.id


def test_an_undone_upload_leaves_no_receipt(project: Project) -> None:
    judge_runs_after_assignment(project, OUT_OF_MEMORY)
    assert project.upload("--trigger")[0] == 1
    assert not (project.folder / "receipt.json").exists()
    assert "given back" in [line["step"] for line in project.read_log()]


def test_an_upload_stopped_while_waiting_for_its_run_shows_what_the_slot_runs(project: Project) -> None:
    judge_runs_after_assignment(project, ENDLESS)
    with project.start("upload", "configs/small.yaml", "--model", "fresh", "--yes", "--trigger") as process:
        project.sandbox.requests.wait_for(TRIGGER, count=1)
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        while "run: " not in lines[-1]:
            lines.append(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    (record,) = project.list_records()
    assert process.returncode == 130
    assert f"fresh runs {record.filename}, read back from the slot: that is not undone" in err
    assert "again to resume" in err
    assert project.get_slot().pickle_id == record.id


# ---- a pickle that never passed validation


@words.each_vocabulary
def test_a_later_run_without_a_round_does_not_override_a_failed_validation(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner.failing(runs.SEGMENTATION_FAULT)
    assert project.upload()[0] == 1
    (record,) = project.list_records()
    project.sandbox.state.close_round()
    assert project.run("trigger", record.id, "--yes")[0] == 0
    assert project.upload()[0] == 1
    code, _, err = project.run("rollback", "fresh", "--to", record.id, "--yes")
    assert (code, "only a valid pickle can be assigned" in err) == (5, True)
    assert project.sandbox.requests.count(ASSIGN) == 0


@words.each_vocabulary
def test_a_pickle_run_without_a_round_can_be_assigned_by_hand(project: Project) -> None:
    project.sandbox.state.close_round()
    project.sandbox.state.no_round_fails = True
    assert project.upload()[0] == 0
    (record,) = project.list_records()
    assert project.run("disable", "fresh", "--yes")[0] == 0
    code, _, err = project.run("assign", "fresh", record.id, "--yes")
    assert code == 0, err
    assert project.get_slot().pickle_id == record.id


# ---- rollback of changes made by any command


def test_rollback_after_disable(project: Project) -> None:
    before = project.assign_earlier_pickle()
    assert project.run("disable", "running", "--yes")[0] == 0
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.get_slot("running").pickle_id == before.id


def test_rollback_undoes_the_last_change_not_the_upload(project: Project) -> None:
    project.assign_earlier_pickle()
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "other-ffffffffffff.pkl")
    assert project.upload("--no-compare", slot="running")[0] == 0
    (record,) = project.list_records()
    for pickle_id in (other.id, record.id):
        assert project.run("assign", "running", pickle_id, "--yes")[0] == 0
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.get_slot("running").pickle_id == other.id


def test_a_rollback_to_a_chosen_pickle_can_be_rolled_back(project: Project) -> None:
    now = project.assign_earlier_pickle()
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "other-ffffffffffff.pkl")
    assert project.run("rollback", "running", "--to", other.id, "--yes")[0] == 0
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.get_slot("running").pickle_id == now.id


def test_rollback_ignores_a_change_that_was_undone(project: Project) -> None:
    before = project.assign_earlier_pickle()
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "other-ffffffffffff.pkl")
    assert project.run("assign", "running", other.id, "--yes")[0] == 0
    project.sandbox.faults.add(ASSIGN, faults.replace_field(ASSIGN, "error"))
    assert project.run("assign", "running", before.id, "--yes")[0] == 4
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.get_slot("running").pickle_id == before.id


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "answer-lost"])
def test_a_new_slot_may_share_the_name_of_a_slot_of_another_tournament(project: Project, *, answered: bool) -> None:
    if not answered:
        project.sandbox.faults.add("addModel", faults.apply_then(faults.reset()))
    assert project.upload("--create", slot="signals_one")[0] == 0
    (slot,) = [slot for slot in project.sandbox.state.slots.values() if slot.pickle_id]
    assert (slot.name, slot.tournament) == ("signals_one", 8)


def _kill_at(project: Project, match: str, *arguments: str, slot: str = "fresh", applied: bool = False) -> None:
    """Kill an upload at a request, before or after it takes effect."""
    reached = threading.Event()

    def then(state: State, variables: Mapping[str, Any]) -> None:
        reached.set()

    action = faults.stall()
    project.sandbox.faults.add(
        match, dataclasses.replace(faults.apply_then(action), callback=then) if applied else action
    )
    with project.start("upload", "configs/small.yaml", "--model", slot, "--yes", *arguments) as process:
        project.sandbox.requests.wait_for(match, count=1)
        assert not applied or reached.wait(30)
        process.kill()
        process.communicate(timeout=60)
    project.sandbox.faults.release()
