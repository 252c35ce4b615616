"""How each slot stands, from what the API says of it: what needs attention, and why."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import diagnose, tournament

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.tournament import Pickle, Slot, Trigger


_THEIR_SIDE = "error"
"""The word of a run that failed at the tournament's side; `failed` is the model's."""


class Rank(enum.IntEnum):
    """What a slot asks of a person; the first comes first."""

    FAILED = 0
    UNSURE = 1
    WAITING = 2
    EMPTY = 3
    GOOD = 4
    ELSEWHERE = 5


WORDS = {
    Rank.FAILED: "FAILED",
    Rank.UNSURE: "look",
    Rank.WAITING: "waiting",
    Rank.EMPTY: "empty",
    Rank.GOOD: "ok",
    Rank.ELSEWHERE: "-",
}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a slot stands, with the reason and, where there is something to do, the command."""

    slot: Slot
    rank: Rank
    reason: str
    todo: str = ""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Where a pickle failed: its validation, a run, or its diagnostics; with the run that says why, if any."""

    where: str
    status: str
    descriptions: tuple[str, ...]
    trigger: Trigger | None


def newest(runs: Iterable[Trigger]) -> list[Trigger]:
    """Return runs, the newest first."""
    return sorted(runs, key=lambda run: (_stamp(run.inserted_at), run.inserted_at), reverse=True)


def judge_run(run: Trigger) -> bool | None:
    """Tell whether a run was good; None while it is not settled, or for a word that nobody knows.

    A run that ended without an open round shows that the pickle is good, whatever its word.
    """
    if had_no_round(run):
        return True
    return tournament.verdict(status_of(run))


def judge_validation(pickle: Pickle) -> bool | None:
    """Tell whether a pickle is valid; None while that is not settled, or for a word that nobody knows.

    A validation that failed is excused where it had no open round. Which run the validation was, the API does not say:
    so the first that ended must not have failed, one must have ended for want of a round, and none for the model.
    """
    said = tournament.verdict(pickle.validation)
    if said is not False:
        return said
    ended = [run for run in reversed(newest(pickle.triggers)) if judge_run(run) is not None]
    failed = [run for run in ended if judge_run(run) is False]
    of_the_model = [run for run in failed if status_of(run).lower() != _THEIR_SIDE]
    return any(map(had_no_round, ended)) and ended[0] not in failed and not of_the_model


def had_no_round(run: Trigger) -> bool:
    """Tell whether a run ended for want of an open round."""
    return run.descriptions[-1:] == (tournament.NO_ROUND,)


def find_fault(pickle: Pickle) -> Fault | None:
    """Return where a pickle failed last, or None where it did not."""
    runs = newest(pickle.triggers)
    if judge_validation(pickle) is False:
        bad = next((run for run in runs if judge_run(run) is False), None)
        said = bad.descriptions if bad else ()
        return Fault(where="validation", status=pickle.validation, descriptions=said, trigger=bad)
    settled = next((run for run in runs if judge_run(run) is not None), None)
    if settled is not None and judge_run(settled) is False:
        return Fault(where="run", status=status_of(settled), descriptions=settled.descriptions, trigger=settled)
    if tournament.verdict(pickle.diagnostics) is False:
        said = (pickle.diagnostics_description,) if pickle.diagnostics_description else ()
        return Fault(where="diagnostics", status=pickle.diagnostics, descriptions=said, trigger=None)
    return None


def newer_upload(slot: Slot, uploaded: Iterable[Pickle]) -> Pickle | None:
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


def judge(slot: Slot, uploaded: Iterable[Pickle] = ()) -> Standing:
    """Say how a slot stands.

    Args:
        slot: The slot.
        uploaded: The uploaded pickles, the newest first: the last one for it is told of if it failed.
    """
    if slot.archived:
        return Standing(slot=slot, rank=Rank.ELSEWHERE, reason="archived")
    if slot.tournament != tournament.CLASSIC:
        return Standing(slot=slot, rank=Rank.ELSEWHERE, reason=f"of another tournament ({slot.tournament})")
    found = _judge_running(slot)
    later = newer_upload(slot, uploaded)
    fault = find_fault(later) if later else None
    if fault is None or found.rank < Rank.EMPTY:
        return found
    reason = f"{found.reason}; what was uploaded {'since' if slot.pickle else 'for it'} failed: {_told(fault)}"
    rank = Rank.UNSURE if slot.pickle or slot.webhook else Rank.FAILED
    return Standing(slot=slot, rank=rank, reason=reason, todo=f"why {slot.name}")


def judge_all(slots: Iterable[Slot], uploaded: Sequence[Pickle] = ()) -> list[Standing]:
    """Say how all slots stand: what needs attention first, a stake before none, then by name."""
    found = [judge(slot, uploaded) for slot in slots]
    return sorted(found, key=lambda one: (one.rank, not one.slot.stake, one.slot.name))


def _judge_running(slot: Slot) -> Standing:
    if slot.pickle is not None:
        return _judge_pickle(slot, slot.pickle)
    if slot.webhook:
        return Standing(slot=slot, rank=Rank.EMPTY, reason="no pickle: its webhook runs another machine")
    return Standing(slot=slot, rank=Rank.EMPTY, reason="no pickle", todo=f"upload CONFIG --model {slot.name}")


def _told(fault: Fault) -> str:
    said = fault.descriptions[-1] if fault.descriptions else "no description"
    return f"{fault.where} {fault.status}: {diagnose.one_line(said)}"


def _judge_pickle(slot: Slot, pickle: Pickle) -> Standing:
    fault = find_fault(pickle)
    if fault is not None:
        return Standing(slot=slot, rank=Rank.FAILED, reason=_told(fault), todo=f"why {slot.name}")
    runs = newest(pickle.triggers)
    return _judge_unsettled(slot, pickle, runs) or Standing(slot=slot, rank=Rank.GOOD, reason=_good_reason(runs))


def _judge_unsettled(slot: Slot, pickle: Pickle, runs: Sequence[Trigger]) -> Standing | None:
    """Say how a slot stands whose last run, or whose pickle's validation, has not ended; None where they have."""
    what, word = "", ""
    if runs and judge_run(runs[0]) is None:
        what, word = "run", status_of(runs[0])
    elif tournament.verdict(pickle.validation) is None:
        what, word = "validation", pickle.validation
    if not what:
        return None
    if word.lower() in tournament.WAITING:
        return Standing(slot=slot, rank=Rank.WAITING, reason=f"{what} {word}")
    reason = f"its {what} says {word or 'nothing'!r}, a word not known here"
    return Standing(slot=slot, rank=Rank.UNSURE, reason=reason, todo=f"status {slot.name}")


def _good_reason(runs: Sequence[Trigger]) -> str:
    if not runs:
        return "validated, not run yet"
    if had_no_round(runs[0]):
        return "good: no round was open at its last run"
    return f"last run {status_of(runs[0])}"


def status_of(run: Trigger) -> str:
    """Return a run's status: its own word, else its last step's."""
    return run.status or (run.statuses[-1].status if run.statuses else "")


def _stamp(text: str) -> float:
    at = tournament.read_time(text)
    return at.timestamp() if at else 0.0
