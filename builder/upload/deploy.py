"""Run the steps of an upload that a person agreed to; on failure, restore the slot.

Each step is safe to repeat: it first looks for its result at the tournament and uses what exists.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from builder import commands, errors, interrupts
from builder.text import sanitize
from builder.tournament import slots
from builder.tournament import status as slot_status
from builder.upload import assign, receipt, register, remote_checks, runs, slot_log, waiting, webhook
from builder.upload.plan import describe_pickle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.progress import Progress
    from builder.tournament import LogLine, Run, Slot, Tournament, UploadedPickle
    from builder.upload.plan import UploadPlan
    from builder.upload.register import UploadTask


@dataclass(frozen=True, kw_only=True)
class UploadResult:
    """The outcome of an upload: a receipt, or why the pickle failed at the tournament.

    Attributes:
        slot: The slot as it is now; after a failure, with its previous pickle if that is known.
        run: The run that was started, if any.
        log: The lines that this run printed.
        changed_elsewhere: Someone else assigned another pickle in the meantime, so the slot was not restored.
    """

    pickle: UploadedPickle
    slot: Slot
    receipt: dict[str, Any] | None
    failure: waiting.ExplainedFailure | None
    run: Run | None
    log: tuple[str, ...] = ()
    changed_elsewhere: bool = False


@dataclass(frozen=True, kw_only=True)
class _Assignment:
    """A pickle that was assigned to a slot, with the state from before to undo that.

    Attributes:
        slot: The slot as read back.
        before: The slot before the assignment; None if the log does not contain it.
    """

    slot: Slot
    before: Slot | None
    pickle: UploadedPickle
    receipt: dict[str, Any]

    def is_replaced(self, now: Slot) -> bool:
        """Return whether someone else has assigned another pickle since, which this upload must not undo."""
        return self.before is not None and assign.get_pickle_id(now) not in {
            self.pickle.id,
            assign.get_pickle_id(self.before),
        }


def deploy(
    plan: UploadPlan,
    api: Tournament,
    progress: Progress,
    *,
    reserve: BinaryIO,
    policy: waiting.PollPolicy,
) -> UploadResult:
    """Upload, register, validate and assign a pickle, and start a run if requested.

    Args:
        plan: What the person agreed to.
        api: The tournament.
        progress: Shows each step.
        reserve: The reserved space that :func:`builder.upload.slot_log.reserve_space` yields.
        policy: How long to wait for the validation and the run.

    Returns:
        The outcome; a pickle that fails its validation or run is an outcome too, not an error.

    Raises:
        errors.NetworkError: A request failed; running again resumes. The slot was restored if it had been changed,
            except if the outcome of a run is unknown: then the validated pickle stays assigned, and the message says
            that.
        errors.ArtifactError: The log cannot be written, or the pickle changed during the upload.
        errors.RefusedError: The slot changed during the upload.
    """
    slot = plan.slot or _create_slot(plan, api, progress)
    task = register.UploadTask(
        plan=plan,
        slot=slot,
        api=api,
        log=slot_log.open_log(slot, api.now, sha256=plan.request.artifact.manifest.pickle.sha256, reserve=reserve),
        progress=progress,
        policy=policy,
    )
    _write_plan(task)
    try:
        with webhook.remove_or_restore(api, slot, progress, task.log):
            assignment = _assign(task, _register_and_validate(task))
    except _ValidationFailedError as error:
        failure = waiting.explain_failure(api, error.pickle, plan.request.artifact.folder)
        return UploadResult(pickle=error.pickle, slot=slot, receipt=None, failure=failure, run=None)
    if plan.request.trigger:
        return _run(task, assignment)
    return UploadResult(
        pickle=assignment.pickle, slot=assignment.slot, receipt=assignment.receipt, failure=None, run=None
    )


class _ValidationFailedError(errors.ApiError):
    """The pickle failed its validation.

    An exception inside this module, so that the ``with`` blocks restore everything; callers get an ``UploadResult``.
    """

    def __init__(self, pickle: UploadedPickle) -> None:
        super().__init__(f"{pickle.id}: its validation failed")
        self.pickle = pickle


def _register_and_validate(task: UploadTask) -> UploadedPickle:
    """Register the pickle, or find its registration, and wait for its validation."""
    identity = register.register(task)
    pickle = waiting.wait_for_validation(
        task.api, identity, task.progress, task.policy, record=_create_recorder(task, identity)
    )
    register.check(task, pickle)
    is_good = slot_status.judge_validation(pickle)
    task.log.write_once(slot_log.VALIDATED if is_good else slot_log.FAILED, pickle=pickle.id, status=pickle.validation)
    if not is_good:
        raise _ValidationFailedError(pickle)
    return pickle


def _create_recorder(task: UploadTask, identity: str) -> Callable[[str, str], None]:
    """Return a callback that logs unknown statuses of a pickle or its run, so that they can be reported."""

    def record(subject: str, status: str) -> None:
        with contextlib.suppress(errors.ArtifactError):  # a full disk must not end the waiting
            task.log.write(slot_log.UNKNOWN_STATUS, pickle=identity, of=subject, status=sanitize(status))

    return record


def _write_plan(task: UploadTask) -> None:
    plan, manifest = task.plan, task.plan.request.artifact.manifest
    task.log.write_once(
        slot_log.PLANNED,
        name=manifest.name,
        bundle=manifest.bundle.hash,
        size=manifest.pickle.size,
        image=manifest.image.identity,
        ref=plan.ref,
        image_id=plan.image.id,
        data_version=plan.request.data_version,
        data_version_id=plan.data_version.id,
        slot=task.slot.name,
        slot_id=task.slot.id,
        account=plan.account,
    )


def _create_slot(plan: UploadPlan, api: Tournament, progress: Progress) -> Slot:
    slot_log.ensure_folder()  # fail before a slot is created if its log cannot be written
    progress.step(f"creating the slot {plan.name}")
    return slots.create_slot(api, plan.name)


def _assign(task: UploadTask, pickle: UploadedPickle) -> _Assignment:
    """Assign the pickle, read the slot back and write the receipt; on failure, restore the slot."""
    planned, slot = task.slot, assign.read_slot(task.api, task.slot)
    if assign.get_pickle_id(slot) == pickle.id:
        data = _write_receipt(task, slot.pickle or pickle)
        change = slot_log.find_last_change(task.log.entries, pickle.id)
        before = _find_previous(task, slot, change.get_text("before")) if change else None
        return _Assignment(slot=slot, before=before, pickle=pickle, receipt=data)
    if assign.get_pickle_id(slot) != assign.get_pickle_id(planned):
        raise errors.RefusedError(
            f"{slot.name}: now runs {describe_pickle(slot.pickle)}, but ran {describe_pickle(planned.pickle)} when "
            "you confirmed: somebody else changed it; run the command again to see the new plan"
        )
    task.progress.step(f"assigning it to {slot.name}")
    try:
        with assign.assign_or_restore(task.api, slot, pickle.id, task.progress, task.log) as now:
            task.log.write(slot_log.ASSIGNED, before=assign.get_pickle_id(slot), pickle=pickle.id)
            data = _write_receipt(task, now.pickle or pickle)
    except BaseException:
        receipt.remove(task.plan.request.artifact.folder, slot.id, pickle.id)
        raise
    return _Assignment(slot=now, before=slot, pickle=pickle, receipt=data)


def _find_previous(task: UploadTask, slot: Slot, previous: str) -> Slot | None:
    """Return the slot with its previous pickle (its id, empty for none), or None if that no longer exists."""
    pickle = task.api.get_pickle(previous) if previous else None
    return replace(slot, pickle=pickle) if pickle or not previous else None


def _write_receipt(task: UploadTask, pickle: UploadedPickle) -> dict[str, Any]:
    """Log the pickle that was read back from the slot, and write the receipt derived from the log."""
    task.log.write_once(
        slot_log.READ_BACK,
        pickle=pickle.id,
        filename=pickle.filename,
        image_id=pickle.image_id,
        data_version=pickle.data_version,
        data_version_id=pickle.data_version_id,
    )
    data = receipt.derive(task.log.entries, task.sha256)
    receipt.write(task.plan.request.artifact.folder, data)
    return data


def _run(task: UploadTask, assignment: _Assignment) -> UploadResult:
    """Start a run and wait for it; restore the slot if the run fails or the tournament rejects it."""
    slot, pickle = assignment.slot, assignment.pickle
    state = f"{slot.name} runs {pickle.filename}, read back from the slot"
    task.progress.note(state)
    try:
        identity = _find_started_run(task, pickle) or _start_run(task, slot, pickle)
        data = _write_receipt(task, slot.pickle or pickle)
        record = _create_recorder(task, pickle.id)
        run = waiting.wait_for_run(task.api, pickle.id, identity, task.progress, task.policy, record=record)
        log = tuple(line.message for line in _read_log(task, identity))
    except errors.UnavailableError as error:
        raise errors.UnavailableError(f"{error}\n{state}: that is not undone", sent=error.sent) from error
    except errors.RefusedError as error:
        raise errors.RefusedError(f"{error}\n{state}: that is not undone") from error
    except errors.BuilderError as error:
        now = _restore(task, assignment, str(error))
        raise assign.replace_message(error, f"{error}\n{_describe_slot(now, assignment)}") from error
    except BaseException as error:  # above all KeyboardInterrupt
        error.add_note(f"{state}: that is not undone; run the same command again to wait for its run")
        raise
    if slot_status.judge_run(run) is False:
        # Without this line, the same command would find this run again instead of starting another.
        with contextlib.suppress(errors.ArtifactError):
            task.log.write(slot_log.RUN_FAILED, pickle=pickle.id, trigger=identity)
        failure = waiting.explain_run_failure(task.api, pickle, run, task.plan.request.artifact.folder)
        now = _restore(task, assignment, str(failure.cause))
        changed = assignment.is_replaced(now)
        return UploadResult(pickle=pickle, slot=now, receipt=None, failure=failure, run=run, changed_elsewhere=changed)
    return UploadResult(pickle=pickle, slot=slot, receipt=data, failure=None, run=run, log=log)


def _restore(task: UploadTask, assignment: _Assignment, because: str) -> Slot:
    """Restore the slot as it was before this upload, unless someone else has changed it; return it as it is now."""
    if assignment.before is None:
        return assignment.slot
    with interrupts.defer():
        # A run can take an hour, so read the slot first. If that fails, restore_pickle reads it again and reports why.
        with contextlib.suppress(errors.NetworkError):
            now = assign.read_slot(task.api, assignment.slot)
            if assignment.is_replaced(now):
                receipt.remove(task.plan.request.artifact.folder, assignment.slot.id, assignment.pickle.id)
                return now
        assign.restore_pickle(task.api, assignment.before, task.progress, task.log, because=because)
        receipt.remove(task.plan.request.artifact.folder, assignment.slot.id, assignment.pickle.id)
        address = slot_log.find_removed_webhook(task.log.entries, assignment.pickle.id)
        if address:
            webhook.restore_webhook(task.api, assignment.slot, address, task.progress, task.log)
    return assignment.before


def _describe_slot(now: Slot, assignment: _Assignment) -> str:
    if assignment.is_replaced(now):
        return f"{now.name} runs {describe_pickle(now.pickle)}, which was assigned elsewhere in the meantime"
    if assign.get_pickle_id(now) == assignment.pickle.id:
        return f"{now.name} still runs it, because its previous pickle is unknown; use `rollback {now.name}`"
    return f"{now.name} runs {describe_pickle(now.pickle)} again"


def _find_started_run(task: UploadTask, pickle: UploadedPickle) -> str | None:
    """Return the id of the run that an earlier, interrupted upload started; None if there is none or it failed.

    If that upload got no response to its request, the API's list of runs shows whether the run started.
    """
    entries = slot_log.find_since_change(task.log.entries, pickle.id)
    last = slot_log.find_last(entries, slot_log.TRIGGERING, slot_log.TRIGGERED, slot_log.RUN_FAILED)
    if last is None or last.step == slot_log.RUN_FAILED:
        return None
    if last.step == slot_log.TRIGGERED:
        return last.get_text("trigger")
    run = runs.find_new_run(task.api, pickle.id, set(last.get_text("known").split()))
    if run:
        task.log.write(slot_log.TRIGGERED, pickle=pickle.id, trigger=run.id)
    return run.id if run else None


def _start_run(task: UploadTask, slot: Slot, pickle: UploadedPickle) -> str:
    """Start a run and return its id.

    Raises:
        errors.UnavailableError: It is not known whether the run started.
    """
    remote_checks.check_consent(task.api, task.plan, slot, pickle)
    pickle = task.api.get_pickle(pickle.id) or pickle
    task.log.write(slot_log.TRIGGERING, pickle=pickle.id, known=" ".join(sorted(run.id for run in pickle.triggers)))
    task.progress.step("starting a run")
    run = runs.start_run(task.api, pickle, slot.id)
    if run is None:
        raise errors.UnavailableError(
            "the run was started but is not listed yet: "
            f"`{commands.suggest_plain('status', slot.name)}` shows its runs",
            sent=True,
        )
    task.log.write(slot_log.TRIGGERED, pickle=pickle.id, trigger=run.id)
    return run.id


def _read_log(task: UploadTask, run: str) -> Sequence[LogLine]:
    """Return a run's log, empty if it cannot be read: that must not fail the upload."""
    try:
        return task.api.get_run_log(run)
    except errors.NetworkError:
        return ()
