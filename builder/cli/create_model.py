"""``create-model``: make a slot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder import commands
from builder.cli import api_session, consent, listing, terminal
from builder.text import one_line

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Make a slot."""
    from builder.tournament import slots  # noqa: PLC0415

    with terminal.progress() as progress, api_session.connect(progress) as api:
        account = api.account()
        slots.check_new(api, account, options.name)
        follows = [
            f"account  {one_line(account.username)}, {account.slots_line}",
            "follows  a slot of the Classic tournament under this name; it can be archived, not deleted",
        ]
        consent.ask(f"Make the slot {options.name}?", follows, yes=options.yes)
        made = slots.create(api, options.name)
    if options.json:
        print(json.dumps({"format": 1, "slot": listing.slot_data(made)}))
    else:
        name = one_line(made.name)
        print(f"made the slot {name} ({made.id}); next: {commands.with_config('upload', None, f'--model={name}')}")
    return 0
