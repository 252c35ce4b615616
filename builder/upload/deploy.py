"""The upload itself: from a plan that was agreed to, to a slot that runs the pickle, or to the slot as it was.

Each step is safe to run again: what is there already is found at the tournament, and used.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from builder import errors, interrupts
from builder.text import one_line
from builder.tournament import slots
from builder.tournament import status as standing
from builder.upload import assign, checks, journal, receipt, register, slot_log, storage, waiting, webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from builder.progress import Progress
    from builder.tournament import LogLine, Slot, Tournament, Trigger, UploadedPickle
    from builder.upload.journal import Journal
    from builder.upload.plan import UploadPlan

_ABOUT_RUNS = (journal.TRIGGERING, journal.TRIGGERED, journal.RUN_FAILED)
_LOOKS = (0.0, 1.0, 2.0)
"""Seconds before each look for a run: what was begun may be listed a little later."""


@dataclass(frozen=True, kw_only=True)
class UploadTask:
    """All that an upload takes.

    Attributes:
        plan: What was agreed to.
        journal: Of this pickle and slot, held by this process.
        terms: How patient sending the bytes is.
        patience: How patient the validation is waited for.
        sleep: Waits, everywhere else.
    """

    plan: UploadPlan
    api: Tournament
    journal: Journal
    progress: Progress
    terms: storage.TransferPolicy = field(default_factory=storage.TransferPolicy)
    patience: waiting.PollPolicy = field(default_factory=waiting.PollPolicy)
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Done:
    """How it ended: a receipt, or why the tournament found the pickle bad.

    Attributes:
        slot: As it is now: after a failure, with what it ran before, where that is known.
        left: Somebody else gave it another pickle meanwhile, and it is left so.
    """

    pickle: UploadedPickle
    slot: Slot
    receipt: receipt.Receipt | None
    failure: waiting.Failure | None
    run: Trigger | None
    log: tuple[str, ...] = ()
    left: bool = False


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A pickle that a slot runs, read back and written down; with what it takes to undo that.

    Attributes:
        before: The slot as it was; None where nobody here knows.
        webhook: What was taken away for it.
    """

    slot: Slot
    before: Slot | None
    webhook: str | None
    pickle: UploadedPickle
    receipt: receipt.Receipt

    def is_left(self, now: Slot) -> bool:
        """Tell whether the slot runs what somebody else gave it since: that is not for this upload to undo."""
        return self.before is not None and assign.identity(now) not in {self.pickle.id, assign.identity(self.before)}


def deploy(task: UploadTask) -> Done:
    """Do all of it; a pickle that the tournament finds bad is how it may end too.

    Raises:
        errors.NetworkError: Something did not answer, or answered wrongly; running again goes on. Where the slot's
            pickle was changed, the slot has what it had; but for a run that nobody can tell the end of, which leaves
            the validated pickle in the slot and says so.
        errors.ArtifactError: The journal cannot be written, or the pickle changed meanwhile.
        errors.RefusedError: The slot changed meanwhile.
    """
    _write_plan(task)
    slot = task.plan.slot or _make_slot(task)
    try:
        with webhook.taken(task.api, slot, task.progress):
            placed = _assign(task, slot, _validated(task, slot))
    except _FailedError as failed:
        found = waiting.explain(task.api, failed.pickle, task.plan.wish.made.folder)
        return Done(pickle=failed.pickle, slot=slot, receipt=None, failure=found, run=None)
    if task.plan.wish.trigger:
        return _run(task, placed)
    return Done(pickle=placed.pickle, slot=placed.slot, receipt=placed.receipt, failure=None, run=None)


class _FailedError(errors.ApiError):
    """The tournament found the pickle bad: an error within, so that everything is put back; a value outside."""

    def __init__(self, pickle: UploadedPickle) -> None:
        super().__init__(f"{pickle.id}: its validation failed")
        self.pickle = pickle


def _validated(task: UploadTask, slot: Slot) -> UploadedPickle:
    """Have one record of it, and wait for its validation."""
    registering = register.Registering(
        plan=task.plan,
        slot=slot,
        api=task.api,
        journal=task.journal,
        progress=task.progress,
        terms=task.terms,
        sleep=task.sleep,
    )
    identity = register.register(registering)
    pickle = waiting.validated(task.api, identity, task.progress, task.patience, record=_recorder(task, identity))
    register.check(registering, pickle)
    if not checks.is_good(pickle):
        task.journal.write(journal.FAILED, pickle=pickle.id, status=pickle.validation)
        raise _FailedError(pickle)
    task.journal.write(journal.VALIDATED, pickle=pickle.id, status=pickle.validation)
    return pickle


