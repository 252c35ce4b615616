"""``models``, ``status``, ``pickles``, ``data-versions``: what the account has, and how it stands."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from builder.cli import api_session, terminal
from builder.text import one_line

if TYPE_CHECKING:
    import argparse
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from builder import tournament
    from builder.tournament import status as standing
    from builder.upload import waiting

NO_WEBHOOK = "take it away at the tournament's site first, or upload with --clear-webhook"
_RUNS = 5


def models(options: argparse.Namespace) -> int:
    """List the slots."""
    from builder.tournament import status as standing  # noqa: PLC0415 - the API's side of the package

    with terminal.progress() as progress, api_session.connect(progress) as api:
        account, uploaded = api.account(), api.uploads()
    found = [standing.judge(slot, uploaded) for slot in account.slots]
    if options.json:
        slots = [_standing_data(one) for one in found]
        print(json.dumps({"format": 1, "account": account.username, "most_slots": account.most_slots, "slots": slots}))
        return 0
    print(f"{clean(account.username)}: {account.slots_line}")
    if not found:
        print("  no slot yet; make one: python -m builder create-model NAME")
        return 0
    head = ("slot", "pickle", "image", "data", "state", "stake", "id")
    _print(head, [_model_row(one) for one in found])
    return 0


def status(options: argparse.Namespace) -> int:
    """Show how all slots stand, or one with its last runs."""
    from builder.tournament import slots  # noqa: PLC0415
    from builder.tournament import status as standing  # noqa: PLC0415

    with terminal.progress() as progress, api_session.connect(progress) as api:
        account, uploaded = api.account(), api.uploads()
        current, now = api.round_now()
        one = standing.judge(slots.find_slot(account, options.slot), uploaded) if options.slot is not None else None
        failure = _explain(api, one, uploaded) if one else None
    if one is None:
        found, ownerless = standing.judge_all(account.slots, uploaded), standing.find_ownerless(uploaded)
        if options.json:
            data = {"slots": [_standing_data(each) for each in found], "ownerless": [each.id for each in ownerless]}
            print(json.dumps({"format": 1, "round": _round_data(current, now), **data}))
        else:
            _tell_all(found, current, now)
            for each in ownerless:
                print(
                    f"a validated pickle is waiting, uploaded for no slot: {pickle_line(each)}  -> python -m builder "
                    f"assign SLOT {each.id}"
                )
        return 0
    if options.json:
        shown = {**_standing_data(one), "failure": failure.data() if failure else None}
        print(json.dumps({"format": 1, "round": _round_data(current, now), "slot": shown}))
    else:
        _tell_one(one, failure, current, now)
    return 0


def _explain(
    api: tournament.Tournament, one: standing.SlotStatus, uploaded: Sequence[tournament.UploadedPickle]
) -> waiting.Failure | None:
    """Return why what a slot runs failed, or what was uploaded for it since; with its log, which takes a request."""
    from builder.tournament import status as standing  # noqa: PLC0415
    from builder.upload import waiting  # noqa: PLC0415

    for pickle in (one.slot.pickle, standing.newer_upload(one.slot, uploaded)):
        if one.todo.startswith("why ") and pickle is not None and standing.find_fault(pickle) is not None:
            return waiting.explain(api, pickle)
    return None


def pickles(options: argparse.Namespace) -> int:
    """List uploaded pickles."""
    from builder.tournament import slots  # noqa: PLC0415

    with terminal.progress() as progress, api_session.connect(progress) as api:
        account = api.account()
        slot = slots.find_slot(account, options.slot) if options.slot else None
        found = api.pickles(slot.id if slot else None, unassigned=options.unassigned)
        now = api.now()
    names = {one.id: one.name for one in account.slots}
    if options.json:
        print(json.dumps({"format": 1, "pickles": [_pickle_data(one, names) for one in found]}))
        return 0
    if not found:
        kind = "unassigned pickle" if options.unassigned else "pickle"
        where = f"was uploaded for {clean(slot.name)}" if slot else "was uploaded"
        print(f"no {kind} {where}; `make upload CONFIG=... MODEL=SLOT` uploads one")
        return 0
    _print(("id", "file", "state", "runs in", "uploaded for", "image", "data", "uploaded"), [
        _pickle_row(one, names, now) for one in found
    ])  # fmt: skip
    return 0


def data_versions(options: argparse.Namespace) -> int:
    """List the data versions; takes no token."""
    with terminal.progress() as progress, api_session.connect(progress, needs_token=False) as api:
        found = api.data_versions()
    if options.json:
        print(json.dumps({"format": 1, "data_versions": [dataclasses.asdict(one) for one in found]}))
    elif found:
        _print(("version", "name", "", "id"), [(one.version, one.name, _marks(one), one.id) for one in found])
    else:
        print("the API names no data version; run it again later")
    return 0


def clean(text: str) -> str:
    """Return what the API says on one line that can be printed."""
    return one_line(text)


def pickle_line(one: tournament.UploadedPickle) -> str:
    """Return a pickle's stored name and label."""
    return clean(one.filename) + (f" {clean(one.label)!r}" if one.label else "")


