"""The upload itself: from a plan that was agreed to, to a slot that runs the pickle, or to the slot as it was.

Each step is safe to run again: what is there already is found at the tournament, and used.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from builder import errors, interrupts
from builder.text import sanitize
from builder.tournament import slots
from builder.tournament import status as slot_status
from builder.upload import assign, receipt, register, remote_checks, runs, slot_log, waiting, webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.progress import Progress
    from builder.tournament import LogLine, Run, Slot, Tournament, UploadedPickle
    from builder.upload.plan import UploadPlan
    from builder.upload.register import UploadTask


@dataclass(frozen=True, kw_only=True)
class UploadResult:
    """How it ended: a receipt, or why the tournament found the pickle bad.

    Attributes:
        slot: As it is now: after a failure, with what it ran before, where that is known.
        left: Somebody else gave it another pickle meanwhile, and it is left so.
    """

    pickle: UploadedPickle
    slot: Slot
    receipt: dict[str, Any] | None
    failure: waiting.ExplainedFailure | None
    run: Run | None
    log: tuple[str, ...] = ()
    changed_elsewhere: bool = False


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A pickle that a slot runs, read back and written down; with what it takes to undo that.

    Attributes:
        before: The slot as it was; None if the log does not say.
    """

    slot: Slot
    before: Slot | None
    pickle: UploadedPickle
    receipt: dict[str, Any]

    def is_left(self, now: Slot) -> bool:
        """Tell whether the slot runs what somebody else gave it since: that is not for this upload to undo."""
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
    """Do all of it; a pickle that the tournament finds bad is how it may end too.

    Args:
        plan: What was agreed to.
        api: The tournament.
        progress: Told each step.
        reserve: What :func:`builder.upload.slot_log.reserved` yields.
        policy: How patient the validation and the run are waited for.

    Raises:
        errors.NetworkError: Something did not answer, or answered wrongly; running again goes on. Where the slot's
            pickle was changed, the slot has what it had; but for a run that nobody can tell the end of, which leaves
            the validated pickle in the slot and says so.
        errors.ArtifactError: The log cannot be written, or the pickle changed meanwhile.
        errors.RefusedError: The slot changed meanwhile.
    """
    slot = plan.slot or _make_slot(plan, api, progress)
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
            placed = _assign(task, _register_and_validate(task))
    except _FailedError as failed:
        found = waiting.explain_failure(api, failed.pickle, plan.request.artifact.folder)
        return UploadResult(pickle=failed.pickle, slot=slot, receipt=None, failure=found, run=None)
    if plan.request.trigger:
        return _run(task, placed)
    return UploadResult(pickle=placed.pickle, slot=placed.slot, receipt=placed.receipt, failure=None, run=None)


class _FailedError(errors.ApiError):
    """The tournament found the pickle bad: an error within, so that everything is put back; a value outside."""

    def __init__(self, pickle: UploadedPickle) -> None:
        super().__init__(f"{pickle.id}: its validation failed")
        self.pickle = pickle


def _register_and_validate(task: UploadTask) -> UploadedPickle:
    """Have one record of it, and wait for its validation."""
    identity = register.register(task)
    pickle = waiting.wait_for_validation(
        task.api, identity, task.progress, task.policy, record=_recorder(task, identity)
    )
    register.check(task, pickle)
    is_good = slot_status.judge_validation(pickle)
    task.log.write_once(slot_log.VALIDATED if is_good else slot_log.FAILED, pickle=pickle.id, status=pickle.validation)
    if not is_good:
        raise _FailedError(pickle)
    return pickle


def _recorder(task: UploadTask, identity: str) -> Callable[[str, str], None]:
    """Return what writes an unknown status of a pickle, or of its run, into the log."""

    def record(what: str, status: str) -> None:
        with contextlib.suppress(errors.ArtifactError):  # it must not end what goes on
            shown = sanitize(status)
            task.log.write(slot_log.UNKNOWN_STATUS, pickle=identity, of=what, status=shown)

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


