"""Formats slots and pickles: as text for a line, and as plain data for JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from builder.net import http
from builder.text import sanitize

if TYPE_CHECKING:
    from builder import tournament
    from builder.tournament import status as slot_status


def pickle_line(pickle: tournament.UploadedPickle) -> str:
    """Return a pickle's stored name and label."""
    return sanitize(pickle.filename) + (f" {sanitize(pickle.label)!r}" if pickle.label else "")


def webhook_host(slot: tournament.Slot) -> str:
    """Return a webhook's URL without its path, which may contain a secret."""
    return f"{http.redact_url(slot.webhook).rpartition('/')[0]}/..." if slot.webhook else ""


def slot_data(slot: tournament.Slot) -> dict[str, Any]:
    """Return a slot as plain data."""
    return {**dataclasses.asdict(slot), "webhook": webhook_host(slot)}


def status_data(status: slot_status.SlotStatus) -> dict[str, Any]:
    """Return the status of a slot as plain data."""
    state = status.state.name.lower()
    return {**slot_data(status.slot), "state": state, "reason": status.reason, "todo": status.todo}
