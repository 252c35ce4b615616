"""Row 22: a real process is killed in each state; run again, there is one record and one assignment, nothing lost."""

from __future__ import annotations

import dataclasses
import datetime as dt
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import faults, runs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from builder.sandbox.state import State
    from tests.support.uploads import Project

MB = 1 << 20
AUTH, CREATE, ASSIGN, TRIGGER = (
    "computePickleUploadAuth",
    "createComputePickleUpload",
    "assignPickleToModel",
    "triggerComputePickleUpload",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """Where the process is held: at a request, before it takes effect or after."""

    match: str
    applied: bool = False
    after: int = 0
    body: int = 0

    def reach(self, project: Project, *arguments: str, sent: int) -> str:
        """Start an upload, hold it there, and send it a signal; return what it said last."""
        there = threading.Event()

        def then(_state: State, _variables: Mapping[str, Any]) -> None:
            there.set()

        action = faults.stall(after_bytes=self.body)
        if self.applied:
            action = dataclasses.replace(faults.applied(action), then=then)
        project.sandbox.faults.add(self.match, action, after=self.after)
        with project.start("upload", "configs/small.yaml", "--model", "running", "--yes", *arguments) as process:
            project.sandbox.requests.wait_for(self.match, count=self.after + 1, read=self.body)
            if self.applied:
                assert there.wait(30)
            process.send_signal(sent)
            if sent != signal.SIGKILL:
                project.sandbox.faults.release()
            _, err = process.communicate(timeout=60)
        project.sandbox.faults.release()
        assert process.returncode == (-9 if sent == signal.SIGKILL else 130), err
        return err


STATES = {
    "planning": Held(match="computePickleDockerImages"),
    "authorising": Held(match=AUTH),
    "authorised": Held(match=AUTH, applied=True),
    "sending": Held(match="PUT", body=MB),
    "sent": Held(match="PUT", applied=True),
    "registering": Held(match=CREATE),
    "registered": Held(match=CREATE, applied=True),
    "waiting": Held(match="computePickles", after=2),
    "assigning": Held(match=ASSIGN),
    "assigned": Held(match=ASSIGN, applied=True),
    "reading back": Held(match="account", after=4),
}


NOTHING_TO_FORGET = {"planning", "authorising", "authorised", "sending"}


@pytest.mark.parametrize(
    ("state", "keeps_log"),
    [
        pytest.param(state, keeps_log, id=f"{state}, log {'kept' if keeps_log else 'gone'}")
        for state in STATES
        for keeps_log in (True, False)
        if keeps_log or state not in NOTHING_TO_FORGET
    ],
)
def test_row_22_killed_and_run_again(project: Project, state: str, *, keeps_log: bool) -> None:
    project.replace_pickle(bytes(range(251)) * (4 * MB // 251))
    before = project.assign_earlier_pickle()
    STATES[state].reach(project, "--no-compare", sent=signal.SIGKILL)
    if not keeps_log:
        project.remove_logs()
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 0, err
    (record,) = project.list_records()
    assert project.get_slot("running").pickle_id == record.id
    assert project.sandbox.read_pickle(record.filename) == (project.folder / "model.pkl").read_bytes()
    receipt = project.read_receipt()
    assert receipt["pickle"] == record.id
    # What it ran before is lost only where neither the slot nor the log can say it any more.
    forgotten = state in {"assigned", "reading back"} and not keeps_log
    assert (receipt["previous"], receipt["known"]) == ((None, False) if forgotten else (before.id, True))


def test_row_22_killed_while_it_runs_at_the_tournament(project: Project) -> None:
    Held(match=TRIGGER, applied=True).reach(project, "--no-compare", "--trigger", sent=signal.SIGKILL)
    code, _, err = project.upload("--no-compare", "--trigger", slot="running")
    assert code == 0, err
    (record,) = project.list_records()
    assert project.get_slot("running").pickle_id == record.id


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "sigterm", "hang-up"])
@pytest.mark.parametrize("state", ["assigning", "assigned", "reading back"])
def test_stopped_in_the_window_the_slot_gets_back_what_it_had(project: Project, state: str, sent: int) -> None:
    before = project.assign_earlier_pickle()
    err = STATES[state].reach(project, "--no-compare", sent=sent)
    assert f"runs what it ran before: {before.filename}" in err
    assert project.get_slot("running").pickle_id == before.id
    assert project.upload("--no-compare", slot="running")[0] == 0
    (record,) = project.list_records()
    assert project.get_slot("running").pickle_id == record.id
    assert project.read_receipt()["previous"] == before.id


def test_the_slot_is_restored_when_the_reader_of_the_output_is_gone(project: Project) -> None:
    """Ctrl-C ends the `tee` that reads it too, and a terminal that is closed takes no more words."""
    before, there = project.assign_earlier_pickle(), threading.Event()

    def then(_state: State, _variables: Mapping[str, Any]) -> None:
        there.set()

    project.sandbox.faults.add(ASSIGN, dataclasses.replace(faults.applied(faults.stall()), then=then))
    with project.start("upload", "configs/small.yaml", "--model", "running", "--yes", "--no-compare") as process:
        assert there.wait(30)
        assert process.stderr is not None
        process.stderr.close()
        process.send_signal(signal.SIGINT)
        project.sandbox.faults.release()
        assert process.wait(60) == 130
    assert project.get_slot("running").pickle_id == before.id


@pytest.mark.parametrize(("hours", "times"), [(0.5, 1), (2, 2)], ids=["kept", "expired"])
def test_what_is_stored_expires_by_the_apis_clock(project: Project, hours: float, times: int) -> None:
    STATES["registering"].reach(project, sent=signal.SIGKILL)
    project.sandbox.state.clock_offset = dt.timedelta(hours=hours)
    assert project.upload(slot="running")[0] == 0
    assert project.sandbox.requests.count("PUT") == times


def test_killed_after_a_registration_that_is_not_listed_yet(project: Project) -> None:
    """The list is empty once more than the plan looks: the log knows that a registration was sent."""
    STATES["registered"].reach(project, sent=signal.SIGKILL)
    hidden = faults.changed(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    assert project.upload(slot="running")[0] == 0
    assert project.sandbox.faults.left() == 0
    assert len(project.list_records()) == 1
    assert project.sandbox.requests.count(CREATE) == 1


def test_killed_after_a_registration_and_run_for_another_slot(project: Project) -> None:
    """The same, and on with another slot: the other slot's log knows what was sent."""
    STATES["registered"].reach(project, sent=signal.SIGKILL)
    hidden = faults.changed(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    assert project.upload(slot="fresh")[0] == 0
    (record,) = project.list_records()
    assert project.get_slot("fresh").pickle_id == record.id
    assert project.sandbox.requests.count(CREATE) == 1


def test_killed_twice_and_then_for_another_data_version(project: Project) -> None:
    """A registration whose response was lost was for another data version: it is not used for this one."""
    STATES["registered"].reach(project, sent=signal.SIGKILL)
    project.sandbox.requests.clear()
    project.use_data_version("v5.1")
    STATES["authorised"].reach(project, sent=signal.SIGKILL)
    code, _, err = project.upload(slot="running")
    assert code == 0, err
    assert sorted(item.data_version.name for item in project.list_records()) == ["v5.1", "v5.2"]
    runs_now = project.sandbox.state.pickles[str(project.get_slot("running").pickle_id)]
    receipt = project.read_receipt()
    assert runs_now.data_version.name == receipt["data_version"] == "v5.1"
    assert (receipt["pickle"], receipt["data_version_id"]) == (runs_now.id, runs_now.data_version.id)


def test_what_an_upload_for_another_data_version_wrote_down_is_passed_over(project: Project) -> None:
    """Started for one slot and for another, then resumed for the first, whose registration is not listed yet."""
    STATES["registered"].reach(project, sent=signal.SIGKILL)
    project.sandbox.requests.clear()
    project.use_data_version("v5.1")
    STATES["registering"].reach(project, sent=signal.SIGKILL)
    project.use_data_version("v5.2")
    hidden = faults.changed(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    code, _, err = project.upload(slot="running")
    assert code == 0, err
    (record,) = project.list_records()
    assert (project.get_slot("running").pickle_id, record.data_version.name) == (record.id, "v5.2")


def test_killed_while_its_failure_is_read(project: Project) -> None:
    project.sandbox.runs.judge = runs.Scripted.failing("It broke.", "a line")
    Held(match="triggerLogs").reach(project, sent=signal.SIGKILL)
    code, out, _ = project.upload(slot="running")
    assert code == 1
    assert "It broke." in out
    assert len(project.list_records()) == 1