def _make_slot(plan: UploadPlan, api: Tournament, progress: Progress) -> Slot:
    slot_log.ensure_folder()  # without which the slot could not be given the pickle: no slot is made for that
    progress.step(f"making the slot {plan.name}")
    return slots.create_slot(api, plan.name)


def _assign(task: UploadTask, pickle: UploadedPickle) -> _Placed:
    """Assign, read back and write it down; what fails from there on gives the slot back what it had."""
    planned, slot = task.slot, assign.read_slot(task.api, task.slot)
    if assign.get_pickle_id(slot) == pickle.id:
        written = _write_receipt(task, slot.pickle or pickle)
        change = slot_log.find_last_change(task.log.entries, pickle.id)
        before = _find_previous(task, slot, change.get_text("before")) if change else None
        return _Placed(slot=slot, before=before, pickle=pickle, receipt=written)
    if assign.get_pickle_id(slot) != assign.get_pickle_id(planned):
        raise errors.RefusedError(
            f"{slot.name}: runs {assign.describe_pickle(slot)} now, and ran {assign.describe_pickle(planned)} when this was agreed to: "
            "somebody else changed it; run it again to see what would be replaced"
        )
    task.progress.step(f"assigning it to {slot.name}")
    try:
        with assign.assign_or_restore(task.api, slot, pickle.id, task.progress, task.log) as now:
            task.log.write(slot_log.ASSIGNED, before=assign.get_pickle_id(slot), pickle=pickle.id)
            written = _write_receipt(task, now.pickle or pickle)
    except BaseException:
        receipt.remove(task.plan.request.artifact.folder, slot.id, pickle.id)
        raise
    return _Placed(slot=now, before=slot, pickle=pickle, receipt=written)


def _find_previous(task: UploadTask, slot: Slot, previous: str) -> Slot | None:
    """Return the slot as it was; None where what it ran is no longer there."""
    found = task.api.get_pickle(previous) if previous else None
    return replace(slot, pickle=found) if found or not previous else None


def _write_receipt(task: UploadTask, pickle: UploadedPickle) -> dict[str, Any]:
    """Record what the slot was read back to run, and write the receipt that follows from the log."""
    task.log.write_once(
        slot_log.READ_BACK,
        pickle=pickle.id,
        filename=pickle.filename,
        image_id=pickle.image_id,
        data_version=pickle.data_version,
        data_version_id=pickle.data_version_id,
    )
    written = receipt.derive(task.log.entries, task.sha256)
    receipt.write(task.plan.request.artifact.folder, written)
    return written


def _run(task: UploadTask, placed: _Placed) -> UploadResult:
    """Have it run, and watch; a run that fails, or that the tournament refuses, gives the slot back what it had."""
    pickle, runs_it = placed.pickle, f"{placed.slot.name} runs {placed.pickle.filename}, read back from the slot"
    task.progress.note(runs_it)
    try:
        identity = _find_ordered_run(task, pickle) or _order_run(task, placed.slot, pickle)
        written = _write_receipt(task, placed.slot.pickle or pickle)
        record = _recorder(task, pickle.id)
        found = waiting.wait_for_run(task.api, pickle.id, identity, task.progress, task.policy, record=record)
        log = tuple(line.message for line in _read_log(task, identity))
    except errors.UnavailableError as error:
        raise errors.UnavailableError(f"{error}\n{runs_it}: that is not undone", sent=error.sent) from error
    except errors.RefusedError as error:
        raise errors.RefusedError(f"{error}\n{runs_it}: that is not undone") from error
    except errors.BuilderError as error:
        now = _take_back(task, placed, str(error))
        raise assign.replace_message(error, f"{error}\n{_what_runs(now, placed)}") from error
    except BaseException as error:  # Ctrl-C above all
        error.add_note(f"{runs_it}: that is not undone; run the same command again to watch its run")
        raise
    if slot_status.judge_run(found) is False:
        with contextlib.suppress(errors.ArtifactError):  # then the same command would tell of this run once more
            task.log.write(slot_log.RUN_FAILED, pickle=pickle.id, trigger=identity)
        failure = waiting.explain_run_failure(task.api, pickle, found, task.plan.request.artifact.folder)
        now = _take_back(task, placed, str(failure.cause))
        return UploadResult(
            pickle=pickle, slot=now, receipt=None, failure=failure, run=found, changed_elsewhere=placed.is_left(now)
        )
    return UploadResult(pickle=pickle, slot=placed.slot, receipt=written, failure=None, run=found, log=log)


