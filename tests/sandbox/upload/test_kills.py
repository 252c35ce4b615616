"""Injected failure 22: an upload is killed in each state; run again, it makes one record and one assignment."""

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
    """The request at which the process is stopped, before or after it takes effect."""

    match: str
    applied: bool = False
    after: int = 0
    body: int = 0

    def reach(self, project: Project, *arguments: str, signum: int) -> str:
        """Start an upload, wait until it reaches the request, and send it a signal; return its standard error."""
        reached = threading.Event()

        def then(_state: State, _variables: Mapping[str, Any]) -> None:
            reached.set()

        action = faults.stall(after_bytes=self.body)
        if self.applied:
            action = dataclasses.replace(faults.apply_then(action), callback=then)
        project.sandbox.faults.add(self.match, action, after=self.after)
        with project.start("upload", "configs/small.yaml", "--model", "running", "--yes", *arguments) as process:
            project.sandbox.requests.wait_for(self.match, count=self.after + 1, bytes_read=self.body)
            if self.applied:
                assert reached.wait(30)
            process.send_signal(signum)
            if signum != signal.SIGKILL:
                project.sandbox.faults.release()
            _, err = process.communicate(timeout=60)
        project.sandbox.faults.release()
        assert process.returncode == (-9 if signum == signal.SIGKILL else 130), err
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
    STATES[state].reach(project, "--no-compare", signum=signal.SIGKILL)
    if not keeps_log:
        project.remove_logs()
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 0, err
    (record,) = project.list_records()
    assert project.get_slot("running").pickle_id == record.id
    assert project.sandbox.read_pickle(record.filename) == (project.folder / "model.pkl").read_bytes()
    receipt = project.read_receipt()
    assert receipt["pickle"] == record.id
    # The previous pickle is unknown only if neither the slot nor the log still has it.
    forgotten = state in {"assigned", "reading back"} and not keeps_log
    assert (receipt["previous"], receipt["known"]) == ((None, False) if forgotten else (before.id, True))


def test_row_22_killed_while_it_runs_at_the_tournament(project: Project) -> None:
    Held(match=TRIGGER, applied=True).reach(project, "--no-compare", "--trigger", signum=signal.SIGKILL)
    code, _, err = project.upload("--no-compare", "--trigger", slot="running")
    assert code == 0, err
    (record,) = project.list_records()
    assert project.get_slot("running").pickle_id == record.id


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "sigterm", "hang-up"])
@pytest.mark.parametrize("state", ["assigning", "assigned", "reading back"])
def test_an_upload_stopped_after_assigning_restores_the_slot(project: Project, state: str, signum: int) -> None:
    before = project.assign_earlier_pickle()
    err = STATES[state].reach(project, "--no-compare", signum=signum)
    assert f"still runs {before.filename}" in err
    assert project.get_slot("running").pickle_id == before.id
    assert project.upload("--no-compare", slot="running")[0] == 0
    (record,) = project.list_records()
    assert project.get_slot("running").pickle_id == record.id
    assert project.read_receipt()["previous"] == before.id


def test_an_upload_stopped_without_a_reader_restores_the_slot(project: Project) -> None:
    """Ctrl-C also ends a `tee` that reads the output, and a closed terminal accepts no output."""
    before, reached = project.assign_earlier_pickle(), threading.Event()

    def then(_state: State, _variables: Mapping[str, Any]) -> None:
        reached.set()

    project.sandbox.faults.add(ASSIGN, dataclasses.replace(faults.apply_then(faults.stall()), callback=then))
    with project.start("upload", "configs/small.yaml", "--model", "running", "--yes", "--no-compare") as process:
        assert reached.wait(30)
        assert process.stderr is not None
        process.stderr.close()
        process.send_signal(signal.SIGINT)
        project.sandbox.faults.release()
        assert process.wait(60) == 130
    assert project.get_slot("running").pickle_id == before.id


@pytest.mark.parametrize(("hours", "times"), [(0.5, 1), (2, 2)], ids=["kept", "expired"])
def test_a_stored_file_expires_by_the_apis_clock(project: Project, hours: float, times: int) -> None:
    STATES["registering"].reach(project, signum=signal.SIGKILL)
    project.sandbox.state.clock_offset = dt.timedelta(hours=hours)
    assert project.upload(slot="running")[0] == 0
    assert project.sandbox.requests.count("PUT") == times


def test_killed_after_a_registration_that_is_not_listed_yet(project: Project) -> None:
    """The list stays empty for one read more than the plan makes: the log shows that a registration was sent."""
    STATES["registered"].reach(project, signum=signal.SIGKILL)
    hidden = faults.edit_response(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    assert project.upload(slot="running")[0] == 0
    assert project.sandbox.faults.count_remaining() == 0
    assert len(project.list_records()) == 1
    assert project.sandbox.requests.count(CREATE) == 1


def test_killed_after_a_registration_and_run_for_another_slot(project: Project) -> None:
    """The upload continues for another slot: the first slot's log shows what was sent."""
    STATES["registered"].reach(project, signum=signal.SIGKILL)
    hidden = faults.edit_response(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    assert project.upload(slot="fresh")[0] == 0
    (record,) = project.list_records()
    assert project.get_slot("fresh").pickle_id == record.id
    assert project.sandbox.requests.count(CREATE) == 1


def test_killed_twice_and_then_for_another_data_version(project: Project) -> None:
    """The unanswered registration was for another data version, so this upload does not reuse it."""
    STATES["registered"].reach(project, signum=signal.SIGKILL)
    project.sandbox.requests.clear()
    project.use_data_version("v5.2")
    STATES["authorised"].reach(project, signum=signal.SIGKILL)
    code, _, err = project.upload(slot="running")
    assert code == 0, err
    assert sorted(record.data_version.name for record in project.list_records()) == ["v5.2", "v5.3"]
    runs_now = project.sandbox.state.pickles[str(project.get_slot("running").pickle_id)]
    receipt = project.read_receipt()
    assert runs_now.data_version.name == receipt["data_version"] == "v5.2"
    assert (receipt["pickle"], receipt["data_version_id"]) == (runs_now.id, runs_now.data_version.id)


def test_records_of_another_data_version_are_ignored(project: Project) -> None:
    """Start for one data version, start for another, resume the first, whose registration is not listed yet."""
    STATES["registered"].reach(project, signum=signal.SIGKILL)
    project.sandbox.requests.clear()
    project.use_data_version("v5.2")
    STATES["registering"].reach(project, signum=signal.SIGKILL)
    project.use_data_version("v5.3")
    hidden = faults.edit_response(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    code, _, err = project.upload(slot="running")
    assert code == 0, err
    (record,) = project.list_records()
    assert (project.get_slot("running").pickle_id, record.data_version.name) == (record.id, "v5.3")


def test_killed_while_its_failure_is_read(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner.failing("It broke.", "a line")
    Held(match="triggerLogs").reach(project, signum=signal.SIGKILL)
    code, out, _ = project.upload(slot="running")
    assert code == 1
    assert "It broke." in out
    assert len(project.list_records()) == 1
