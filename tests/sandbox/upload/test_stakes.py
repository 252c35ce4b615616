"""Every command asks for confirmation, with the amount, before it affects a slot that has a stake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import faults

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from builder.sandbox.state import Pickle, State
    from tests.support.uploads import Project

TRIGGER, ASSIGN = "triggerComputePickleUpload", "assignPickleToModel"
UPLOAD = ("upload", "configs/small.yaml", "--no-compare")


@pytest.fixture
def shared(project: Project) -> Pickle:
    """This project's pickle, in a slot with a stake and in one without."""
    assert project.upload(slot="staked")[0] == 0
    assert project.upload()[0] == 0
    (record,) = project.list_records()
    assert project.get_slot("staked").pickle_id == project.get_slot("fresh").pickle_id == record.id
    project.sandbox.requests.clear()
    return record


def add_stake(project: Project, match: str, name: str = "fresh") -> None:
    """Add a stake to a slot at the next request that matches."""

    def then(state: State, _variables: Mapping[str, Any]) -> None:
        state.get_slot(name).stake = "7.25"

    project.sandbox.faults.add(match, faults.call_after(then))


# ---- trigger


@pytest.mark.parametrize(
    ("typed", "closed"),
    [("\n", False), ("y\n", False), ("", False), ("\n", True)],
    ids=["enter", "y", "end", "enter, no round"],
)
def test_trigger_asks_about_the_stake_of_another_slot(
    project: Project, shared: Pickle, typed: str, *, closed: bool
) -> None:
    if closed:
        project.sandbox.state.close_round()
    code, output = project.run_in_terminal("trigger", "fresh", typed=typed)
    assert (code, project.sandbox.requests.count(TRIGGER)) == (5, 0)
    assert "for fresh, staked" in output
    assert "STAKE    staked 12.5" in output
    question = "run its pickle now?" if closed else "run its pickle for round 1000, which is open?"
    assert f"staked has a stake of 12.5: {question} [type yes]" in output


@pytest.mark.parametrize("by_id", [False, True], ids=["slot", "pickle"])
def test_trigger_runs_the_pickle_after_yes_is_typed_in_full(project: Project, shared: Pickle, *, by_id: bool) -> None:
    code, output = project.run_in_terminal("trigger", shared.id if by_id else "fresh", typed="yes\n")
    assert code == 0, output
    assert project.sandbox.requests.count(TRIGGER) == 1


def test_trigger_asks_about_each_stake(project: Project, shared: Pickle) -> None:
    project.get_slot("fresh").stake = "7.25"
    code, output = project.run_in_terminal("trigger", "fresh", typed="yes\nno\n")
    assert (code, project.sandbox.requests.count(TRIGGER)) == (5, 0)
    assert "fresh has a stake of 7.25" in output
    assert "staked has a stake of 12.5" in output
    assert project.run_in_terminal("trigger", "fresh", typed="yes\nyes\n")[0] == 0


def test_trigger_with_yes_lists_every_slot_and_stake(project: Project, shared: Pickle) -> None:
    code, out, err = project.run("trigger", "fresh", "--yes", "--json")
    assert code == 0, err
    assert "STAKE    staked 12.5" in err
    touched = {slot["name"]: slot["stake"] for slot in json.loads(out)["slots"]}
    assert touched == {"fresh": "", "staked": "12.5"}


def test_trigger_asks_about_a_stake_added_before_the_answer(project: Project) -> None:
    assert project.upload()[0] == 0
    project.sandbox.requests.clear()
    add_stake(project, "rounds")
    code, output = project.run_in_terminal("trigger", "fresh", typed="y\n\n")
    assert (code, project.sandbox.requests.count(TRIGGER)) == (5, 0)
    assert "fresh has a stake of 7.25" in output


def test_trigger_asks_about_a_slot_that_the_account_does_not_list(project: Project, shared: Pickle) -> None:
    def hide(answer: dict[str, Any]) -> dict[str, Any]:
        account = answer["data"]["account"]
        account["models"] = [model for model in account["models"] if model["name"] != "staked"]
        return answer

    project.sandbox.faults.add("account", faults.edit_response(hide), times=None)
    code, output = project.run_in_terminal("trigger", "fresh", typed="y\n\n")
    assert (code, project.sandbox.requests.count(TRIGGER)) == (5, 0)
    assert f"{project.get_slot('staked').id} has a stake of unknown size" in output


# ---- upload --trigger


def test_an_upload_that_triggers_asks_about_the_stake_of_another_slot(project: Project, shared: Pickle) -> None:
    command = (*UPLOAD, "--model", "running", "--trigger")
    code, output = project.run_in_terminal(*command, typed="y\n\n")
    assert (code, project.get_slot("running").pickle_id) == (5, None)
    assert "this pickle also runs in staked, which has a stake of 12.5" in output
    assert "staked has a stake of 12.5: run its pickle for round 1000, which is open? [type yes]" in output
    assert project.sandbox.requests.count(TRIGGER) == 0
    assert project.run_in_terminal(*command, typed="y\nyes\n")[0] == 0
    assert project.sandbox.requests.count(TRIGGER) == 1


def test_an_upload_that_triggers_nothing_does_not_ask_about_another_slot(project: Project, shared: Pickle) -> None:
    code, output = project.run_in_terminal(*UPLOAD, "--model", "running", typed="y\n")
    assert code == 0, output
    assert "this pickle also runs in staked, which has a stake of 12.5: that slot does not change" in output


