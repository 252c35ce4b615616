"""``assign``: assign an uploaded pickle to a slot."""

from __future__ import annotations

from builder import commands, errors
from builder.cli import api_session, confirmation, listing, slot_change, terminal
from builder.cli.parameters import Json, Pickle, Slot, Yes
from builder.text import sanitize
from builder.tournament import slots, status


def run(*, slot_name: Slot, pickle_name: Pickle, yes: Yes = False, json_wanted: Json = False) -> int:
    """Assign an uploaded pickle to a slot."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        account = api.get_account()
        slot = slots.find_slot(account, slot_name)
        slots.check_usable(slot)
        pickle = slots.find_pickle(api, pickle_name)
        if slot.pickle and slot.pickle.id == pickle.id:
            return slot_change.print_change(slot, slot, json_wanted=json_wanted)
        slots.check_no_webhook(slot, fix=slot_change.NO_WEBHOOK)
        if status.judge_validation(pickle) is not True:
            raise errors.RefusedError(
                f"{listing.pickle_line(pickle)}: its validation status is {sanitize(pickle.validation) or 'missing'!r};"
                f" only a validated pickle can be assigned; "
                f"`{commands.suggest_plain('logs', pickle.id)}` shows what it printed"
            )
        question = f"Assign {listing.pickle_line(pickle)} to {sanitize(slot.name)}?"
        facts = slot_change.format_effects(slot, pickle)
        confirmation.ask_about_slot(api, slot, question, facts, confirmation.NEXT_ROUNDS, yes=yes)
        now = slot_change.change(api, slot, pickle.id, progress)
    return slot_change.print_change(slot, now, json_wanted=json_wanted)
