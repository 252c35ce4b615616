"""Derive each slot's state from the API's data: what needs attention, why, and which command helps."""

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
    """State of a slot, most urgent first."""

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
    """A slot's state and its reason; ``todo`` is the command to run next, empty if there is nothing to do."""

    slot: Slot
    state: SlotState
    reason: str
    todo: str = ""


@dataclass(frozen=True, kw_only=True)
class PickleFailure:
    """Where a pickle failed (``validation``, ``run`` or ``diagnostics``), and the run that explains it, if any."""

    where: str
    status: str
    descriptions: tuple[str, ...]
    trigger: Run | None


def judge_run(run: Run) -> bool | None:
    """Return whether a run succeeded; None if it has not ended or its status is unknown.

    A run that ended because no round was open succeeded even if its status is bad: the pickle ran, and only the
    submission failed.
    """
    if had_no_round(run):
        return True
    return tournament.judge_status(run.status)


def judge_validation(pickle: UploadedPickle) -> bool | None:
    """Return whether a pickle is valid; None if its validation has not ended or its status is unknown.

    A failed validation counts as passed if it failed only because no round was open.
    """
    verdict = tournament.judge_status(pickle.validation)
    if verdict is not False:
        return verdict
    # The API does not say which run was the validation. So the first run that ended must not have failed, at least one
    # run must have ended because no round was open, and no run may have failed because of the model.
    ended = [run for run in reversed(pickle.runs) if judge_run(run) is not None]
    failed = [run for run in ended if judge_run(run) is False]
    model_failures = [run for run in failed if not tournament.is_server_error(run.status)]
    return any(map(had_no_round, ended)) and ended[0] not in failed and not model_failures


def had_no_round(run: Run) -> bool:
    """Return whether a run ended because no round was open."""
    # The API has no status of its own for it, only this description of an error.
    return run.descriptions[-1:] == (tournament.NO_ROUND,)


def find_failure(pickle: UploadedPickle) -> PickleFailure | None:
    """Return where a pickle failed: its validation first, then its last run that ended, then its diagnostics."""
    runs = pickle.runs
    if judge_validation(pickle) is False:
        failed = next((run for run in runs if judge_run(run) is False), None)
        descriptions = failed.descriptions if failed else ()
        return PickleFailure(where="validation", status=pickle.validation, descriptions=descriptions, trigger=failed)
    ended = next((run for run in runs if judge_run(run) is not None), None)
    if ended is not None and judge_run(ended) is False:
        return PickleFailure(where="run", status=ended.status, descriptions=ended.descriptions, trigger=ended)
    # The pickle has a status of its newest run even if the API lists no runs.
    if not runs and tournament.judge_status(pickle.trigger) is False:
        return PickleFailure(where="run", status=pickle.trigger, descriptions=(), trigger=None)
    if tournament.judge_status(pickle.diagnostics) is False:
        descriptions = (pickle.diagnostics_description,) if pickle.diagnostics_description else ()
        return PickleFailure(where="diagnostics", status=pickle.diagnostics, descriptions=descriptions, trigger=None)
    return None


def find_newer_upload(slot: Slot, uploaded: Iterable[UploadedPickle]) -> UploadedPickle | None:
    """Return the newest pickle that was uploaded for a slot, if it is newer than the slot's pickle; else None.

    Args:
        slot: The slot.
        uploaded: Uploaded pickles of any slot, newest first. One whose upload time is unknown counts as newer.
    """
    newest = next((pickle for pickle in uploaded if pickle.owner == slot.id), None)
    if newest is None or slot.pickle is None:
        return newest
    current_time, newest_time = (tournament.read_time(pickle.inserted_at) for pickle in (slot.pickle, newest))
    is_newer = current_time is None or newest_time is None or newest_time >= current_time
    return newest if is_newer and newest.id != slot.pickle.id else None


def judge(slot: Slot, uploaded: Iterable[UploadedPickle] = ()) -> SlotStatus:
    """Return the status of a slot.

    Args:
        slot: The slot.
        uploaded: Uploaded pickles of any slot, newest first. The status mentions the newest one for this slot if it
            failed or is not assigned.
    """
    if slot.archived:
        return SlotStatus(slot=slot, state=SlotState.INACTIVE, reason="archived")
    if slot.tournament != tournament.CLASSIC:
        return SlotStatus(
            slot=slot, state=SlotState.INACTIVE, reason=f"belongs to another tournament ({slot.tournament})"
        )
    newer = find_newer_upload(slot, uploaded)
    failure = find_failure(newer) if newer else None
    status = _judge_assigned(slot, None if failure else newer)
    # A slot that needs attention itself is reported as it is; a failed upload is news only about one that does not.
    if failure is None or status.state < SlotState.EMPTY:
        return status
    upload = "a newer upload" if slot.pickle else "an upload for it"
    reason = f"{status.reason}; {upload} failed: {_format_failure(failure)}"
    state = SlotState.UNSURE if slot.pickle or slot.webhook else SlotState.FAILED
    return SlotStatus(slot=slot, state=state, reason=reason, todo=f"why {slot.name}")


