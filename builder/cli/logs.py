"""``logs``: what a run printed."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from builder import commands, errors
from builder.cli import api_session, listing, pickle_argument, terminal
from builder.cli.parameters import Json
from builder.text import sanitize
from builder.tournament import slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder import tournament

_MILLISECONDS = 100_000_000_000  # a larger timestamp is in milliseconds: in seconds it would be after the year 5000


def run(
    *,
    name: Annotated[
        str, Argument(metavar="SLOT|PICKLE|RUN", help="a run's id, or a slot or pickle for its newest run")
    ],
    diagnostics: Annotated[
        bool, Option("--diagnostics", help="print the log of the run over the validation data")
    ] = False,
    json_wanted: Json = False,
) -> int:
    """Print a run's log."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        title, lines = _read_diagnostics(api, name) if diagnostics else _read_run_log(api, name)
    if json_wanted:
        data = [dataclasses.asdict(line) for line in lines]
        terminal.print_json({"format": 1, "of": title, "lines": data})
        return 0
    terminal.show(title)
    if not lines:
        terminal.show(f"  nothing printed yet; `{commands.suggest_plain('status')}` shows the progress")
    terminal.print_lines(*_format_log(lines))
    return 0


def _read_run_log(api: tournament.Tournament, name: str) -> tuple[str, Sequence[tournament.LogLine]]:
    """Return the log of a run, or of the newest run of a slot or pickle, with a title for it."""
    try:
        target = slots.find_slot_or_pickle(api, name)
    except errors.TokenError:
        raise
    except (errors.UsageError, errors.ApiError):
        # No API call lists all runs, and asking for a pickle with the id of a run may end as an API error:
        # so any id that is not a slot or a pickle is taken for the id of a run.
        if not slots.is_id(name):
            raise
        return f"run {name}", api.get_run_log(name)
    pickle = pickle_argument.resolve_pickle(api, target)
    runs = pickle.runs
    if not runs:
        raise errors.UsageError(
            f"{listing.pickle_line(pickle)} ({pickle.id}): has not run yet; "
            f"`{commands.suggest_plain('trigger', pickle.id)}` runs it, --diagnostics shows the run over the "
            "validation data"
        )
    title = f"run {runs[0].id} of {listing.pickle_line(pickle)}: {sanitize(runs[0].status)}"
    return "; ".join([title, *map(sanitize, runs[0].descriptions)]), api.get_run_log(runs[0].id)


def _read_diagnostics(api: tournament.Tournament, name: str) -> tuple[str, Sequence[tournament.LogLine]]:
    pickle = pickle_argument.resolve_pickle(api, slots.find_slot_or_pickle(api, name))
    status = " ".join(filter(None, (sanitize(pickle.diagnostics), sanitize(pickle.diagnostics_description))))
    return f"diagnostics of {listing.pickle_line(pickle)}: {status or 'none yet'}", api.get_diagnostics_log(pickle.id)


def _format_log(log: Sequence[tournament.LogLine]) -> list[str]:
    """Return the lines of a log for printing, without the runner's boxes of help text."""
    from builder.validate import runner_log  # noqa: PLC0415

    lines = [dataclasses.replace(entry, message=line) for entry in log for line in entry.message.splitlines() or [""]]
    help_lines = runner_log.find_help_lines([line.message for line in lines])
    return [_format_line(line) for index, line in enumerate(lines) if index not in help_lines]


def _format_line(line: tournament.LogLine) -> str:
    """Return a line of a log with its time."""
    text = line.message.rstrip("\n")
    if not line.timestamp:
        return text
    seconds = line.timestamp / 1000 if line.timestamp > _MILLISECONDS else line.timestamp
    try:
        return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S} {text}"
    except (OverflowError, ValueError, OSError):
        return text
