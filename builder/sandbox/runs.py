"""What becomes of a registered pickle: it is run, its validation settles, the current round gets a submission.

Who says how a run ends is the judge: :class:`Scripted` at once and without running anything, for tests that are about
something else, or :class:`builder.sandbox.runner.Runner`, which runs the pickle in its image on a real engine.
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

NO_ROUND = "No currently open rounds!"
SEGMENTATION_FAULT = "Segmentation fault! Ensure python and library versions match our environment."
NOT_STORED = "The model file could not be found."


@dataclass(frozen=True, kw_only=True)
class Job:
    """A pickle that is to be run: its bytes, the runtime it was registered for, the data."""

    path: Path
    image: sandbox_state.Image
    data_version: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: the description where it did not end well, and what it printed."""

    good: bool
    description: str | None = None
    logs: tuple[str, ...] = ()


class Judge(Protocol):
    """Runs a pickle."""

    def run(self, job: Job) -> Outcome:
        """Run it and say how that ended."""

    def close(self) -> None:
        """End what is running still."""


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """A judge that does not look: says at once what it was made with.

    Attributes:
        outcome: How every run ends.
        interim: Words that polling by id is shown first, one a reading: ``("pending", "validating")``.
        settles: False leaves validation, and the run, at the last word for ever.
    """

    outcome: Outcome = field(default_factory=lambda: Outcome(good=True, logs=("the model was run",)))
    interim: tuple[str, ...] = ()
    settles: bool = True

    @classmethod
    def failing(cls, description: str, *logs: str, interim: tuple[str, ...] = ()) -> Scripted:
        """Return one by which every run fails with a description."""
        return cls(outcome=Outcome(good=False, description=description, logs=logs), interim=interim)

    def run(self, job: Job) -> Outcome:  # noqa: ARG002 - it does not look
        return self.outcome

    def close(self) -> None:
        pass


class Runs:
    """Runs pickles and writes down what came of it.

    Attributes:
        judge: Says how a run ends; a test may replace it at any time.
    """

    def __init__(self, state: sandbox_state.State, storage: Storage, judge: Judge) -> None:
        self._state = state
        self._storage = storage
        self._threads: list[threading.Thread] = []
        self.judge = judge

    def close(self) -> None:
        """End what runs still, and what is about to."""
        while any(thread.is_alive() for thread in self._threads):
            self.judge.close()
            self.wait(timeout=0.2)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until every run that was begun has ended."""
        for thread in self._threads:
            thread.join(timeout)

    def begin(self, pickle: sandbox_state.Pickle, *, kind: str, validates: bool) -> sandbox_state.Trigger:
        """Begin a run of a pickle; the caller holds the state's lock."""
        state, words, now = self._state, self._state.words, self._state.now()
        current = state.current_round()
        open_round = current if current and current.is_open(now) else None
        begun = sandbox_state.Status(status=words.run_pending, description=None, at=now)
        trigger = sandbox_state.Trigger(kind=kind, round=open_round, statuses=[begun])
        pickle.triggers.append(trigger)
        pickle.updated_at = now
        if validates:
            pickle.status, pickle.passed = words.pending, False
        elif open_round is None:
            self._no_round(trigger)
            return trigger
        path = self._storage.find(key(pickle.filename))
        if path is None:
            self._settle(pickle, trigger, Outcome(good=False, description=NOT_STORED), validates=validates)
            return trigger
        job = Job(path=path, image=pickle.image, data_version=pickle.data_version.name)
        judge = self.judge
        if isinstance(judge, Scripted):
            pickle.interim = deque(judge.interim)
            if not judge.settles:
                pickle.status = judge.interim[-1] if judge.interim else words.running
            else:
                self._settle(pickle, trigger, judge.run(job), validates=validates)
            return trigger
        thread = threading.Thread(target=self._run, args=(judge, job, pickle, trigger, validates))
        self._threads.append(thread)
        thread.start()
        return trigger

    def _run(
        self,
        judge: Judge,
        job: Job,
        pickle: sandbox_state.Pickle,
        trigger: sandbox_state.Trigger,
        validates: bool,  # noqa: FBT001
    ) -> None:
        with self._state.lock:
            if validates:
                pickle.status = self._state.words.running
            self._say(trigger, self._state.words.run_running)
        outcome = judge.run(job)
        with self._state.lock:
            self._settle(pickle, trigger, outcome, validates=validates)

    def _settle(
        self, pickle: sandbox_state.Pickle, trigger: sandbox_state.Trigger, outcome: Outcome, *, validates: bool
    ) -> None:
        words, now = self._state.words, self._state.now()
        trigger.logs += [sandbox_state.Log(timestamp=int(now.timestamp()), message=line) for line in outcome.logs]
        pickle.updated_at = now
        if validates:
            pickle.passed = outcome.good
            pickle.status = words.good if outcome.good else words.bad
        if not outcome.good:
            self._say(trigger, words.run_bad, outcome.description)
            return
        if validates:
            self._diagnose(pickle)
        if trigger.round is None:
            self._no_round(trigger)
            if validates and self._state.no_round_fails:
                pickle.status = words.bad
            return
        self._say(trigger, words.run_good)
        self._submit(pickle, trigger, trigger.round)

    def _submit(
        self, pickle: sandbox_state.Pickle, trigger: sandbox_state.Trigger, current: sandbox_state.SandboxRound
    ) -> None:
        """Write the submission down: for the slots that the pickle runs in, else for the one it was uploaded for."""
        submission = sandbox_state.SandboxSubmission(
            filename=f"live_predictions-{hashlib.sha256(trigger.id.encode()).hexdigest()[:12]}.csv",
            status=self._state.words.run_good,
            round=current,
            inserted_at=self._state.now(),
        )
        trigger.submission_id = submission.id
        owner = self._state.slots.get(pickle.slot_id or "")
        for slot in self._state.slots_with(pickle.id) or ([owner] if owner else []):
            slot.submissions.append(submission)

    def _diagnose(self, pickle: sandbox_state.Pickle) -> None:
        """Say that there was a diagnostics run: this sandbox has no validation data, and says that in its log."""
        pickle.diagnostics, pickle.diagnostics_id = self._state.words.diagnostics, sandbox_state.new_id()
        message = "this sandbox computes no diagnostics"
        pickle.diagnostics_logs = [sandbox_state.Log(timestamp=int(self._state.now().timestamp()), message=message)]

    def _no_round(self, trigger: sandbox_state.Trigger) -> None:
        self._say(trigger, self._state.words.run_no_round, NO_ROUND)

    def _say(self, trigger: sandbox_state.Trigger, word: str, description: str | None = None) -> None:
        trigger.statuses.append(sandbox_state.Status(status=word, description=description, at=self._state.now()))


def key(filename: str) -> str:
    """Return where in the storage a pickle is, by its stored name."""
    return f"pickles/{filename}"
