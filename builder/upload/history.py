"""What a slot ran before: from receipts and journals, else from the tournament's own list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.upload import checks, journal, receipt

if TYPE_CHECKING:
    from pathlib import Path

    from builder.tournament import Pickle, Slot, Tournament


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
    """Return what the slot ran before its present pickle, as far as ``dist`` says; the newest word counts."""
    if slot.pickle is None:
        return None
    found: list[tuple[str, Before]] = []
    for path in sorted((root / "dist").glob("*/journal-*.jsonl")):
        for entry in journal.read(path):
            ours = entry.text("slot_id") == slot.id and entry.text("pickle") == slot.pickle.id
            if entry.step == journal.ASSIGNING and ours:
                found.append((entry.at, Before(pickle=entry.text("before") or None, source=path)))
    for path, data in receipt.read_all(root):
        times = data.get("times")
        if (data.get("slot_id"), data.get("pickle"), data.get("known")) == (slot.id, slot.pickle.id, True):
            at = str(times.get(journal.ASSIGNING, "")) if isinstance(times, dict) else ""
            previous = data.get("previous")
            found.append((at, Before(pickle=previous if isinstance(previous, str) else None, source=path)))
    return max(found, key=lambda one: one[0])[1] if found else None


def earlier(api: Tournament, slot: Slot) -> list[Pickle]:
    """Return the valid pickles that were uploaded for a slot and that it does not run now, the newest first."""
    now = slot.pickle.id if slot.pickle else None
    return [one for one in api.pickles(slot.id) if checks.is_good(one) is True and one.id != now]
