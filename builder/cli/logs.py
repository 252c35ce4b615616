"""``logs``: what a run printed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from builder import errors
from builder.cli import api_session, listing, pickle_argument, terminal
from builder.cli.parameters import Json
from builder.text import sanitize
from builder.tournament import slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder import tournament

_MILLISECONDS = 100_000_000_000  # a time above is not in seconds


def run(
    *,
    name: Annotated[str, Argument(metavar="SLOT|PICKLE|RUN", help="of a slot or pickle: its newest run")],
    diagnostics: Annotated[bool, Option("--diagnostics", help="of the run over the validation data")] = False,
    json_wanted: Json = False,
) -> int:
    """Print a run's log."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        what, lines = _diagnostics(api, name) if diagnostics else _run_log(api, name)
    if json_wanted:
        printed = [dataclasses.asdict(one) for one in lines]
        print(json.dumps({"format": 1, "of": what, "lines": printed}))
        return 0
    sys.stderr.write(f"{what}\n")
    if not lines:
        sys.stderr.write("  it printed nothing yet; `python -m builder status` shows how far it is\n")
    for line in _printed(lines):
        print(line)
    return 0


def _run_log(api: tournament.Tournament, name: str) -> tuple[str, Sequence[tournament.LogLine]]:
    """Return the log of a run, or of the newest run of a slot or pickle, and what to call it."""
    try:
        found = slots.find_slot_or_pickle(api, name)
    except errors.TokenError:
        raise
    except (errors.UsageError, errors.ApiError):
        # The id of a run is found in no list of its own, and an API may call it no pickle's id by an error.
        if not slots.is_id(name):
            raise
        return f"run {name}", api.get_run_log(name)
    pickle = pickle_argument.resolve_pickle(api, found)
    runs = pickle.runs
    if not runs:
        raise errors.UsageError(
            f"{listing.pickle_line(pickle)} ({pickle.id}): has not run yet; `python -m builder trigger {pickle.id}` "
            "runs it, --diagnostics shows the run over the validation data"
        )
    words = f"run {runs[0].id} of {listing.pickle_line(pickle)}: {sanitize(runs[0].status)}"
    return "; ".join([words, *map(sanitize, runs[0].descriptions)]), api.get_run_log(runs[0].id)


def _diagnostics(api: tournament.Tournament, name: str) -> tuple[str, Sequence[tournament.LogLine]]:
    pickle = pickle_argument.resolve_pickle(api, slots.find_slot_or_pickle(api, name))
    said = " ".join(filter(None, (sanitize(pickle.diagnostics), sanitize(pickle.diagnostics_description))))
    return f"diagnostics of {listing.pickle_line(pickle)}: {said or 'none yet'}", api.get_diagnostics_log(pickle.id)


def _printed(log: Sequence[tournament.LogLine]) -> list[str]:
    """Return a log as lines to print, without the runner's box of help."""
    from builder.validate import diagnose  # noqa: PLC0415

    lines = [dataclasses.replace(one, message=line) for one in log for line in one.message.splitlines() or [""]]
    left_out = diagnose.find_help_lines([one.message for one in lines])
    return [_line(one) for index, one in enumerate(lines) if index not in left_out]


def _line(one: tournament.LogLine) -> str:
    """Return a line of a log; what a run prints is not escaped but for what moves a terminal's cursor."""
    text = "".join(char if char.isprintable() or char == "\t" else "?" for char in one.message.rstrip("\n"))
    if not one.timestamp:
        return text
    seconds = one.timestamp / 1000 if one.timestamp > _MILLISECONDS else one.timestamp
    try:
        return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S} {text}"
    except (OverflowError, ValueError, OSError):
        return text
