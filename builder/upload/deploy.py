"""The upload itself: from a plan that was agreed to, to a slot that runs the pickle, or to the slot as it was.

Each step is safe to run again: what is there already is found at the tournament, and used.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder import errors, interrupts, slots, standing
from builder.upload import assign, checks, journal, receipt, register, storage, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.progress import Progress
    from builder.tournament import Pickle, Slot, Tournament, Trigger
    from builder.upload.journal import Journal
    from builder.upload.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that an upload takes.

    Attributes:
        plan: What was agreed to.
        journal: Of this pickle and slot, held by this process.
        terms: How patient sending the bytes is.
        patience: How patient the validation is waited for.
        sleep: Waits, everywhere else.
    """

    plan: Plan
    api: Tournament
    journal: Journal
    progress: Progress
    terms: storage.Patience = field(default_factory=storage.Patience)
    patience: waiting.Patience = field(default_factory=waiting.Patience)
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Done:
    """How it ended: a receipt, or why the tournament found the pickle bad (then the slot runs what it ran)."""

    pickle: Pickle
    slot: Slot
    receipt: receipt.Receipt | None
    failure: waiting.Failure | None
    run: Trigger | None
    log: tuple[str, ...] = ()


def deploy(task: Task) -> Done:
    """Do all of it; a pickle that the tournament finds bad is how it may end too.

    Raises:
        errors.NetworkError: Something did not answer, or answered wrongly; running again goes on. Where the slot's
            pickle was changed, the slot has what it had.
        errors.ArtifactError: The journal cannot be written, or the pickle changed meanwhile.
        errors.RefusedError: The slot changed meanwhile.
    """
    _write_plan(task)
    slot = task.plan.slot or _make_slot(task)
    try:
        with _webhook_taken(task, slot):
            return _assign(task, slot, _validated(task, slot))
    except _FailedError as failed:
        found = waiting.explain(task.api, failed.pickle)
        return Done(pickle=failed.pickle, slot=slot, receipt=None, failure=found, run=None)


class _FailedError(errors.ApiError):
    """The tournament found the pickle bad: an error within, so that everything is put back; a value outside."""

    def __init__(self, pickle: Pickle) -> None:
        super().__init__(f"{pickle.id}: its validation failed")
        self.pickle = pickle


def _validated(task: Task, slot: Slot) -> Pickle:
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
    pickle = waiting.validated(task.api, identity, task.progress, task.patience)
    register.check(registering, pickle)
    if not checks.is_good(pickle):
        task.journal.write(journal.FAILED, pickle=pickle.id, status=pickle.validation)
        raise _FailedError(pickle)
    task.journal.write(journal.VALIDATED, pickle=pickle.id, status=pickle.validation)
    return pickle


def _write_plan(task: Task) -> None:
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


def _make_slot(task: Task) -> Slot:
    task.progress.step(f"making the slot {task.plan.name}")
    return slots.create(task.api, task.plan.name)


@contextlib.contextmanager
def _webhook_taken(task: Task, slot: Slot) -> Iterator[None]:
    """Take the slot's webhook away for good, unless this fails: then it is put back."""
    if not slot.webhook:
        yield
        return
    task.progress.step("taking the slot's webhook away")
    try:
        task.api.set_webhook(slot.id, None)
        yield
    except BaseException:
        with interrupts.held_back():
            try:
                task.api.set_webhook(slot.id, slot.webhook)
            except errors.NetworkError as error:
                task.progress.note(f"note: the webhook of {slot.name} could not be put back ({error}); set it by hand")
            else:
                task.progress.note(f"note: {slot.name} has its webhook again")
        raise


def _assign(task: Task, planned: Slot, pickle: Pickle) -> Done:
    """Assign, read back and write it down; what fails from there on gives the slot back what it had."""
    slot = assign.find(task.api, planned)
    if assign.identity(slot) == pickle.id:
        previous, known = _previous(task, slot, pickle)
        written = _write_down(task, slot, pickle, previous=previous, known=known)
        return _trigger(task, slot, slot, pickle, written)
    if assign.identity(slot) != assign.identity(planned):
        raise errors.RefusedError(
            f"{slot.name}: runs {assign.shown(slot)} now, and ran {assign.shown(planned)} when this was agreed to: "
            "somebody else changed it; run it again to see what would be replaced"
        )
    previous = assign.identity(slot)
    task.journal.write(journal.ASSIGNING, slot=slot.name, slot_id=slot.id, before=previous, pickle=pickle.id)
    task.progress.step(f"assigning it to {slot.name}")
    with assign.changed(task.api, slot, pickle.id, sleep=task.sleep) as now:
        written = _write_down(task, now, pickle, previous=previous, known=True)
    return _trigger(task, slot, now, pickle, written)


