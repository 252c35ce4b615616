"""``models``: list the slots."""

from __future__ import annotations

import json

from builder.cli import api_session, listing, terminal
from builder.cli.parameters import Json
from builder.text import one_line
from builder.tournament import status as standing


def run(*, json_wanted: Json = False) -> int:
    """List the slots."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        account, uploaded = api.account(), api.uploads()
    found = [standing.judge(slot, uploaded) for slot in account.slots]
    if json_wanted:
        slots = [listing.standing_data(one) for one in found]
        print(json.dumps({"format": 1, "account": account.username, "most_slots": account.most_slots, "slots": slots}))
        return 0
    print(f"{one_line(account.username)}: {account.slots_line}")
    if not found:
        print("  no slot yet; make one: python -m builder create-model NAME")
        return 0
    head = ("slot", "pickle", "image", "data", "state", "stake", "id")
    terminal.print_list(head, [_model_row(one) for one in found])
    return 0


def _model_row(one: standing.SlotStatus) -> tuple[str, ...]:
    slot, pickle = one.slot, one.slot.pickle
    return (
        one_line(slot.name),
        listing.pickle_line(pickle) if pickle else "-",
        one_line(pickle.image_name or pickle.image) if pickle else "-",
        one_line(pickle.data_version) if pickle else "-",
        one_line(one.reason),
        one_line(slot.stake) or "-",
        slot.id,
    )
