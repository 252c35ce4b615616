"""What this tool changed of a slot, written down before it is: the way back, whoever made the change.

One file a slot, for this user of this machine alone, in the lines of :mod:`builder.upload.journal`; the address of a
webhook that was taken away is in it too, since nothing else could put that back.

| step | what it says |
| --- | --- |
| ``assigning`` | the slot is changed next: from what, to what (null: no pickle) |
| ``given back`` | it was not kept: the slot has again what it had |
| ``webhook taken`` | the slot's webhook is taken away next; its address |
| ``webhook back``, ``webhook gone`` | it was put back; it stays away |
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder import errors, paths
from builder.upload import journal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from builder.tournament import Slot
    from builder.upload.journal import Journal, JournalEntry

WEBHOOK_TAKEN, WEBHOOK_BACK, WEBHOOK_GONE = "webhook taken", "webhook back", "webhook gone"


def folder() -> Path:
    """Return where the logs of slots are.

    Raises:
        errors.ArtifactError: It cannot be made.
    """
    try:
        made = paths.state_folder() / "slots"
        made.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise errors.ArtifactError(
            f"{error.filename}: cannot be made ({error.strerror}), and no slot is changed without writing down what it "
            "ran; free some space, or set XDG_STATE_HOME"
        ) from error
    return made


def path_of(slot: Slot) -> Path:
    """Return where a slot's log is; raises what :func:`folder` does."""
    return folder() / f"{re.sub(r'[^A-Za-z0-9_-]', '_', slot.id)[:80]}.jsonl"


def of(slot: Slot, clock: Callable[[], dt.datetime] | None = None) -> Journal:
    """Return a slot's log.

    Args:
        slot: Whose.
        clock: The API's clock, to write lines by; None to read alone.

    Raises:
        errors.ArtifactError: It cannot be kept.
    """
    return journal.Journal(path_of(slot), mode=0o600, clock=clock)


def pending_webhook(entries: Iterable[JournalEntry]) -> str | None:
    """Return the address of a webhook that was taken away by something that did not end."""
    found = None
    for one in entries:
        if one.step == WEBHOOK_TAKEN:
            found = one.text("address") or None
        elif one.step in {WEBHOOK_BACK, WEBHOOK_GONE}:
            found = None
    return found


def webhook_before(entries: Iterable[JournalEntry], pickle: str | None) -> str | None:
    """Return the address of the webhook that was taken away so that a slot could run a pickle, its present one."""
    found = None
    for one in entries:
        if one.step == WEBHOOK_TAKEN:
            found = one.text("address") or None
        elif one.step == WEBHOOK_BACK or (one.step == journal.ASSIGNING and one.text("pickle") != (pickle or "")):
            found = None
    return found
