"""``pickles``: list uploaded pickles."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from builder import commands
from builder.cli import api_session, listing, terminal
from builder.cli.parameters import AnySlot, Json
from builder.text import sanitize
from builder.tournament import slots, times

if TYPE_CHECKING:
    import datetime as dt

    from builder import tournament


def run(
    *,
    slot_name: AnySlot = None,
    unassigned: Annotated[bool, Option("--unassigned", help="only those that run nowhere")] = False,
    json_wanted: Json = False,
) -> int:
    """List uploaded pickles."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        account = api.get_account()
        slot = slots.find_slot(account, slot_name) if slot_name else None
        found = api.list_pickles(slot.id if slot else None, unassigned=unassigned)
        now = api.now()
    names = {one.id: one.name for one in account.slots}
    if json_wanted:
        print(json.dumps({"format": 1, "pickles": [_pickle_data(one, names) for one in found]}))
        return 0
    if not found:
        kind = "unassigned pickle" if unassigned else "pickle"
        where = f"was uploaded for {sanitize(slot.name)}" if slot else "was uploaded"
        print(f"no {kind} {where}; `{commands.suggest('upload', None, '--model=SLOT')}` uploads one")
        return 0
    head = ("id", "file", "state", "runs in", "uploaded for", "image", "data", "uploaded")
    terminal.print_list(head, [_pickle_row(one, names, now) for one in found])
    return 0


def _pickle_row(one: tournament.UploadedPickle, names: dict[str, str], now: dt.datetime) -> tuple[str, ...]:
    return (
        one.id,
        listing.pickle_line(one),
        sanitize(one.validation),
        ", ".join(sanitize(names.get(slot, slot)) for slot in one.slots) or "-",
        sanitize(names.get(one.owner, one.owner)) or "-",
        sanitize(one.image_name or one.image),
        sanitize(one.data_version),
        times.format_relative(one.inserted_at, now),
    )


def _pickle_data(one: tournament.UploadedPickle, names: dict[str, str]) -> dict[str, Any]:
    return {**dataclasses.asdict(one), "slot_names": [names.get(slot, slot) for slot in one.slots]}