def _take_back(task: UploadTask, placed: _Placed, because: str) -> Slot:
    """Have the slot as it was before this upload; return it as it is now. A run may take an hour: look first."""
    if placed.before is None:
        return placed.slot
    with interrupts.defer():
        with contextlib.suppress(errors.NetworkError):  # then what gives it back looks, and says what is wrong
            now = assign.read_slot(task.api, placed.slot)
            if placed.is_left(now):
                receipt.remove(task.plan.request.artifact.folder, placed.slot.id, placed.pickle.id)
                return now
        assign.restore_pickle(task.api, placed.before, task.progress, task.log, because=because)
        receipt.remove(task.plan.request.artifact.folder, placed.slot.id, placed.pickle.id)
        address = slot_log.find_removed_webhook(task.log.entries, placed.pickle.id)
        if address:
            webhook.restore_webhook(task.api, placed.slot, address, task.progress, task.log)
    return placed.before


def _what_runs(now: Slot, placed: _Placed) -> str:
    if placed.is_left(now):
        return f"{now.name} runs {assign.describe_pickle(now)}, which somebody else gave it meanwhile: it is left so"
    if assign.get_pickle_id(now) == placed.pickle.id:
        return f"{now.name} runs it all the same: what it ran before is not known here; `rollback {now.name}` asks"
    return f"{now.name} runs what it ran before: {assign.describe_pickle(now)}"


def _find_ordered_run(task: UploadTask, pickle: UploadedPickle) -> str | None:
    """Return the run that was asked for since the slot came to run this; one that failed does not count.

    One whose answer never came is looked for; it is asked for anew only where there is none.
    """
    since = slot_log.find_since_change(task.log.entries, pickle.id)
    last = slot_log.find_last(since, slot_log.TRIGGERING, slot_log.TRIGGERED, slot_log.RUN_FAILED)
    if last is None or last.step == slot_log.RUN_FAILED:
        return None
    if last.step == slot_log.TRIGGERED:
        return last.get_text("trigger")
    run = runs.find_new_run(task.api, pickle.id, set(last.get_text("known").split()))
    if run:
        task.log.write(slot_log.TRIGGERED, pickle=pickle.id, trigger=run.id)
    return run.id if run else None


def _order_run(task: UploadTask, slot: Slot, pickle: UploadedPickle) -> str:
    """Have it run once.

    Raises:
        errors.UnavailableError: Whether it runs is not known.
    """
    remote_checks.check_consent(task.api, task.plan, slot, pickle)
    pickle = task.api.get_pickle(pickle.id) or pickle
    task.log.write(slot_log.TRIGGERING, pickle=pickle.id, known=" ".join(sorted(run.id for run in pickle.triggers)))
    task.progress.step("having the tournament run it")
    run = runs.start_run(task.api, pickle, slot.id)
    if run is None:
        raise errors.UnavailableError(
            f"the run that was begun is not listed yet: `python -m builder status {slot.name}` shows its runs",
            sent=True,
        )
    task.log.write(slot_log.TRIGGERED, pickle=pickle.id, trigger=run.id)
    return run.id


def _read_log(task: UploadTask, run: str) -> Sequence[LogLine]:
    """Return a run's log; one that cannot be had changes nothing."""
    try:
        return task.api.get_run_log(run)
    except errors.NetworkError:
        return ()
