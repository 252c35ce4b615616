"""``disable``: have a slot run no pickle."""

from __future__ import annotations

from builder.cli import api_session, consent, slot_change, terminal
from builder.cli.parameters import Json, Slot, Yes
from builder.text import one_line
from builder.tournament import slots


def run(*, slot_name: Slot, yes: Yes = False, json_wanted: Json = False) -> int:
    """Have a slot run nothing."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        slot = slots.find_slot(api.account(), slot_name)
        slots.check_usable(slot)
        if slot.pickle is None:
            return slot_change.tell(slot, slot, json_wanted=json_wanted)
        question = f"Have {one_line(slot.name)} run no pickle?"
        consent.ask_about_slot(api, slot, question, slot_change.follows(slot, None), consent.NO_PICKLE, yes=yes)
        now = slot_change.change(api, slot, None, progress)
    return slot_change.tell(slot, now, json_wanted=json_wanted)
