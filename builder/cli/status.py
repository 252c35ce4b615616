"""``status``: how all slots stand, or one with its last runs."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from builder.cli import api_session, listing, terminal
from builder.cli.parameters import AnySlot, Json
from builder.text import sanitize
from builder.tournament import slots, times
from builder.tournament import status as slot_status
from builder.upload import waiting

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from builder import tournament

_RUNS = 5


def run(*, slot_name: AnySlot = None, json_wanted: Json = False) -> int:
    """Show how all slots stand, or one with its last runs."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        account, uploaded = api.get_account(), api.list_uploads()
        current, now = api.get_round()
        one = slot_status.judge(slots.find_slot(account, slot_name), uploaded) if slot_name is not None else None
        failure = _explain(api, one, uploaded) if one else None
    if one is None:
        statuses, ownerless = slot_status.judge_all(account.slots, uploaded), slot_status.find_ownerless(uploaded)
        if json_wanted:
            data = {
                "slots": [listing.standing_data(each) for each in statuses],
                "ownerless": [each.id for each in ownerless],
            }
            print(json.dumps({"format": 1, "round": _round_data(current, now), **data}))
        else:
            _tell_all(statuses, current, now)
            for each in ownerless:
                print(
                    f"a validated pickle is waiting, uploaded for no slot: {listing.pickle_line(each)}  -> "
                    f"python -m builder assign SLOT {each.id}"
                )
        return 0
    if json_wanted:
        shown = {**listing.standing_data(one), "failure": failure.data() if failure else None}
        print(json.dumps({"format": 1, "round": _round_data(current, now), "slot": shown}))
    else:
        _tell_one(one, failure, current, now)
    return 0


def _explain(
    api: tournament.Tournament, one: slot_status.SlotStatus, uploaded: Sequence[tournament.UploadedPickle]
) -> waiting.ExplainedFailure | None:
    """Return why what a slot runs failed, or what was uploaded for it since; with its log, which takes a request."""
    for pickle in (one.slot.pickle, slot_status.find_newer_upload(one.slot, uploaded)):
        if one.todo.startswith("why ") and pickle is not None and slot_status.find_failure(pickle) is not None:
            return waiting.explain_failure(api, pickle)
    return None


def _tell_all(statuses: Sequence[slot_status.SlotStatus], current: tournament.Round | None, now: dt.datetime) -> None:
    print(times.describe_round(current, now))
    if not statuses:
        print("  no slot yet; make one: python -m builder create-model NAME")
        return
    rows = [
        (
            slot_status.STATE_LABELS[one.state],
            sanitize(one.slot.name),
            f"stake {sanitize(one.slot.stake)}" if one.slot.stake else "",
            sanitize(one.reason),
            _todo(one),
        )
        for one in statuses
    ]
    if terminal.fits(rows):
        terminal.print_table(rows)
        return
    terminal.print_table([row[:-1] for row in rows])
    for one in statuses:  # each whole, to be copied
        if one.todo:
            print(f"  {_todo(one)}")


def _todo(one: slot_status.SlotStatus) -> str:
    return f"-> python -m builder {one.todo}" if one.todo else ""


def _tell_one(
    one: slot_status.SlotStatus,
    failure: waiting.ExplainedFailure | None,
    current: tournament.Round | None,
    now: dt.datetime,
) -> None:
    slot = one.slot
    print(
        f"{sanitize(slot.name)}  {slot_status.STATE_LABELS[one.state]}: {sanitize(one.reason)}  {_todo(one)}".rstrip()
    )
    rows = [
        ("slot", slot.id),
        ("stake", sanitize(slot.stake) or "none"),
        ("round", times.describe_round(current, now)),
    ]
    if slot.webhook:
        rows.append(("webhook", f"{listing.webhook_host(slot)}  (must be empty before a pickle is uploaded)"))
    if slot.submission:
        sent = slot.submission
        rows.append(
            (
                "submission",
                f"{sanitize(sent.status)}, {times.format_time(sent.inserted_at, now)}, {sanitize(sent.filename)}",
            )
        )
    pickle = slot.pickle
    if pickle is not None:
        validation = sanitize(pickle.validation) or "not begun"
        image = f"{sanitize(pickle.image_name) or '?'} ({sanitize(pickle.image)})"
        rows += [
            ("pickle", f"{listing.pickle_line(pickle)}  ({pickle.id})"),
            (
                "",
                f"validation {validation}, uploaded {times.format_time(pickle.inserted_at, now)}",
            ),
            (
                "image",
                f"{image}, data {sanitize(pickle.data_version)}",
            ),
            (
                "diagnostics",
                " ".join(filter(None, (sanitize(pickle.diagnostics), sanitize(pickle.diagnostics_description))))
                or "none",
            ),
        ]
        rows += [("runs" if not place else "", text) for place, text in enumerate(_run_lines(pickle, now))]
    terminal.print_table([*rows, *(failure.rows() if failure else ())])


def _run_lines(pickle: tournament.UploadedPickle, now: dt.datetime) -> Iterable[str]:
    runs = pickle.runs
    if not runs:
        yield f"none is listed; the last one: {sanitize(pickle.trigger)}" if pickle.trigger else "none yet"
    for run in runs[:_RUNS]:
        how = sanitize(run.status) or "no status yet"
        yield f"{how}, {sanitize(run.type)}, {times.format_time(run.inserted_at, now)}  ({run.id})"
        for text in run.descriptions:
            yield f"  {sanitize(text)}"
    if len(runs) > _RUNS:
        yield f"and {len(runs) - _RUNS} before"


def _round_data(current: tournament.Round | None, now: dt.datetime) -> dict[str, Any] | None:
    return {**dataclasses.asdict(current), "open": current.is_open(now)} if current else None