def _tell_all(found: Sequence[standing.SlotStatus], current: tournament.Round | None, now: dt.datetime) -> None:
    from builder.tournament import status as ranks  # noqa: PLC0415
    from builder.tournament import times  # noqa: PLC0415

    print(times.round_line(current, now))
    if not found:
        print("  no slot yet; make one: python -m builder create-model NAME")
        return
    rows = [
        (
            ranks.WORDS[one.rank],
            clean(one.slot.name),
            f"stake {clean(one.slot.stake)}" if one.slot.stake else "",
            clean(one.reason),
            _todo(one),
        )
        for one in found
    ]
    terminal.print_table(rows)


def _todo(one: standing.SlotStatus) -> str:
    return f"-> python -m builder {one.todo}" if one.todo else ""


def _tell_one(
    one: standing.SlotStatus,
    failure: waiting.Failure | None,
    current: tournament.Round | None,
    now: dt.datetime,
) -> None:
    from builder.tournament import status as ranks  # noqa: PLC0415
    from builder.tournament import times  # noqa: PLC0415

    slot = one.slot
    print(f"{clean(slot.name)}  {ranks.WORDS[one.rank]}: {clean(one.reason)}  {_todo(one)}".rstrip())
    rows = [("slot", slot.id), ("stake", clean(slot.stake) or "none"), ("round", times.round_line(current, now))]
    if slot.webhook:
        rows.append(("webhook", f"{_webhook(slot)}  (must be empty before a pickle is uploaded)"))
    if slot.submission:
        sent = slot.submission
        rows.append(
            ("submission", f"{clean(sent.status)}, {times.both(sent.inserted_at, now)}, {clean(sent.filename)}")
        )
    pickle = slot.pickle
    if pickle is not None:
        rows += [
            ("pickle", f"{pickle_line(pickle)}  ({pickle.id})"),
            (
                "",
                f"validation {clean(pickle.validation) or 'not begun'}, uploaded {times.both(pickle.inserted_at, now)}",
            ),
            ("image", f"{clean(pickle.image_name) or '?'} ({clean(pickle.image)}), data {clean(pickle.data_version)}"),
            (
                "diagnostics",
                " ".join(filter(None, (clean(pickle.diagnostics), clean(pickle.diagnostics_description)))) or "none",
            ),
        ]
        rows += [("runs" if not place else "", text) for place, text in enumerate(_run_lines(pickle, now))]
    terminal.print_table([*rows, *(failure.rows() if failure else ())])


def _run_lines(pickle: tournament.UploadedPickle, now: dt.datetime) -> Iterable[str]:
    from builder.tournament import status as standing  # noqa: PLC0415
    from builder.tournament import times  # noqa: PLC0415

    runs = standing.newest(pickle.triggers)
    if not runs:
        yield f"none is listed; the last one: {clean(pickle.trigger)}" if pickle.trigger else "none yet"
    for run in runs[:_RUNS]:
        how = clean(run.status) or "no status yet"
        yield f"{how}, {clean(run.type)}, {times.both(run.inserted_at, now)}  ({run.id})"
        for text in run.descriptions:
            yield f"  {clean(text)}"
    if len(runs) > _RUNS:
        yield f"and {len(runs) - _RUNS} before"


def _model_row(one: standing.SlotStatus) -> tuple[str, ...]:
    slot, pickle = one.slot, one.slot.pickle
    return (
        clean(slot.name),
        pickle_line(pickle) if pickle else "-",
        clean(pickle.image_name or pickle.image) if pickle else "-",
        clean(pickle.data_version) if pickle else "-",
        clean(one.reason),
        clean(slot.stake) or "-",
        slot.id,
    )


def _pickle_row(one: tournament.UploadedPickle, names: dict[str, str], now: dt.datetime) -> tuple[str, ...]:
    from builder.tournament import times  # noqa: PLC0415

    return (
        one.id,
        pickle_line(one),
        clean(one.validation),
        ", ".join(clean(names.get(slot, slot)) for slot in one.slots) or "-",
        clean(names.get(one.owner, one.owner)) or "-",
        clean(one.image_name or one.image),
        clean(one.data_version),
        times.relative(one.inserted_at, now),
    )


def _print(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    terminal.print_table([head, *rows])


def _marks(one: tournament.DataVersion) -> str:
    marks = {"default": one.default, "deprecated": one.deprecated, "experimental": one.experimental}
    return ", ".join(name for name, is_so in marks.items() if is_so)


def _webhook(slot: tournament.Slot) -> str:
    """Return a webhook's host: the rest of its address may be a secret."""
    from builder.net import http  # noqa: PLC0415

    return f"{http.shown(slot.webhook).rpartition('/')[0]}/..." if slot.webhook else ""


def slot_data(slot: tournament.Slot) -> dict[str, Any]:
    """Return a slot as plain data."""
    return {**dataclasses.asdict(slot), "webhook": _webhook(slot)}


def _standing_data(one: standing.SlotStatus) -> dict[str, Any]:
    state = one.rank.name.lower()
    return {**slot_data(one.slot), "state": state, "reason": one.reason, "todo": one.todo}


def _pickle_data(one: tournament.UploadedPickle, names: dict[str, str]) -> dict[str, Any]:
    return {**dataclasses.asdict(one), "slot_names": [names.get(slot, slot) for slot in one.slots]}


def _round_data(current: tournament.Round | None, now: dt.datetime) -> dict[str, Any] | None:
    return {**dataclasses.asdict(current), "open": current.is_open(now)} if current else None