def judge_all(slots: Iterable[Slot], uploaded: Sequence[UploadedPickle] = ()) -> list[SlotStatus]:
    """Return the statuses of all slots: most urgent state first, staked slots before others, then by name."""
    statuses = [judge(slot, uploaded) for slot in slots]
    return sorted(statuses, key=lambda status: (status.state, not status.slot.stake, status.slot.name))


def find_ownerless(uploaded: Iterable[UploadedPickle]) -> list[UploadedPickle]:
    """Return the valid, unassigned pickles that were not uploaded for a slot."""
    return [pickle for pickle in uploaded if not pickle.owner and _is_waiting(pickle)]


def _is_waiting(pickle: UploadedPickle) -> bool:
    """Return whether a pickle is valid and assigned to no slot."""
    return not pickle.slots and judge_validation(pickle) is True and find_failure(pickle) is None


def _judge_assigned(slot: Slot, newer: UploadedPickle | None) -> SlotStatus:
    """Return a slot's status by its pickle and by a newer upload for it that did not fail."""
    if slot.pickle is not None:
        status = _judge_pickle(slot, slot.pickle)
        if status.state is SlotState.GOOD and newer and _is_waiting(newer):
            return _add_waiting(status, newer, "a newer validated pickle")
        return status
    # Such a slot works without a pickle: in each round the tournament calls the user's own machine.
    if slot.webhook:
        return SlotStatus(slot=slot, state=SlotState.EMPTY, reason="no pickle: its webhook runs another machine")
    empty = SlotStatus(slot=slot, state=SlotState.EMPTY, reason="no pickle", todo=f"upload CONFIG --model={slot.name}")
    if newer is None or newer.slots:
        return empty
    if _is_waiting(newer):
        return replace(_add_waiting(empty, newer, "a validated pickle"), state=SlotState.UNASSIGNED)
    return _judge_unclear(slot, f"no pickle; validation of upload {newer.id}:", newer.validation)


def _add_waiting(status: SlotStatus, pickle: UploadedPickle, label: str) -> SlotStatus:
    reason = f"{status.reason}; {label} is waiting: {sanitize(pickle.filename)}"
    return replace(status, reason=reason, todo=f"assign {status.slot.name} {pickle.id}")


def _format_failure(failure: PickleFailure) -> str:
    description = failure.descriptions[-1] if failure.descriptions else "no description"
    return f"{failure.where} {failure.status}: {sanitize(description)}"


def _judge_pickle(slot: Slot, pickle: UploadedPickle) -> SlotStatus:
    failure = find_failure(pickle)
    if failure is not None:
        return SlotStatus(slot=slot, state=SlotState.FAILED, reason=_format_failure(failure), todo=f"why {slot.name}")
    runs = pickle.runs
    good = SlotStatus(slot=slot, state=SlotState.GOOD, reason=_format_good(pickle, runs))
    return _judge_unfinished(slot, pickle, runs) or good


def _judge_unfinished(slot: Slot, pickle: UploadedPickle, runs: Sequence[Run]) -> SlotStatus | None:
    """Return the status of a slot whose last run or validation is neither good nor bad, else None."""
    if runs and judge_run(runs[0]) is None:
        return _judge_unclear(slot, "run", runs[0].status)
    if not runs and pickle.trigger and tournament.judge_status(pickle.trigger) is None:
        return _judge_unclear(slot, "run", pickle.trigger)
    if tournament.judge_status(pickle.validation) is None:
        return _judge_unclear(slot, "validation", pickle.validation)
    return None


def _judge_unclear(slot: Slot, label: str, status: str) -> SlotStatus:
    """Return a slot's status by an API status that is neither good nor bad."""
    if tournament.is_in_progress(status):
        return SlotStatus(slot=slot, state=SlotState.WAITING, reason=f"{label} {status}")
    reason = f"{label} {status!r}: an unknown status" if status else f"{label} without a status"
    return SlotStatus(slot=slot, state=SlotState.UNSURE, reason=reason, todo=f"status {slot.name}")


def _format_good(pickle: UploadedPickle, runs: Sequence[Run]) -> str:
    if not runs:
        return f"last run {pickle.trigger}" if pickle.trigger else "validated, not run yet"
    if had_no_round(runs[0]):
        return "good: no round was open at its last run"
    return f"last run {runs[0].status}"
