"""``models``: list the slots."""

from __future__ import annotations

from builder import commands
from builder.cli import api_session, listing, terminal
from builder.cli.parameters import Json
from builder.tournament import status as slot_status


def run(*, json_wanted: Json = False) -> int:
    """List the slots."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        account, uploaded = api.get_account(), api.list_uploads()
    statuses = [slot_status.judge(slot, uploaded) for slot in account.slots]
    if json_wanted:
        slots = [listing.status_data(status) for status in statuses]
        terminal.print_json({"format": 1, "account": account.username, "most_slots": account.max_slots, "slots": slots})
        return 0
    terminal.print_lines(f"{account.username}: {account.slots_summary}")
    if not statuses:
        terminal.print_lines(f"  no slot yet; create one: {commands.suggest_plain('create-model', 'NAME')}")
        return 0
    head = ("slot", "pickle", "image", "data", "state", "stake", "id")
    terminal.print_list(head, [_model_row(status) for status in statuses])
    return 0


def _model_row(status: slot_status.SlotStatus) -> tuple[str, ...]:
    slot, pickle = status.slot, status.slot.pickle
    return (
        slot.name,
        listing.pickle_line(pickle) if pickle else "-",
        pickle.image_name or pickle.image if pickle else "-",
        pickle.data_version if pickle else "-",
        status.reason,
        slot.stake or "-",
        slot.id,
    )
