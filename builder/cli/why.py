"""``why``: run a pickle that failed at the tournament again on this machine, and report one cause and one fix.

The cause is concluded from what the tournament reports (status, descriptions and log: a :class:`_Case`) and from how
the same file runs here, in the image that it was registered for (``validate.rerun``). If it cannot be run here, as
without an engine or the image, the tournament's report alone decides.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from builder import commands, data_versions, errors, tournament
from builder.cli import (
    api_session,
    listing,
    local_run,
    pickle_argument,
    reading_rows,
    remote_files,
    terminal,
)
from builder.cli.parameters import Json, SlotOrPickle, StartEngine
from builder.text import sanitize
from builder.tournament import live_files, session, slots, status
from builder.upload import waiting
from builder.validate import known_causes, runner_log
from builder.validate.reading import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.progress import Progress
    from builder.validate import rerun

_LOG_LINES = 12


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A failure at the tournament.

    Attributes:
        name: What to pass to other commands: the slot if it runs the pickle, else the pickle's id.
        pickle: The pickle that failed.
        failure: Where it failed, and what the tournament reports about it.
        log: The lines that its run printed there.
    """

    name: str
    pickle: tournament.UploadedPickle
    failure: status.PickleFailure
    log: tuple[str, ...]


def run(
    *,
    name: SlotOrPickle,
    live: local_run.Live = None,
    benchmarks: local_run.Benchmarks = None,
    stand_in: local_run.StandIn = None,
    no_run: Annotated[
        bool, Option("--no-run", help="print the tournament's status and log, without running the pickle")
    ] = False,
    yes: StartEngine = False,
    json_wanted: Json = False,
) -> int:
    """Explain why the pickle of a slot failed; exit 1, or 0 if none failed."""
    from builder.validate import rerun  # noqa: PLC0415 - pyarrow

    local_run.check_options(live, benchmarks, stand_in)
    with terminal.progress() as progress, api_session.connect(progress) as api:
        target = slots.find_slot_or_pickle(api, name)
        uploaded = api.list_uploads()
        case = _find_case(api, target, uploaded)
        if case is None:
            return _print_no_failure(target, uploaded, json_wanted=json_wanted)
        _check_python(case.pickle, stand_in)
        reading, result, reason = None, None, "skipped by --no-run"
        if not no_run:
            try:
                content = remote_files.fetch(api, case.pickle, progress)
                reading = read.read(content, image_python=_find_image_python(case.pickle))
                ref = remote_files.reference(api, case.pickle, session.read_registry())
                files = (Path(live), Path(benchmarks) if benchmarks else None) if live else None
                files = files or _fetch_live(api, case.pickle, progress)
                result = local_run.run(
                    *(content, ref, files, progress), built_on=reading.python, stand_in=stand_in, yes=yes
                )
            except errors.BuilderError as error:  # such as a missing engine: the tournament's log still has a cause
                reason = str(error)
    again = commands.suggest_plain("trigger", case.name)
    cause = rerun.conclude(case.failure, list(case.log), result, reading, again=again)
    cause = cause.with_config(waiting.find_folder(case.pickle))
    if json_wanted:
        reading_data = dataclasses.asdict(reading) if reading else None
        terminal.print_json({**_data(case, result, reason, cause), "reading": reading_data})
    else:
        _print(case, result, reason, cause, reading_rows.list_summary(reading) if reading else [])
    return 1


def _check_python(pickle: tournament.UploadedPickle, python: str | None) -> None:
    """Check that a stand-in has the Python of the pickle's image; another version would itself make it fail.

    Raises:
        errors.UsageError: The versions differ.
    """
    from builder.image import stand_in  # noqa: PLC0415

    image_python = _find_image_python(pickle)
    if python and image_python and stand_in.EDITIONS.get(python, python) != image_python:
        raise errors.UsageError(
            f"--stand-in {python}: the pickle was registered for an image with Python {image_python}, and fails "
            f"with any other version; pass --stand-in {image_python}, or leave it out"
        )