def _write_down(task: Task, slot: Slot, pickle: Pickle, *, previous: str | None, known: bool) -> receipt.Receipt:
    task.journal.write(journal.ASSIGNED, before=previous, pickle=pickle.id)
    task.journal.write(journal.READ_BACK, pickle=assign.identity(slot))
    written = _receipt(task, slot, pickle, previous=previous, known=known)
    receipt.write(task.plan.wish.made.folder, written)
    return written


def _previous(task: Task, slot: Slot, pickle: Pickle) -> tuple[str | None, bool]:
    """Return what the slot ran before this pickle, as journal or receipt know it, and whether they do."""
    for one in reversed(task.journal.entries):
        if one.step == journal.ASSIGNING and one.text("pickle") == pickle.id:
            return one.text("before") or None, True
    made = task.plan.wish.made
    kept = receipt.read(made.folder, made.manifest.pickle.sha256, slot.name)
    previous = kept.get("previous")
    known = (kept.get("pickle"), kept.get("slot_id"), kept.get("known")) == (pickle.id, slot.id, True)
    return (previous if known and isinstance(previous, str) else None), known


def _receipt(task: Task, slot: Slot, pickle: Pickle, *, previous: str | None, known: bool) -> receipt.Receipt:
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
        trigger=_triggered(task),
        times={one.step: one.at for one in task.journal.entries},
    )


def _triggered(task: Task) -> str | None:
    found = None if task.plan.wish.again else task.journal.last(journal.TRIGGERED)
    return found.text("trigger") if found else None


def _trigger(task: Task, before: Slot, slot: Slot, pickle: Pickle, written: receipt.Receipt) -> Done:
    """Have it run where that was asked for, and watch; a run that fails gives the slot back what it had."""
    if not task.plan.wish.trigger:
        return Done(pickle=pickle, slot=slot, receipt=written, failure=None, run=None)
    task.progress.note(f"{slot.name} runs {pickle.filename}, read back from the slot")
    identity = _triggered(task) or _order_run(task, slot, pickle)
    written = receipt.with_trigger(written, identity)
    receipt.write(task.plan.wish.made.folder, written)
    found = waiting.run(task.api, pickle.id, identity, task.progress, task.patience)
    if found is not None and standing.judge_run(found) is False:
        failure = waiting.explain_run(task.api, pickle, found)
        if before is not slot:
            with interrupts.held_back():
                assign.give_back(task.api, before, because=str(failure.cause), sleep=task.sleep)
        return Done(pickle=pickle, slot=before, receipt=None, failure=failure, run=found)
    log = tuple(line.message for line in task.api.trigger_logs(identity)) if found else ()
    return Done(pickle=pickle, slot=slot, receipt=written, failure=None, run=found, log=log)


def _order_run(task: Task, slot: Slot, pickle: Pickle) -> str:
    """Have it run once; an answer that was lost is looked for, never sent again: each would be a run of its own."""
    known = {one.id for one in (task.api.pickle(pickle.id) or pickle).triggers}
    task.journal.write(journal.TRIGGERING, pickle=pickle.id)
    task.progress.step("having the tournament run it")
    try:
        after = task.api.trigger(pickle.id, slot.id, validation=False)
    except errors.UnansweredError as error:
        if not error.sent:
            raise
        after = None
    new = [one for one in standing.newest(after.triggers if after else ()) if one.id not in known]
    if not new:
        now = task.api.pickle(pickle.id)
        new = [one for one in standing.newest(now.triggers if now else ()) if one.id not in known]
    if not new:
        raise errors.UnansweredError(
            f"{slot.name} runs the pickle, and whether a run was begun nobody can say: `python -m builder status "
            f"{slot.name}` shows its runs, `trigger {slot.name}` begins one",
            sent=True,
        )
    task.journal.write(journal.TRIGGERED, pickle=pickle.id, trigger=new[0].id)
    return new[0].id
