"""What a slot ran before: from its log, receipts and journals, else from the tournament's own list."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import tournament
from builder.upload import checks, journal, receipt, slot_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.tournament import Slot, Tournament, UploadedPickle
    from builder.upload.journal import JournalEntry

_SAME_TIME = dt.timedelta(seconds=3)
"""The API's clock is known to a second (its Date header), by each command from an answer of its own."""


@dataclass(frozen=True, kw_only=True)
class Before:
    """What a slot ran before what it runs now.

    Attributes:
        pickle: Its id; None: the slot ran nothing.
        source: The file that says so.
    """

    pickle: str | None
    source: Path


def find(root: Path, slot: Slot) -> Before | None:
    """Return what the slot ran before what it runs now, pickle or none; the newest word counts.

    Asked are the slot's own log on this machine, and the journals and receipts below ``dist``.
    """
    now = slot.pickle.id if slot.pickle else ""
    found: list[tuple[str, Before]] = []
    for path in (slot_log.path_of(slot), *sorted((root / "dist").glob("*/journal-*.jsonl"))):
        changes = [
            (one.at, Before(pickle=one.text("before") or None, source=path))
            for one in _kept(journal.read(path))
            if (one.text("slot_id"), one.text("pickle")) == (slot.id, now)
        ]
        found += changes[-1:]  # in one file the order tells which was the last, whatever the clock said
    for path, data in receipt.read_all(root):
        times = data.get("times")
        if (data.get("slot_id"), data.get("pickle"), data.get("known")) == (slot.id, now, True):
            at = str(times.get(journal.ASSIGNING, "")) if isinstance(times, dict) else ""
            previous = data.get("previous")
            found.append((at, Before(pickle=previous if isinstance(previous, str) else None, source=path)))
    return _newest(found, slot_log.path_of(slot)) if found else None


def _newest(found: Sequence[tuple[str, Before]], log: Path) -> Before:
    """Return the newest; of two whose times say nothing, that of the slot's own log, which has all changes in order."""
    newest = max(found, key=lambda one: one[0])
    own = next((one for one in found if one[1].source == log), newest)
    own_at, newest_at = tournament.read_time(own[0]), tournament.read_time(newest[0])
    is_close = own_at is not None and newest_at is not None and newest_at - own_at < _SAME_TIME
    return (own if is_close else newest)[1]


def _kept(entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    """Return the changes of a slot, without those that were given back."""
    kept: list[JournalEntry] = []
    for one in entries:
        if one.step == journal.ASSIGNING:
            kept.append(one)
        elif one.step == journal.GIVEN_BACK and kept:
            kept.pop()
    return kept


def earlier(api: Tournament, slot: Slot) -> list[UploadedPickle]:
    """Return the valid pickles that were uploaded for a slot and that it does not run now, the newest first."""
    now = slot.pickle.id if slot.pickle else None
    return [one for one in api.pickles(slot.id) if checks.is_good(one) is True and one.id != now]
