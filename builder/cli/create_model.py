"""``create-model``: create a slot."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from builder import commands
from builder.cli import api_session, confirmation, listing, terminal
from builder.cli.parameters import Json, Yes
from builder.text import sanitize
from builder.tournament import slots


def run(
    *,
    name: Annotated[str, Argument(metavar="NAME", help="1 to 20 of a-z, 0-9 and _")],
    yes: Yes = False,
    json_wanted: Json = False,
) -> int:
    """Create a slot."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        account = api.get_account()
        slots.check_new_slot(api, account, name)
        facts = [
            f"account  {sanitize(account.username)}, {account.slots_summary}",
            "effects  creates a slot of the Classic tournament; it can be archived, not deleted",
        ]
        confirmation.ask(f"Create the slot {name}?", facts, yes=yes)
        slot = slots.create_slot(api, name)
    if json_wanted:
        terminal.print_json({"format": 1, "slot": listing.slot_data(slot)})
    else:
        name = sanitize(slot.name)
        terminal.print_lines(
            f"created the slot {name} ({slot.id}); next: {commands.suggest('upload', None, f'--model={name}')}"
        )
    return 0