def _recorder(task: UploadTask, identity: str) -> Callable[[str, str], None]:
    """Return what writes an unknown status of a pickle, or of its run, into the journal."""

    def record(what: str, status: str) -> None:
        with contextlib.suppress(errors.ArtifactError):  # it must not end what goes on
            shown = one_line(status)
            task.journal.write(journal.UNKNOWN_STATUS, pickle=identity, of=what, status=shown)

    return record


def _write_plan(task: UploadTask) -> None:
    plan = task.plan
    task.journal.write(
        journal.PLANNED,
        sha256=plan.wish.made.manifest.pickle.sha256,
        slot=plan.name,
        slot_id=plan.slot.id if plan.slot else None,
        before=plan.slot.pickle.id if plan.slot and plan.slot.pickle else None,
        image=plan.image.id,
        data_version=plan.data_version.id,
    )


def _make_slot(task: UploadTask) -> Slot:
    slot_log.folder()  # without which the slot could not be given the pickle: no slot is made for that
    task.progress.step(f"making the slot {task.plan.name}")
    return slots.create(task.api, task.plan.name)


def _assign(task: UploadTask, planned: Slot, pickle: UploadedPickle) -> _Placed:
    """Assign, read back and write it down; what fails from there on gives the slot back what it had."""
    slot = assign.find(task.api, planned)
    if assign.identity(slot) == pickle.id:
        previous, known = _previous(task, slot, pickle)
        written = _keep(task, _found_there(task, slot, pickle, previous, known=known))
        return _placed(slot, _as_it_was(task, slot, previous) if known else None, pickle, written)
    if assign.identity(slot) != assign.identity(planned):
        raise errors.RefusedError(
            f"{slot.name}: runs {assign.shown(slot)} now, and ran {assign.shown(planned)} when this was agreed to: "
            "somebody else changed it; run it again to see what would be replaced"
        )
    previous = assign.identity(slot)
    task.journal.write(journal.ASSIGNING, slot=slot.name, slot_id=slot.id, before=previous, pickle=pickle.id)
    task.progress.step(f"assigning it to {slot.name}")
    try:
        with assign.changed(task.api, slot, pickle.id, task.progress, sleep=task.sleep) as now:
            task.journal.write(journal.ASSIGNED, before=previous, pickle=pickle.id)
            task.journal.write(journal.READ_BACK, pickle=assign.identity(now))
            written = _keep(task, _receipt(task, now, pickle, previous=previous, known=True))
    except assign.NotGivenBackError:
        _remove_receipt(task, slot, pickle)
        raise
    except BaseException:
        _unwrite(task, slot, pickle)
        raise
    return _placed(now, slot, pickle, written)


def _placed(slot: Slot, before: Slot | None, pickle: UploadedPickle, written: receipt.Receipt) -> _Placed:
    taken = slot_log.webhook_before(slot_log.of(slot).entries, pickle.id) if before else None
    return _Placed(slot=slot, before=before, webhook=taken, pickle=pickle, receipt=written)


def _as_it_was(task: UploadTask, slot: Slot, previous: str | None) -> Slot | None:
    """Return the slot as it was; None where what it ran is no longer there."""
    found = task.api.pickle(previous) if previous else None
    return replace(slot, pickle=found) if found or not previous else None


def _keep(task: UploadTask, written: receipt.Receipt) -> receipt.Receipt:
    receipt.write(task.plan.wish.made.folder, written)
    return written


def _times(task: UploadTask, *steps: str) -> dict[str, str]:
    """Return when each step was done last; of all steps if none is named."""
    return {one.step: one.at for one in task.journal.entries if not steps or one.step in steps}


