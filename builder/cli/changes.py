"""``assign``, ``disable``, ``label``, ``create-model``: what changes a slot or a pickle at the tournament."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder import errors
from builder.cli import api_session, consent, terminal
from builder.cli import slots as seat

if TYPE_CHECKING:
    import argparse

    from builder import tournament
    from builder.progress import Progress


def assign(options: argparse.Namespace) -> int:
    """Have a slot run a pickle."""
    from builder.tournament import (  # noqa: PLC0415
        slots,
        status,
    )

    with terminal.progress() as progress, api_session.connect(progress) as api:
        account = api.account()
        slot = slots.find_slot(account, options.slot)
        slots.check_usable(slot)
        pickle = slots.find_pickle(api, options.pickle)
        if slot.pickle and slot.pickle.id == pickle.id:
            return _tell(slot, slot, json_wanted=options.json)
        slots.check_no_webhook(slot, mend=seat.NO_WEBHOOK)
        if status.judge_validation(pickle) is not True:
            raise errors.RefusedError(
                f"{seat.pickle_line(pickle)}: its validation says {seat.clean(pickle.validation) or 'nothing'!r}, and "
                f"only a validated pickle is assigned; `python -m builder logs {pickle.id}` shows what it printed"
            )
        question = f"Have {seat.clean(slot.name)} run {seat.pickle_line(pickle)}?"
        facts = _follows(slot, pickle)
        consent.ask_about_slot(api, slot, question, facts, consent.NEXT_ROUNDS, yes=options.yes)
        return _tell(slot, _change(api, slot, pickle.id, progress), json_wanted=options.json)


def disable(options: argparse.Namespace) -> int:
    """Have a slot run nothing."""
    from builder.tournament import slots  # noqa: PLC0415

    with terminal.progress() as progress, api_session.connect(progress) as api:
        slot = slots.find_slot(api.account(), options.slot)
        slots.check_usable(slot)
        if slot.pickle is None:
            return _tell(slot, slot, json_wanted=options.json)
        question = f"Have {seat.clean(slot.name)} run no pickle?"
        consent.ask_about_slot(api, slot, question, _follows(slot, None), consent.NO_PICKLE, yes=options.yes)
        return _tell(slot, _change(api, slot, None, progress), json_wanted=options.json)


def label(options: argparse.Namespace) -> int:
    """Give a pickle a label."""
    from builder.tournament import slots  # noqa: PLC0415

    with terminal.progress() as progress, api_session.connect(progress) as api:
        pickle = slots.find_pickle(api, options.pickle)
        api.set_label(pickle.id, options.text)
        now = api.pickle(pickle.id)
    if now is None or now.label != options.text:
        came = repr(seat.clean(now.label)) if now else "nothing"
        raise errors.ApiError(f"{pickle.id}: was to be labelled {options.text!r} and, read back, its label is {came}")
    if options.json:
        print(json.dumps({"format": 1, "pickle": now.id, "label": now.label, "before": pickle.label}))
    else:
        print(f"{seat.clean(now.filename)} ({now.id}): {seat.clean(now.label) or 'no label'}")
    return 0


def create_model(options: argparse.Namespace) -> int:
    """Make a slot."""
    from builder.tournament import slots  # noqa: PLC0415

    with terminal.progress() as progress, api_session.connect(progress) as api:
        account = api.account()
        slots.check_new(api, account, options.name)
        follows = [
            f"account  {seat.clean(account.username)}, {account.slots_line}",
            "follows  a slot of the Classic tournament under this name; it can be archived, not deleted",
        ]
        consent.ask(f"Make the slot {options.name}?", follows, yes=options.yes)
        made = slots.create(api, options.name)
    if options.json:
        print(json.dumps({"format": 1, "slot": seat.slot_data(made)}))
    else:
        name = seat.clean(made.name)
        print(f"made the slot {name} ({made.id}); next: make upload CONFIG=... MODEL={name}")
    return 0


def _change(
    api: tournament.Tournament, slot: tournament.Slot, pickle: str | None, progress: Progress
) -> tournament.Slot:
    from builder.upload import assign as upload_assign  # noqa: PLC0415

    with upload_assign.reporting(api, [slot.id]):
        return upload_assign.assign_and_read_back(api, slot, pickle, progress)


def _follows(slot: tournament.Slot, pickle: tournament.UploadedPickle | None) -> list[str]:
    """Say what is replaced, and what follows."""
    from builder.tournament import status  # noqa: PLC0415

    name, before = seat.clean(slot.name), slot.pickle
    was = f"{seat.pickle_line(before)} ({before.id})" if before else "no pickle"
    lines = [f"slot     {name}" + (f", stake {seat.clean(slot.stake)}" if slot.stake else ""), f"runs now {was}"]
    if pickle is None:
        lines.append("follows  it submits nothing by itself any more, and takes submissions over the API again")
    else:
        lines.append(
            f"then     {seat.pickle_line(pickle)} ({pickle.id}), {seat.clean(pickle.image_name or pickle.image)}, data "
            f"{seat.clean(pickle.data_version)}"
        )
        lines.append(
            "follows  it runs in every round from the next run on" + (", with the stake" if slot.stake else "")
        )
        if before is None:
            lines.append("         the slot takes no submissions over the API until the pickle is disabled")
    if before is not None and status.judge_validation(before) is True:
        lines.append(f"back     python -m builder rollback {name}")
    elif before is not None:
        lines.append("back     nothing: what it runs now is not valid, and is not assigned again")
    return lines


def _tell(before: tournament.Slot, after: tournament.Slot, *, json_wanted: bool) -> int:
    was, now = (one.pickle.id if one.pickle else None for one in (before, after))
    if json_wanted:
        print(json.dumps({"format": 1, "slot": after.name, "before": was, "now": now, "changed": was != now}))
        return 0
    runs = f"runs {seat.pickle_line(after.pickle)} ({after.pickle.id})" if after.pickle else "runs no pickle"
    read = "nothing was to be changed" if was == now else "read back from the slot"
    print(f"{seat.clean(after.name)} {runs}  ({read})")
    return 0
