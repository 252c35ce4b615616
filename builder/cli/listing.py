"""How slots and pickles are shown: on a line, and as plain data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from builder.net import http
from builder.text import sanitize

if TYPE_CHECKING:
    from builder import tournament
    from builder.tournament import status as slot_status


def pickle_line(one: tournament.UploadedPickle) -> str:
    """Return a pickle's stored name and label."""
    return sanitize(one.filename) + (f" {sanitize(one.label)!r}" if one.label else "")


def webhook_host(slot: tournament.Slot) -> str:
    """Return a webhook's host: the rest of its address may be a secret."""
    return f"{http.redact_url(slot.webhook).rpartition('/')[0]}/..." if slot.webhook else ""


def slot_data(slot: tournament.Slot) -> dict[str, Any]:
    """Return a slot as plain data."""
    return {**dataclasses.asdict(slot), "webhook": webhook_host(slot)}


def standing_data(one: slot_status.SlotStatus) -> dict[str, Any]:
    """Return how a slot stands as plain data."""
    state = one.state.name.lower()
    return {**slot_data(one.slot), "state": state, "reason": one.reason, "todo": one.todo}
