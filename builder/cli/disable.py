"""``disable``: remove the pickle from a slot."""

from __future__ import annotations

from builder.cli import api_session, confirmation, slot_change, terminal
from builder.cli.parameters import Json, Slot, Yes
from builder.text import sanitize
from builder.tournament import slots


def run(*, slot_name: Slot, yes: Yes = False, json_wanted: Json = False) -> int:
    """Remove the pickle from a slot."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        slot = slots.find_slot(api.get_account(), slot_name)
        slots.check_usable(slot)
        if slot.pickle is None:
            return slot_change.tell(slot, slot, json_wanted=json_wanted)
        question = f"Have {sanitize(slot.name)} run no pickle?"
        confirmation.ask_about_slot(
            api, slot, question, slot_change.follows(slot, None), confirmation.NO_PICKLE, yes=yes
        )
        now = slot_change.change(api, slot, None, progress)
    return slot_change.tell(slot, now, json_wanted=json_wanted)
