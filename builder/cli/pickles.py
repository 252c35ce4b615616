"""``pickles``: list uploaded pickles."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from builder import commands
from builder.cli import api_session, listing, terminal
from builder.cli.parameters import AnySlot, Json
from builder.tournament import slots, times

if TYPE_CHECKING:
    import datetime as dt

    from builder import tournament


def run(
    *,
    slot_name: AnySlot = None,
    unassigned: Annotated[bool, Option("--unassigned", help="list only pickles that are assigned to no slot")] = False,
    json_wanted: Json = False,
) -> int:
    """List uploaded pickles."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        account = api.get_account()
        selected = slots.find_slot(account, slot_name) if slot_name else None
        pickles = api.list_pickles(selected.id if selected else None, unassigned=unassigned)
        now = api.now()
    names = {slot.id: slot.name for slot in account.slots}
    if json_wanted:
        terminal.print_json({"format": 1, "pickles": [_pickle_data(pickle, names) for pickle in pickles]})
        return 0
    if not pickles:
        kind = "unassigned pickle" if unassigned else "pickle"
        target = f" for {selected.name}" if selected else ""
        terminal.print_lines(
            f"no {kind} was uploaded{target}; `{commands.suggest('upload', None, '--model=SLOT')}` uploads one"
        )
        return 0
    head = ("id", "file", "state", "runs in", "uploaded for", "image", "data", "uploaded")
    terminal.print_list(head, [_pickle_row(pickle, names, now) for pickle in pickles])
    return 0


def _pickle_row(pickle: tournament.UploadedPickle, names: dict[str, str], now: dt.datetime) -> tuple[str, ...]:
    return (
        pickle.id,
        listing.pickle_line(pickle),
        pickle.validation,
        ", ".join(names.get(slot, slot) for slot in pickle.slots) or "-",
        names.get(pickle.owner, pickle.owner) or "-",
        pickle.image_name or pickle.image,
        pickle.data_version,
        times.format_relative(pickle.inserted_at, now),
    )


def _pickle_data(pickle: tournament.UploadedPickle, names: dict[str, str]) -> dict[str, Any]:
    return {**dataclasses.asdict(pickle), "slot_names": [names.get(slot, slot) for slot in pickle.slots]}
