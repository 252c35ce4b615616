"""How each slot stands, from what the API says of it: what needs attention, and why."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder import tournament
from builder.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.tournament import Run, Slot, UploadedPickle


class SlotState(enum.IntEnum):
    """What a slot asks of a person; the first comes first."""

    FAILED = 0
    UNSURE = 1
    UNASSIGNED = 2
    WAITING = 3
    EMPTY = 4
    GOOD = 5
    INACTIVE = 6


STATE_LABELS = {
    SlotState.FAILED: "FAILED",
    SlotState.UNSURE: "look",
    SlotState.UNASSIGNED: "unassigned",
    SlotState.WAITING: "waiting",
    SlotState.EMPTY: "empty",
    SlotState.GOOD: "ok",
    SlotState.INACTIVE: "-",
}


@dataclass(frozen=True, kw_only=True)
class SlotStatus:
    """How a slot stands, with the reason and, where there is something to do, the command."""

    slot: Slot
    state: SlotState
    reason: str
    todo: str = ""


@dataclass(frozen=True, kw_only=True)
class PickleFailure:
    """Where a pickle failed: its validation, a run, or its diagnostics; with the run that says why, if any."""

    where: str
    status: str
    descriptions: tuple[str, ...]
    trigger: Run | None


def judge_run(run: Run) -> bool | None:
    """Tell whether a run was good; None while it is not settled, or for a word that nobody knows.

    A run that ended without an open round shows that the pickle is good, whatever its word.
    """
    if had_no_round(run):
        return True
    return tournament.judge_status(run.status)


def judge_validation(pickle: UploadedPickle) -> bool | None:
    """Tell whether a pickle is valid; None while that is not settled, or for a word that nobody knows.

    A validation that failed is excused where it had no open round. Which run the validation was, the API does not say:
    so the first that ended must not have failed, one must have ended for want of a round, and none for the model.
    """
    said = tournament.judge_status(pickle.validation)
    if said is not False:
        return said
    ended = [run for run in reversed(pickle.runs) if judge_run(run) is not None]
    failed = [run for run in ended if judge_run(run) is False]
    of_the_model = [run for run in failed if not tournament.is_server_error(run.status)]
    return any(map(had_no_round, ended)) and ended[0] not in failed and not of_the_model


def had_no_round(run: Run) -> bool:
    """Tell whether a run ended for want of an open round."""
    return run.descriptions[-1:] == (tournament.NO_ROUND,)


def find_failure(pickle: UploadedPickle) -> PickleFailure | None:
    """Return where a pickle failed last, or None where it did not."""
    runs = pickle.runs
    if judge_validation(pickle) is False:
        bad = next((run for run in runs if judge_run(run) is False), None)
        said = bad.descriptions if bad else ()
        return PickleFailure(where="validation", status=pickle.validation, descriptions=said, trigger=bad)
    settled = next((run for run in runs if judge_run(run) is not None), None)
    if settled is not None and judge_run(settled) is False:
        return PickleFailure(where="run", status=settled.status, descriptions=settled.descriptions, trigger=settled)
    if not runs and tournament.judge_status(pickle.trigger) is False:
        return PickleFailure(where="run", status=pickle.trigger, descriptions=(), trigger=None)
    if tournament.judge_status(pickle.diagnostics) is False:
        said = (pickle.diagnostics_description,) if pickle.diagnostics_description else ()
        return PickleFailure(where="diagnostics", status=pickle.diagnostics, descriptions=said, trigger=None)
    return None


def find_newer_upload(slot: Slot, uploaded: Iterable[UploadedPickle]) -> UploadedPickle | None:
    """Return the newest pickle that was uploaded for a slot, where that was after what it runs; else None.

    Args:
        slot: The slot.
        uploaded: Pickles, of other slots too, the newest first; where no time tells, one counts as newer.
    """
    found = next((one for one in uploaded if one.owner == slot.id), None)
    if found is None or slot.pickle is None:
        return found
    running, at = tournament.read_time(slot.pickle.inserted_at), tournament.read_time(found.inserted_at)
    is_newer = running is None or at is None or at >= running
    return found if is_newer and found.id != slot.pickle.id else None


def judge(slot: Slot, uploaded: Iterable[UploadedPickle] = ()) -> SlotStatus:
    """Say how a slot stands.

    Args:
        slot: The slot.
        uploaded: The uploaded pickles, the newest first: the last one for it is reported if it failed or is not
            assigned.
    """
    if slot.archived:
        return SlotStatus(slot=slot, state=SlotState.INACTIVE, reason="archived")
    if slot.tournament != tournament.CLASSIC:
        return SlotStatus(slot=slot, state=SlotState.INACTIVE, reason=f"of another tournament ({slot.tournament})")
    later = find_newer_upload(slot, uploaded)
    fault = find_failure(later) if later else None
    found = _judge_running(slot, None if fault else later)
    if fault is None or found.state < SlotState.EMPTY:
        return found
    reason = f"{found.reason}; what was uploaded {'since' if slot.pickle else 'for it'} failed: {_told(fault)}"
    state = SlotState.UNSURE if slot.pickle or slot.webhook else SlotState.FAILED
    return SlotStatus(slot=slot, state=state, reason=reason, todo=f"why {slot.name}")


def judge_all(slots: Iterable[Slot], uploaded: Sequence[UploadedPickle] = ()) -> list[SlotStatus]:
    """Say how all slots stand: what needs attention first, a stake before none, then by name."""
    found = [judge(slot, uploaded) for slot in slots]
    return sorted(found, key=lambda one: (one.state, not one.slot.stake, one.slot.name))


def find_ownerless(uploaded: Iterable[UploadedPickle]) -> list[UploadedPickle]:
    """Return the pickles that are waiting to be assigned and were uploaded for no slot."""
    return [one for one in uploaded if not one.owner and _is_waiting(one)]


def _is_waiting(pickle: UploadedPickle) -> bool:
    """Return whether a pickle is validated and assigned to no slot."""
    return not pickle.slots and judge_validation(pickle) is True and find_failure(pickle) is None


def _judge_running(slot: Slot, later: UploadedPickle | None) -> SlotStatus:
    """Say how a slot stands by what it runs, and by what was uploaded for it since."""
    if slot.pickle is not None:
        found = _judge_pickle(slot, slot.pickle)
        if found.state is SlotState.GOOD and later and _is_waiting(later):
            return _add_waiting(found, later, "a newer validated pickle")
        return found
    if slot.webhook:
        return SlotStatus(slot=slot, state=SlotState.EMPTY, reason="no pickle: its webhook runs another machine")
    empty = SlotStatus(slot=slot, state=SlotState.EMPTY, reason="no pickle", todo=f"upload CONFIG --model {slot.name}")
    if later is None or later.slots:
        return empty
    if _is_waiting(later):
        return replace(_add_waiting(empty, later, "a validated pickle"), state=SlotState.UNASSIGNED)
    return _judge_word(slot, f"no pickle; validation of upload {later.id}:", later.validation)


def _add_waiting(found: SlotStatus, pickle: UploadedPickle, what: str) -> SlotStatus:
    reason = f"{found.reason}; {what} is waiting: {sanitize(pickle.filename)}"
    return replace(found, reason=reason, todo=f"assign {found.slot.name} {pickle.id}")


def _told(fault: PickleFailure) -> str:
    said = fault.descriptions[-1] if fault.descriptions else "no description"
    return f"{fault.where} {fault.status}: {sanitize(said)}"


def _judge_pickle(slot: Slot, pickle: UploadedPickle) -> SlotStatus:
    fault = find_failure(pickle)
    if fault is not None:
        return SlotStatus(slot=slot, state=SlotState.FAILED, reason=_told(fault), todo=f"why {slot.name}")
    runs = pickle.runs
    good = SlotStatus(slot=slot, state=SlotState.GOOD, reason=_good_reason(pickle, runs))
    return _judge_unsettled(slot, pickle, runs) or good


def _judge_unsettled(slot: Slot, pickle: UploadedPickle, runs: Sequence[Run]) -> SlotStatus | None:
    """Say how a slot stands whose last run, or whose pickle's validation, has not ended; None where they have."""
    if runs and judge_run(runs[0]) is None:
        return _judge_word(slot, "run", runs[0].status)
    if not runs and pickle.trigger and tournament.judge_status(pickle.trigger) is None:
        return _judge_word(slot, "run", pickle.trigger)
    if tournament.judge_status(pickle.validation) is None:
        return _judge_word(slot, "validation", pickle.validation)
    return None


def _judge_word(slot: Slot, what: str, word: str) -> SlotStatus:
    """Say how a slot stands by a status that is neither good nor bad."""
    if tournament.is_in_progress(word):
        return SlotStatus(slot=slot, state=SlotState.WAITING, reason=f"{what} {word}")
    reason = f"{what} {word!r}: an unknown status" if word else f"{what} without a status"
    return SlotStatus(slot=slot, state=SlotState.UNSURE, reason=reason, todo=f"status {slot.name}")


def _good_reason(pickle: UploadedPickle, runs: Sequence[Run]) -> str:
    if not runs:
        return f"last run {pickle.trigger}" if pickle.trigger else "validated, not run yet"
    if had_no_round(runs[0]):
        return "good: no round was open at its last run"
    return f"last run {runs[0].status}"