def _found_there(
    task: UploadTask, slot: Slot, pickle: UploadedPickle, previous: str | None, *, known: bool
) -> receipt.Receipt:
    """Return the receipt of a slot that ran the pickle already: with the times and the run of the one that is kept."""
    kept = receipt.read(task.plan.wish.made.folder, task.plan.wish.made.manifest.pickle.sha256, slot.name)
    times, trigger = kept.get("times"), kept.get("trigger")
    is_of_it = (kept.get("pickle"), kept.get("slot_id")) == (pickle.id, slot.id)
    # One that was killed may have assigned it once more, and written no receipt of that.
    last = task.journal.last(journal.ASSIGNING)
    if not is_of_it or not isinstance(times, dict) or (last and last.at != times.get(journal.ASSIGNING)):
        task.journal.write(journal.READ_BACK, pickle=pickle.id)
        return _receipt(task, slot, pickle, previous=previous, known=known)
    return replace(
        _receipt(task, slot, pickle, previous=previous, known=known),
        times={str(step): str(at) for step, at in times.items()},
        trigger=trigger if isinstance(trigger, str) else None,
    )


def _previous(task: UploadTask, slot: Slot, pickle: UploadedPickle) -> tuple[str | None, bool]:
    """Return what the slot ran before this pickle, as journal or receipt know it, and whether they do."""
    for one in reversed(task.journal.entries):
        if one.step == journal.ASSIGNING and one.text("pickle") == pickle.id:
            return one.text("before") or None, True
    made = task.plan.wish.made
    kept = receipt.read(made.folder, made.manifest.pickle.sha256, slot.name)
    previous = kept.get("previous")
    known = (kept.get("pickle"), kept.get("slot_id"), kept.get("known")) == (pickle.id, slot.id, True)
    return (previous if known and isinstance(previous, str) else None), known


def _receipt(
    task: UploadTask, slot: Slot, pickle: UploadedPickle, *, previous: str | None, known: bool
) -> receipt.Receipt:
    made, plan = task.plan.wish.made.manifest, task.plan
    pickle = slot.pickle or pickle  # what was read back says what runs, not what was planned
    return receipt.Receipt(
        name=made.name,
        bundle=made.bundle.hash,
        sha256=made.pickle.sha256,
        size=made.pickle.size,
        image=made.image.identity,
        ref=plan.ref,
        image_id=pickle.image_id,
        data_version=pickle.data_version or plan.wish.data_version,
        data_version_id=pickle.data_version_id,
        pickle=pickle.id,
        filename=pickle.filename,
        slot=slot.name,
        slot_id=slot.id,
        account=plan.account,
        previous=previous,
        known=known,
        trigger=None,
        times=_times(task),
    )


def _unwrite(task: UploadTask, slot: Slot, pickle: UploadedPickle) -> None:
    """Take back what says that the slot runs it; what cannot be written now must not hide why."""
    _remove_receipt(task, slot, pickle)
    with contextlib.suppress(errors.ArtifactError):
        task.journal.write(journal.GIVEN_BACK, pickle=pickle.id)


def _remove_receipt(task: UploadTask, slot: Slot, pickle: UploadedPickle) -> None:
    made = task.plan.wish.made
    with contextlib.suppress(OSError):
        receipt.remove(made.folder, made.manifest.pickle.sha256, slot.name, pickle.id)


def _run(task: UploadTask, placed: _Placed) -> Done:
    """Have it run, and watch; a run that fails, or that the tournament refuses, gives the slot back what it had."""
    pickle, runs_it = placed.pickle, f"{placed.slot.name} runs {placed.pickle.filename}, read back from the slot"
    task.progress.note(runs_it)
    try:
        identity = _begun(task, pickle) or _order_run(task, placed.slot, pickle)
        times = placed.receipt.times | _times(task, journal.TRIGGERING, journal.TRIGGERED)
        written = _keep(task, replace(placed.receipt, trigger=identity, times=times))
        record = _recorder(task, pickle.id)
        found = waiting.run(task.api, pickle.id, identity, task.progress, task.patience, record=record)
        log = tuple(line.message for line in _printed(task, identity))
    except errors.UnansweredError as error:
        raise errors.UnansweredError(f"{error}\n{runs_it}: that is not undone", sent=error.sent) from error
    except errors.RefusedError as error:
        raise errors.RefusedError(f"{error}\n{runs_it}: that is not undone") from error
    except errors.BuilderError as error:
        now = _take_back(task, placed, str(error))
        raise assign.retold(error, f"{error}\n{_what_runs(now, placed)}") from error
    except BaseException as error:  # Ctrl-C above all
        error.add_note(f"{runs_it}: that is not undone; run the same command again to watch its run")
        raise
    if standing.judge_run(found) is False:
        with contextlib.suppress(errors.ArtifactError):  # then the same command would tell of this run once more
            task.journal.write(journal.RUN_FAILED, pickle=pickle.id, trigger=identity)
        failure = waiting.explain_run(task.api, pickle, found, task.plan.wish.made.folder)
        now = _take_back(task, placed, str(failure.cause))
        return Done(pickle=pickle, slot=now, receipt=None, failure=failure, run=found, left=placed.is_left(now))
    return Done(pickle=pickle, slot=placed.slot, receipt=written, failure=None, run=found, log=log)


