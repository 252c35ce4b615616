"""After Ctrl-C the last line shows what the slot runs; a second run without changes rewrites no file."""

from __future__ import annotations

import dataclasses
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import faults, runs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from builder.sandbox.state import State
    from tests.support.uploads import Project

CREATE, ASSIGN, TRIGGER = "createComputePickleUpload", "assignPickleToModel", "triggerComputePickleUpload"
UPLOAD = ("upload", "configs/small.yaml", "--no-compare", "--yes", "--model")
_LOOKS_BEFORE = 3  # at the account before a pickle is registered: to plan, after comparing, and once more before that
ENDLESS = runs.ScriptedRunner(interim=("pending", "validating"), settles=False)


def stop_at(project: Project, match: str, *arguments: str, after: int = 0) -> list[str]:
    """Send Ctrl-C to a command once a request has taken effect; return the lines of its standard error."""
    reached = threading.Event()

    def then(_state: State, _variables: Mapping[str, Any]) -> None:
        reached.set()

    action = dataclasses.replace(faults.apply_then(faults.stall()), callback=then)
    project.sandbox.faults.add(match, action, after=after)
    with project.start(*arguments) as process:
        assert reached.wait(30)
        process.send_signal(signal.SIGINT)
        project.sandbox.faults.release()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    return err.splitlines()


def stop_after_output(project: Project, text: str, *arguments: str) -> list[str]:
    """Send Ctrl-C to a command once it has printed a text; return the rest of its standard error."""
    with project.start(*arguments) as process:
        assert process.stderr is not None
        while text not in (line := process.stderr.readline()):
            assert line, "the command ended before it printed the text"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    return err.splitlines()


def test_upload_stopped_while_waiting_for_the_validation(project: Project) -> None:
    before = project.assign_earlier_pickle()
    project.sandbox.runs.runner = ENDLESS
    lines = stop_after_output(project, "validation: ", *UPLOAD, "running")
    assert lines[-1] == f"running runs {before.filename} ({before.id})  (read back from the slot)"
    assert any("run the same command again to resume" in line for line in lines)


def test_upload_stopped_while_waiting_for_its_run(project: Project) -> None:
    def endless(_state: State, _variables: Mapping[str, Any]) -> None:
        project.sandbox.runs.runner = ENDLESS

    project.sandbox.faults.add(ASSIGN, faults.call_after(endless))
    lines = stop_after_output(project, "run: ", *UPLOAD, "fresh", "--trigger")
    (record,) = project.list_records()
    assert lines[-1] == f"fresh runs {record.filename} ({record.id})  (read back from the slot)"


def test_upload_stopped_after_the_assignment(project: Project) -> None:
    before = project.assign_earlier_pickle()
    lines = stop_at(project, ASSIGN, *UPLOAD, "running")
    assert lines[-1] == f"running runs {before.filename} ({before.id})  (read back from the slot)"


@pytest.mark.parametrize("slot", ["running", "brand_new"])
def test_upload_stopped_before_the_confirmation(project: Project, slot: str) -> None:
    before = project.assign_earlier_pickle()
    lines = stop_at(project, "computePickleDockerImages", *UPLOAD, slot, "--create")
    runs = f"{before.filename} ({before.id})  (read back from the slot)"
    assert lines[-1] == (f"running runs {runs}" if slot == "running" else "brand_new: the slot does not exist")


def test_upload_stopped_while_registering_for_a_new_slot(project: Project) -> None:
    lines = stop_at(project, CREATE, *UPLOAD, "brand_new", "--create")
    assert lines[-1] == "brand_new runs no pickle  (read back from the slot)"


def test_upload_stopped_when_the_api_no_longer_answers(project: Project) -> None:
    before = project.assign_earlier_pickle()
    project.sandbox.faults.add("account", faults.respond_html(502), times=None, after=_LOOKS_BEFORE)
    lines = stop_at(project, CREATE, *UPLOAD, "running")
    assert lines[-1].startswith("cannot read running again (")
    assert f"when last read, it ran {before.filename} ({before.id})" in lines[-1]
    assert "`make status SLOT=running`" in lines[-1]
    assert project.sandbox.requests.count("account") == _LOOKS_BEFORE + 1, (
        "someone waits at the terminal, so the slot is read once"
    )


