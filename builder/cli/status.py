"""``status``: show the status of all slots, or of one with its last runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from builder import commands
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
    """Show the status of all slots, or of one with its last runs."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        account, uploaded = api.get_account(), api.list_uploads()
        current, now = api.get_round()
        selected = slot_status.judge(slots.find_slot(account, slot_name), uploaded) if slot_name is not None else None
        failure = _explain_failure(api, selected, uploaded) if selected else None
    if selected is None:
        statuses, ownerless = slot_status.judge_all(account.slots, uploaded), slot_status.find_ownerless(uploaded)
        if json_wanted:
            data = {
                "slots": [listing.status_data(status) for status in statuses],
                "ownerless": [pickle.id for pickle in ownerless],
            }
            terminal.print_json({"format": 1, "round": _round_data(current, now), **data})
        else:
            _print_all(statuses, current, now)
            for pickle in ownerless:
                terminal.print_lines(
                    f"a validated pickle is not assigned, and was uploaded for no slot: "
                    f"{listing.pickle_line(pickle)}  -> {commands.suggest_plain('assign', 'SLOT', pickle.id)}"
                )
        return 0
    if json_wanted:
        shown = {**listing.status_data(selected), "failure": failure.data() if failure else None}
        terminal.print_json({"format": 1, "round": _round_data(current, now), "slot": shown})
    else:
        _print_slot(selected, failure, current, now)
    return 0


def _explain_failure(
    api: tournament.Tournament, status: slot_status.SlotStatus, uploaded: Sequence[tournament.UploadedPickle]
) -> waiting.ExplainedFailure | None:
    """Explain why the pickle of a slot, or a newer upload for it, failed; sends a request for the log."""
    # `todo` is derived from the same failure, so that the table and this explanation name the same pickle.
    for pickle in (status.slot.pickle, slot_status.find_newer_upload(status.slot, uploaded)):
        if status.todo.startswith("why ") and pickle is not None and slot_status.find_failure(pickle) is not None:
            return waiting.explain_failure(api, pickle)
    return None


def _print_all(statuses: Sequence[slot_status.SlotStatus], current: tournament.Round | None, now: dt.datetime) -> None:
    terminal.print_lines(times.describe_round(current, now))
    if not statuses:
        terminal.print_lines(f"  no slot yet; create one: {commands.suggest_plain('create-model', 'NAME')}")
        return
    rows = [
        (
            slot_status.STATE_LABELS[status.state],
            sanitize(status.slot.name),
            f"stake {sanitize(status.slot.stake)}" if status.slot.stake else "",
            sanitize(status.reason),
            _format_todo(status),
        )
        for status in statuses
    ]
    if terminal.fits(rows):
        terminal.print_table(rows)
        return
    terminal.print_table([row[:-1] for row in rows])
    for status in statuses:  # on lines of their own: a cut or wrapped command cannot be copied
        if status.todo:
            terminal.print_lines(f"  {_format_todo(status)}")


def _format_todo(status: slot_status.SlotStatus) -> str:
    return f"-> {commands.suggest_plain(*status.todo.split())}" if status.todo else ""


def _print_slot(
    status: slot_status.SlotStatus,
    failure: waiting.ExplainedFailure | None,
    current: tournament.Round | None,
    now: dt.datetime,
) -> None:
    slot = status.slot
    label = slot_status.STATE_LABELS[status.state]
    terminal.print_lines(f"{sanitize(slot.name)}  {label}: {sanitize(status.reason)}  {_format_todo(status)}".rstrip())
    rows = [
        ("slot", slot.id),
        ("stake", sanitize(slot.stake) or "none"),
        ("round", times.describe_round(current, now)),
    ]
    if slot.webhook:
        rows.append(("webhook", f"{listing.webhook_host(slot)}  (must be empty before a pickle is uploaded)"))
    if submission := slot.submission:
        inserted_at = times.format_time(submission.inserted_at, now)
        text = f"{sanitize(submission.status)}, {inserted_at}, {sanitize(submission.filename)}"
        rows.append(("submission", text))
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
        rows += [("runs" if not index else "", text) for index, text in enumerate(_run_lines(pickle, now))]
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