def test_a_stake_added_before_the_answer_is_asked_about(project: Project) -> None:
    add_stake(project, "rounds")
    code, output = project.run_in_terminal(*UPLOAD, "--model", "fresh", typed="y\ny\n\n")
    assert (code, project.list_records()) == (5, [])
    assert "fresh has a stake of 7.25: run its pickle for round 1000, which is open?" in output


def test_a_stake_added_before_the_run_stops_the_trigger(project: Project) -> None:
    add_stake(project, ASSIGN)
    code, _, err = project.upload("--trigger")
    (record,) = project.list_records()
    assert (code, project.sandbox.requests.count(TRIGGER)) == (5, 0)
    assert "it now runs in fresh (stake 7.25), which you have not confirmed" in err
    assert f"fresh runs {record.filename}, read back from the slot: that is not undone" in err
    assert project.get_slot().pickle_id == record.id
    code, _, err = project.upload("--trigger")
    assert code == 0, err
    assert "with the slot's stake of 7.25" in err


def test_a_stake_added_during_the_transfer_stops_the_registration(project: Project) -> None:
    add_stake(project, "computePickleUploadAuth")
    code, _, err = project.upload()
    assert (code, project.list_records()) == (5, [])
    assert "was not registered, which runs it: it now runs in fresh (stake 7.25), which you have not confirmed" in err
    code, _, err = project.upload()
    assert (code, len(project.list_records())) == (0, 1), err
    assert "with the slot's stake of 7.25" in err


def test_a_round_that_opens_during_the_transfer_stops_the_registration(project: Project) -> None:
    project.sandbox.state.close_round()

    def then(state: State, _variables: Mapping[str, Any]) -> None:
        state.open_round(1001)

    project.sandbox.faults.add("computePickleUploadAuth", faults.call_after(then))
    code, _, err = project.upload(slot="staked")
    assert (code, project.list_records()) == (5, [])
    assert "was not registered, which runs it: round 1001 is now open, which you have not confirmed" in err
    assert project.upload(slot="staked")[0] == 0


def test_a_stake_that_grows_before_the_run_stops_the_trigger(project: Project) -> None:
    add_stake(project, ASSIGN, "staked")
    code, _, err = project.upload("--trigger", slot="staked")
    assert (code, project.sandbox.requests.count(TRIGGER)) == (5, 0)
    assert "it now runs in staked (stake 7.25), which you have not confirmed" in err


def test_the_plan_with_yes_shows_a_stake_added_while_planning(project: Project) -> None:
    add_stake(project, "rounds")
    code, _, err = project.upload()
    assert code == 0, err
    assert "with the slot's stake of 7.25" in err


# ---- a known upload


@pytest.mark.parametrize("how", ["--dry-run", "--yes"])
def test_stake_and_round_are_in_the_plan_of_a_known_upload(project: Project, how: str) -> None:
    assert project.upload()[0] == 0
    code, out, err = project.run(*UPLOAD, "--model", "staked", how)
    assert code == 0, err
    shown = " ".join((out + err).split())
    assert "no run is started; round 1000 is open until " in shown
    assert "later rounds, with the slot's stake of 12.5" in shown
    assert "; `--trigger` (make: TRIGGER=1) runs it for this round" in shown
    assert project.sandbox.requests.count("createComputePickleUpload") == 1


def test_stake_and_round_are_in_the_plan_of_a_known_upload_for_programs(project: Project, shared: Pickle) -> None:
    project.sandbox.state.close_round()
    code, out, _ = project.run(*UPLOAD, "--model", "running", "--dry-run", "--trigger", "--json")
    plan = json.loads(out)["plan"]
    assert (code, plan["existing"], plan["runs_now"]) == (0, shared.id, False)
    assert {slot["name"]: slot["stake"] for slot in plan["also"]} == {"fresh": "", "staked": "12.5"}
    assert any("no round is open; round 1001 opens" in line for line in plan["follows"])
    assert any("also runs in staked, which has a stake of 12.5" in line for line in plan["follows"])


# ---- removing the pickle of a slot with a stake


@pytest.mark.parametrize("command", ["disable", "rollback"])
def test_a_slot_with_a_stake_is_emptied_only_after_yes_is_typed_in_full(project: Project, command: str) -> None:
    assert project.upload(slot="staked")[0] == 0
    code, output = project.run_in_terminal(command, "staked", typed="y\n")
    assert code == 5
    assert "staked has a stake of 12.5: submit nothing for it? [type yes]" in output
    assert project.get_slot("staked").pickle_id == project.list_records()[0].id
    assert project.run_in_terminal(command, "staked", typed="yes\n")[0] == 0
    assert project.get_slot("staked").pickle_id is None


@pytest.mark.parametrize("command", ["assign", "disable", "rollback"])
def test_a_change_asks_about_a_stake_added_before_the_answer(project: Project, command: str) -> None:
    before = project.assign_earlier_pickle()
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "other-aaaaaaaaaaaa.pkl")
    more = {"assign": [other.id], "disable": [], "rollback": ["--to", other.id]}[command]
    add_stake(project, "account", "running")
    code, output = project.run_in_terminal(command, "running", *more, typed="y\n\n")
    assert code == 5, output
    assert "[Y/n]" in output
    assert "running has a stake of 7.25: " in output
    assert project.get_slot("running").pickle_id == before.id