def test_upload_stopped_when_the_api_stalls(project: Project) -> None:
    """The interrupt is raised again while the slot is read; what was known about the slot is still shown."""
    before = project.assign_earlier_pickle()
    project.sandbox.faults.add("account", faults.stall(), times=None, after=_LOOKS_BEFORE)
    lines = stop_at(project, CREATE, *UPLOAD, "running")
    assert "no answer for 5 s" in lines[-1]
    assert f"when last read, it ran {before.filename} ({before.id})" in lines[-1]
    assert lines.count("interrupted") == 1


def test_upload_stopped_and_not_restored_ends_with_what_the_slot_runs(project: Project) -> None:
    """Send Ctrl-C after the assignment took effect; every later assignment fails."""
    before = project.assign_earlier_pickle()
    project.sandbox.faults.add(ASSIGN, faults.respond_html(502), times=None, after=1)
    lines = stop_at(project, ASSIGN, *UPLOAD, "running")
    (record,) = project.list_records()
    assert any("the previous pickle of running could NOT be restored" in line for line in lines)
    assert any(f"assign running {before.id}" in line for line in lines)
    assert project.get_slot("running").pickle_id == record.id
    assert lines[-1] == f"running runs {record.filename} ({record.id})  (read back from the slot)"


def test_trigger_stopped_shows_what_each_slot_of_the_pickle_runs(project: Project) -> None:
    assert project.upload()[0] == project.upload(slot="staked")[0] == 0
    lines = stop_at(project, TRIGGER, "trigger", "fresh", "--yes")
    (record,) = project.list_records()
    assert lines[-2:] == [
        f"{name} runs {record.filename} ({record.id})  (read back from the slot)" for name in ("fresh", "staked")
    ]
    assert any("could not confirm that a run was started" in line for line in lines)


@pytest.mark.parametrize("command", ["assign", "disable", "rollback"])
def test_a_change_that_is_stopped_ends_with_what_the_slot_runs(project: Project, command: str) -> None:
    before = project.assign_earlier_pickle()
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "other-aaaaaaaaaaaa.pkl")
    more = {"assign": [other.id], "disable": [], "rollback": ["--to", other.id]}[command]
    lines = stop_at(project, ASSIGN, command, "running", *more, "--yes")
    assert lines[-1] == f"running runs {before.filename} ({before.id})  (read back from the slot)"
    assert project.get_slot("running").pickle_id == before.id


# ---- a second run


def read_records(project: Project) -> dict[Path, tuple[bytes, int]]:
    """Return content and modification time of the receipt and of the upload log."""
    paths = (project.folder / "receipt.json", project.log_path("running"))
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize("first", [(), ("--trigger",)], ids=["plain", "triggered"])
def test_a_second_run_that_changes_nothing_rewrites_nothing(project: Project, first: tuple[str, ...]) -> None:
    project.assign_earlier_pickle()
    assert project.upload("--no-compare", *first, slot="running")[0] == 0
    before = read_records(project)
    for arguments in ((), first):
        code, out, err = project.upload("--no-compare", *arguments, slot="running")
        assert code == 0, err
        assert "(unchanged)" in out
        assert read_records(project) == before


def test_a_later_trigger_changes_only_its_own_times(project: Project) -> None:
    assert project.upload()[0] == 0
    before = project.read_receipt()
    assert project.upload("--trigger")[0] == 0
    after = project.read_receipt()
    assert after["trigger"] == project.list_records()[0].triggers[-1].id
    assert set(after["times"]) - set(before["times"]) == {"triggering", "triggered"}
    assert {step: after["times"][step] for step in before["times"]} == before["times"]


def test_the_receipt_in_the_folder_is_of_the_last_slot(project: Project) -> None:
    assert project.upload()[0] == 0
    first = (project.folder / "receipt.json").read_bytes()
    assert project.upload(slot="running")[0] == 0
    assert project.read_receipt()["slot"] == "running"
    assert project.upload()[0] == 0
    assert (project.folder / "receipt.json").read_bytes() == first