def _find_image_python(pickle: tournament.UploadedPickle) -> str | None:
    """Return the Python of the image that a pickle was registered for, such as ``3.12``; None if its name has none."""
    image_text = f"{pickle.image} {pickle.image_name} {pickle.runtime}"
    version = re.search(r"(?:py_|Python )3[._]([0-9]{1,2})(?![0-9])", image_text)
    return f"3.{version[1]}" if version else None


def _find_case(
    api: tournament.Tournament,
    target: tournament.Slot | tournament.UploadedPickle,
    uploaded: Sequence[tournament.UploadedPickle],
) -> _Case | None:
    """Return the failure of the slot's pickle, else that of a newer pickle uploaded for it; None if none failed."""
    candidates = (
        [target.pickle, status.find_newer_upload(target, uploaded)] if isinstance(target, tournament.Slot) else [target]
    )
    for pickle in candidates:
        failure = status.find_failure(pickle) if pickle else None
        if pickle is not None and failure is not None:
            name = target.name if isinstance(target, tournament.Slot) and pickle is target.pickle else pickle.id
            log = tuple(line.message for line in waiting.read_log(api, pickle, failure))
            return _Case(name=name, pickle=pickle, failure=failure, log=log)
    if all(pickle is None for pickle in candidates):
        pickle_argument.resolve_pickle(api, target)  # raises: the slot has no pickle
    return None


def _fetch_live(
    api: tournament.Tournament, pickle: tournament.UploadedPickle, progress: Progress
) -> tuple[Path, Path | None]:
    """Return the last round's live data of the pickle's data version."""
    try:
        data = live_files.fetch(api, pickle.data_version or data_versions.DEFAULT, progress)
    except errors.NetworkError as error:
        raise errors.NetworkError(f"{error}; or pass live data: --live FILE [--benchmarks FILE]") from error
    return data.live, data.benchmarks


def _print_no_failure(
    target: tournament.Slot | tournament.UploadedPickle,
    uploaded: Sequence[tournament.UploadedPickle],
    *,
    json_wanted: bool,
) -> int:
    if isinstance(target, tournament.Slot):
        name, reason, shows = target.name, status.judge(target, uploaded).reason, ("status", sanitize(target.name))
    else:
        name, reason, shows = target.filename, f"validation {target.validation}", ("logs", target.id)
    if json_wanted:
        terminal.print_json({"format": 1, "failed": False, "name": name, "reason": reason})
    else:
        terminal.print_lines(
            f"{sanitize(name)} did not fail: {sanitize(reason)}  (`{commands.suggest_plain(*shows)}` shows more)"
        )
    return 0


def _print(
    case: _Case,
    result: rerun.RerunResult | None,
    reason: str,
    cause: known_causes.Cause,
    summary: Sequence[tuple[str, str]],
) -> None:
    failure = case.failure
    terminal.print_lines(f"{listing.pickle_line(case.pickle)} ({case.pickle.id})")
    rows = [("tournament", f"{failure.where} {sanitize(failure.status)}")]
    rows += [("", f"message: {sanitize(text)}") for text in failure.descriptions]
    rows += [("", f"log: {line}") for line in runner_log.format_excerpt(case.log, _LOG_LINES)]
    rows += summary
    rows += local_run.list_rows(result, reason)
    terminal.print_table(rows)
    terminal.print_lines(f"cause: {cause.text}")
    terminal.print_lines(f"fix:   {cause.fix}")


def _data(case: _Case, result: rerun.RerunResult | None, reason: str, cause: known_causes.Cause) -> dict[str, object]:
    failure = case.failure
    tournament_data = {
        "where": failure.where,
        "status": failure.status,
        "descriptions": failure.descriptions,
        "log": case.log,
    }
    answer = {
        "format": 1,
        "failed": True,
        "pickle": case.pickle.id,
        "there": tournament_data,
        "here": local_run.to_data(result, reason),
    }
    return {**answer, "cause": cause.text, "fix": cause.fix}
