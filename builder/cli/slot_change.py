"""Changes the pickle of a slot: describes the consequences, assigns the pickle and prints the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands
from builder.cli import listing, terminal
from builder.text import sanitize
from builder.tournament import status
from builder.upload import assign

if TYPE_CHECKING:
    from builder import tournament
    from builder.progress import Progress

NO_WEBHOOK = "remove it on the tournament's website first, or upload with --clear-webhook"


def change(
    api: tournament.Tournament, slot: tournament.Slot, pickle: str | None, progress: Progress
) -> tournament.Slot:
    """Assign a pickle, or none; return the slot as read back from the API.

    Raises:
        errors.ApiError: The slot that is read back runs another pickle.
        errors.NetworkError: The API does not answer.
    """
    with assign.report_slots_on_interrupt(api, [slot.id]):
        return assign.assign_and_read_back(api, slot, pickle, progress)


def format_effects(slot: tournament.Slot, pickle: tournament.UploadedPickle | None, *, source: str = "") -> list[str]:
    """Return lines that describe what is replaced and the consequences.

    Args:
        slot: The slot before the change.
        pickle: The pickle to assign; None for no pickle.
        source: The file that the choice comes from; empty if the user chose it.
    """
    name, before = sanitize(slot.name), slot.pickle
    was = f"{listing.pickle_line(before)} ({before.id})" if before else "no pickle"
    lines = [f"slot     {name}" + (f", stake {sanitize(slot.stake)}" if slot.stake else ""), f"runs now {was}"]
    by = f", according to {source}" if source else ""
    if pickle is None:
        if by:
            lines.append(f"then     no pickle{by}")
        lines.append(
            "effects  the tournament no longer runs a pickle for this slot; it accepts submissions over the API again"
        )
    else:
        lines.append(
            f"then     {listing.pickle_line(pickle)} ({pickle.id}), {sanitize(pickle.image_name or pickle.image)},"
            f" data {sanitize(pickle.data_version)}{by}"
        )
        lines.append(
            "effects  the tournament runs this pickle in every round, starting with the next run"
            + (", with the stake" if slot.stake else "")
        )
        if before is None:
            lines.append("         the slot no longer accepts submissions over the API until the pickle is disabled")
    if before is not None and status.judge_validation(before) is True:
        lines.append(f"undo     {commands.suggest_plain('rollback', name)}")
    elif before is not None:  # `rollback` refuses what failed its validation
        lines.append("undo     not possible: the current pickle is not valid, so it cannot be assigned again")
    return lines


def print_change(before: tournament.Slot, after: tournament.Slot, runs: str = "", *, json_wanted: bool) -> int:
    """Print the pickle of a slot, and whether it changed; return the exit code.

    Args:
        before: The slot as it was.
        after: The slot as it is.
        runs: What to call the pickle that it runs; default: its stored name, label and id.
        json_wanted: Print one JSON object.
    """
    was, now = (slot.pickle.id if slot.pickle else None for slot in (before, after))
    if json_wanted:
        terminal.print_json({"format": 1, "slot": after.name, "before": was, "now": now, "changed": was != now})
        return 0
    pickle = f"{listing.pickle_line(after.pickle)} ({after.pickle.id})" if after.pickle else "no pickle"
    read = "nothing to change" if was == now else "read back from the slot"
    terminal.print_lines(f"{sanitize(after.name)} runs {runs or pickle}  ({read})")
    return 0
