"""Run registered pickles: the validation settles, and the current round gets a submission.

A :class:`PickleRunner` decides how a run ends: :class:`ScriptedRunner` at once and without running anything, for tests
of something else, or :class:`builder.sandbox.run_in_container.ContainerRunner`, which runs the pickle in its image.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from builder.sandbox import state as sandbox_state

if TYPE_CHECKING:
    from pathlib import Path

    from builder.sandbox.storage import Storage

# The tournament's own wording. It is repeated here because the sandbox shares no code with the tool that it tests.
NO_ROUND = "No currently open rounds!"
SEGMENTATION_FAULT = "Segmentation fault! Ensure python and library versions match our environment."
NOT_STORED = "The model file could not be found."


@dataclass(frozen=True, kw_only=True)
class Job:
    """A pickle to run, and the image and data version that it was registered for."""

    path: Path
    image: sandbox_state.Image
    data_version: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: a description if it failed, and what it printed."""

    succeeded: bool
    description: str | None = None
    logs: tuple[str, ...] = ()


class PickleRunner(Protocol):
    """Runs a pickle."""

    def run(self, job: Job) -> Outcome:
        """Run the pickle to its end."""

    def close(self) -> None:
        """Stop the runs that have not ended."""


@dataclass(frozen=True, kw_only=True)
class ScriptedRunner:
    """Runs nothing: every run ends at once with the same outcome.

    Attributes:
        outcome: How every run ends.
        interim: Status words that polling by id returns first, one per request: ``("pending", "validating")``.
        settles: False keeps validation and run at the last interim word.
    """

    outcome: Outcome = field(default_factory=lambda: Outcome(succeeded=True, logs=("the model was run",)))
    interim: tuple[str, ...] = ()
    settles: bool = True

    @classmethod
    def failing(cls, description: str, *logs: str, interim: tuple[str, ...] = ()) -> ScriptedRunner:
        """Create a runner whose runs fail with a description."""
        return cls(outcome=Outcome(succeeded=False, description=description, logs=logs), interim=interim)

    def run(self, job: Job) -> Outcome:  # noqa: ARG002 - the outcome depends on nothing
        return self.outcome

    def close(self) -> None:
        pass


class Runs:
    """Runs pickles and records the results in the state.

    Attributes:
        runner: Runs the pickles; a test may replace it at any time.
    """

    def __init__(self, state: sandbox_state.State, storage: Storage, runner: PickleRunner) -> None:
        self._state = state
        self._storage = storage
        self._threads: list[threading.Thread] = []
        self.runner = runner

    def close(self) -> None:
        """Stop all runs."""
        # A run that is just starting is not stopped by the first call, so the runner is closed until all have ended.
        while any(thread.is_alive() for thread in self._threads):
            self.runner.close()
            self.wait(timeout=0.2)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until every run has ended, at most ``timeout`` seconds for each."""
        for thread in self._threads:
            thread.join(timeout)

    def start(self, pickle: sandbox_state.Pickle, *, kind: str, validates: bool) -> sandbox_state.Trigger:
        """Start a run of a pickle; the caller must hold the state's lock."""
        state, words, now = self._state, self._state.words, self._state.now()
        current = state.get_current_round()
        open_round = current if current and current.is_open(now) else None
        queued = sandbox_state.Status(status=words.run_pending, description=None, at=now)
        trigger = sandbox_state.Trigger(kind=kind, round=open_round, statuses=[queued])
        pickle.triggers.append(trigger)
        pickle.updated_at = now
        if validates:
            pickle.status, pickle.passed = words.pending, False
        elif open_round is None:  # only a validation runs the model without a round
            self._add_no_round_status(trigger)
            return trigger
        path = self._storage.find(get_key(pickle.filename))
        if path is None:
            self._settle(pickle, trigger, Outcome(succeeded=False, description=NOT_STORED), validates=validates)
            return trigger
        job = Job(path=path, image=pickle.image, data_version=pickle.data_version.name)
        runner = self.runner
        if isinstance(runner, ScriptedRunner):
            pickle.interim = deque(runner.interim)
            if not runner.settles:
                pickle.status = runner.interim[-1] if runner.interim else words.running
            else:
                self._settle(pickle, trigger, runner.run(job), validates=validates)
            return trigger
        thread = threading.Thread(target=self._run, args=(runner, job, pickle, trigger, validates))
        self._threads.append(thread)
        thread.start()
        return trigger

    def _run(
        self,
        runner: PickleRunner,
        job: Job,
        pickle: sandbox_state.Pickle,
        trigger: sandbox_state.Trigger,
        validates: bool,  # noqa: FBT001
    ) -> None:
        with self._state.lock:
            if validates:
                pickle.status = self._state.words.running
            self._add_status(trigger, self._state.words.run_running)
        outcome = runner.run(job)  # without the lock: it takes minutes, and the API must answer in that time
        with self._state.lock:
            self._settle(pickle, trigger, outcome, validates=validates)

    def _settle(
        self, pickle: sandbox_state.Pickle, trigger: sandbox_state.Trigger, outcome: Outcome, *, validates: bool
    ) -> None:
        words, now = self._state.words, self._state.now()
        trigger.logs += [sandbox_state.Log(timestamp=int(now.timestamp()), message=line) for line in outcome.logs]
        pickle.updated_at = now
        if validates:
            pickle.passed = outcome.succeeded
            pickle.status = words.good if outcome.succeeded else words.bad
        if not outcome.succeeded:
            self._add_status(trigger, words.run_bad, outcome.description)
            return
        if validates:
            self._add_diagnostics(pickle)
        if trigger.round is None:
            self._add_no_round_status(trigger)
            if validates and self._state.no_round_fails:
                pickle.status = words.bad
            return
        self._add_status(trigger, words.run_good)
        self._add_submission(pickle, trigger, trigger.round)

    def _add_submission(
        self, pickle: sandbox_state.Pickle, trigger: sandbox_state.Trigger, current: sandbox_state.SandboxRound
    ) -> None:
        """Record the submission for the slots that the pickle runs in, or else for the slot it was uploaded for."""
        submission = sandbox_state.SandboxSubmission(
            filename=f"live_predictions-{hashlib.sha256(trigger.id.encode()).hexdigest()[:12]}.csv",
            status=self._state.words.run_good,
            round=current,
            inserted_at=self._state.now(),
        )
        trigger.submission_id = submission.id
        owner = self._state.slots.get(pickle.slot_id or "")
        for slot in self._state.find_slots_with(pickle.id) or ([owner] if owner else []):
            slot.submissions.append(submission)

    def _add_diagnostics(self, pickle: sandbox_state.Pickle) -> None:
        """Record a diagnostics run that computes nothing: the sandbox has no validation data."""
        pickle.diagnostics, pickle.diagnostics_id = self._state.words.diagnostics, sandbox_state.create_id()
        message = "this sandbox computes no diagnostics"
        pickle.diagnostics_logs = [sandbox_state.Log(timestamp=int(self._state.now().timestamp()), message=message)]

    def _add_no_round_status(self, trigger: sandbox_state.Trigger) -> None:
        self._add_status(trigger, self._state.words.run_no_round, NO_ROUND)

    def _add_status(self, trigger: sandbox_state.Trigger, word: str, description: str | None = None) -> None:
        trigger.statuses.append(sandbox_state.Status(status=word, description=description, at=self._state.now()))


def get_key(filename: str) -> str:
    """Return the storage key of a pickle's stored name."""
    return f"pickles/{filename}"