def _take_back(task: UploadTask, placed: _Placed, because: str) -> Slot:
    """Have the slot as it was before this upload; return it as it is now. A run may take an hour: look first."""
    if placed.before is None:
        return placed.slot
    with interrupts.held_back():
        with contextlib.suppress(errors.NetworkError):  # then what gives it back looks, and says what is wrong
            now = assign.find(task.api, placed.slot)
            if placed.is_left(now):
                _remove_receipt(task, placed.slot, placed.pickle)
                return now
        assign.give_back(task.api, placed.before, task.progress, because=because, sleep=task.sleep)
        _unwrite(task, placed.slot, placed.pickle)
        if placed.webhook:
            webhook.put_back(task.api, placed.slot, placed.webhook, task.progress)
    return placed.before


def _what_runs(now: Slot, placed: _Placed) -> str:
    if placed.is_left(now):
        return f"{now.name} runs {assign.shown(now)}, which somebody else gave it meanwhile: it is left so"
    if assign.identity(now) == placed.pickle.id:
        return f"{now.name} runs it all the same: what it ran before is not known here; `rollback {now.name}` asks"
    return f"{now.name} runs what it ran before: {assign.shown(now)}"


def _begun(task: UploadTask, pickle: UploadedPickle) -> str | None:
    """Return the run that was asked for since the slot came to run this; one that failed does not count.

    One whose answer never came is looked for; it is asked for anew only where there is none.
    """
    lines = task.journal.since(journal.ASSIGNING) or task.journal.entries
    since = [one for one in lines if one.text("pickle") == pickle.id]
    last = next((one for one in reversed(since) if one.step in _ABOUT_RUNS), None)
    if last is None or last.step == journal.RUN_FAILED:
        return None
    if last.step == journal.TRIGGERED:
        return last.text("trigger")
    for pause in _LOOKS:
        task.sleep(pause)
        found = _new_run(task.api.pickle(pickle.id), set(last.text("known").split()))
        if found:
            task.journal.write(journal.TRIGGERED, pickle=pickle.id, trigger=found)
            return found
    return None


def _order_run(task: UploadTask, slot: Slot, pickle: UploadedPickle) -> str:
    """Have it run once; an answer that was lost is looked for, never sent again: each would be a run of its own."""
    checks.check_agreed(task.api, task.plan, slot, pickle)
    known = {one.id for one in (task.api.pickle(pickle.id) or pickle).triggers}
    task.journal.write(journal.TRIGGERING, pickle=pickle.id, known=" ".join(sorted(known)))
    task.progress.step("having the tournament run it")
    try:
        found = _new_run(task.api.trigger(pickle.id, slot.id, validation=False), known)
    except errors.UnansweredError as error:
        if not error.sent:
            raise
        found = None
    found = found or _new_run(task.api.pickle(pickle.id), known)
    if not found:
        raise errors.UnansweredError(
            f"whether a run was begun nobody can say: `python -m builder status {slot.name}` shows its runs, "
            f"`trigger {slot.name}` begins one",
            sent=True,
        )
    task.journal.write(journal.TRIGGERED, pickle=pickle.id, trigger=found)
    return found


def _new_run(pickle: UploadedPickle | None, known: Collection[str]) -> str | None:
    """Return the newest run that was not known before."""
    runs = standing.newest(pickle.triggers if pickle else ())
    return next((one.id for one in runs if one.id not in known), None)


def _printed(task: UploadTask, run: str) -> Sequence[LogLine]:
    """Return a run's log; one that cannot be had changes nothing."""
    try:
        return task.api.trigger_logs(run)
    except errors.NetworkError:
        return ()
