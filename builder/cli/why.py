"""``why``: what failed at the tournament, run again here in its image; one cause and one fix."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import filesize
from typer import Option

from builder import errors, tournament
from builder.build import artifact
from builder.cli import api_session, engine_session, image_kinds, listing, pickle_argument, remote_files, terminal
from builder.cli.parameters import Json, SlotOrPickle, StartEngine
from builder.config import model as config
from builder.text import sanitize
from builder.tournament import slots, status
from builder.upload import waiting
from builder.validate import diagnose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from builder.progress import Progress
    from builder.validate import rerun as stage

_LOG_LINES = 12
_MARKS = {True: "ok", False: "FAILED", None: "note"}


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What failed: which pickle, where, and what it printed there."""

    name: str
    pickle: tournament.UploadedPickle
    failure: status.PickleFailure
    log: tuple[str, ...]


def run(
    *,
    name: SlotOrPickle,
    live: Annotated[
        str | None, Option("--live", metavar="FILE", help="live data to run it on; default: today's, fetched")
    ] = None,
    benchmarks: Annotated[
        str | None, Option("--benchmarks", metavar="FILE", help="live benchmark predictions, with --live")
    ] = None,
    stand_in: Annotated[
        str | None,
        Option("--stand-in", metavar="PYTHON", help="if the image is not available: run it in this stand-in image"),
    ] = None,
    no_run: Annotated[bool, Option("--no-run", help="read what the tournament says and run nothing")] = False,
    yes: StartEngine = False,
    json_wanted: Json = False,
) -> int:
    """Explain why the pickle of a slot failed; exit 1, or 0 if none failed."""
    from builder.validate import rerun as stage  # noqa: PLC0415 - pyarrow

    _check_options(stage, live, benchmarks, stand_in)
    with terminal.progress() as progress, api_session.connect(progress) as api:
        found = slots.find_slot_or_pickle(api, name)
        uploaded = api.list_uploads()
        case = _find_case(api, found, uploaded)
        if case is None:
            return _tell_good(found, uploaded, json_wanted=json_wanted)
        _check_python(case.pickle, stand_in)
        here, reason = None, "it was not asked for (--no-run)"
        if not no_run:
            try:
                here = _run_here(
                    api, case.pickle, progress, live=live, benchmarks=benchmarks, stand_in=stand_in, yes=yes
                )
            except errors.BuilderError as error:
                reason = str(error)
    cause = stage.conclude(case.failure, list(case.log), here, again=f"python -m builder trigger {case.name}")
    cause = cause.with_config(waiting.find_folder(case.pickle))
    if json_wanted:
        print(json.dumps(_data(case, here, reason, cause)))
    else:
        _tell(case, here, reason, cause)
    return 1


def _check_options(stage: ModuleType, live: str | None, benchmarks: str | None, python: str | None) -> None:
    """Refuse what cannot be run with before anything is asked.

    Raises:
        errors.UsageError: There is no stand-in of that Python, or benchmark predictions are passed without live data.
        errors.DataError: A file is not there, or no parquet file.
    """
    from builder.image import stand_in  # noqa: PLC0415

    if benchmarks and not live:
        raise errors.UsageError("--benchmarks goes with --live FILE, whose rows they are of: name both, or neither")
    for option, text in (("--live", live), ("--benchmarks", benchmarks)):
        if text:
            stage.count_rows(Path(text), option)
    if python:
        try:
            stand_in.check_python(python)
        except errors.ImageError as error:
            raise errors.UsageError(f"--stand-in: {error}") from error


def _check_python(pickle: tournament.UploadedPickle, python: str | None) -> None:
    """Refuse a stand-in with another Python than the image's: the pickle would fail for that alone.

    Raises:
        errors.UsageError: It is of another.
    """
    from builder.image import stand_in  # noqa: PLC0415

    named = f"{pickle.image} {pickle.image_name} {pickle.runtime}"
    theirs = re.search(r"(?:py_|Python )3[._]([0-9]{1,2})(?![0-9])", named)
    if python and theirs and stand_in.EDITIONS.get(python, python) != f"3.{theirs[1]}":
        raise errors.UsageError(
            f"--stand-in {python}: the pickle was registered for an image with Python 3.{theirs[1]}, and fails in "
            f"another for that alone; name --stand-in 3.{theirs[1]}, or leave it out"
        )


def _find_case(
    api: tournament.Tournament,
    found: tournament.Slot | tournament.UploadedPickle,
    uploaded: Sequence[tournament.UploadedPickle],
) -> _Case | None:
    """Return what failed last: of what the slot runs, else of a newer pickle that was uploaded for it."""
    candidates = (
        [found.pickle, status.find_newer_upload(found, uploaded)] if isinstance(found, tournament.Slot) else [found]
    )
    for pickle in candidates:
        failure = status.find_failure(pickle) if pickle else None
        if pickle is not None and failure is not None:
            name = found.name if isinstance(found, tournament.Slot) and pickle is found.pickle else pickle.id
            log = tuple(line.message for line in waiting.read_log(api, pickle, failure))
            return _Case(name=name, pickle=pickle, failure=failure, log=log)
    if all(pickle is None for pickle in candidates):
        pickle_argument.resolve_pickle(api, found)  # says that there is none
    return None


def _run_here(
    api: tournament.Tournament,
    pickle: tournament.UploadedPickle,
    progress: Progress,
    *,
    live: str | None,
    benchmarks: str | None,
    stand_in: str | None,
    yes: bool,
) -> stage.RerunResult:
    from builder.engine import run  # noqa: PLC0415 - numpy
    from builder.image import resolve as image  # noqa: PLC0415 - numpy
    from builder.validate import rerun as stage  # noqa: PLC0415

    ref = remote_files.reference(api, pickle)
    content = remote_files.fetch(api, pickle, progress)
    files = (Path(live), Path(benchmarks) if benchmarks else None) if live else _fetch_live(api, pickle, progress)
    on = engine_session.connect(progress, yes=yes)
    where = image.resolve(image.ImageRequest(ref=ref, stand_in=stand_in), on, pull=False, progress=progress)
    with run.start(on) as identity:
        task = stage.RerunTask(
            pickle=content,
            image=where,
            python=image.read_inventory(where, on, identity).python,
            built_on=_find_build_python(content),
            live=files[0],
            benchmarks=files[1],
            limits=config.ValidateConfig().limits,
        )
        return stage.rerun(task, on, identity, progress)


def _fetch_live(
    api: tournament.Tournament, pickle: tournament.UploadedPickle, progress: Progress
) -> tuple[Path, Path | None]:
    """Return today's live data of the pickle's data version."""
    try:
        return remote_files.fetch_live(api, pickle.data_version or "v5.2", progress)
    except errors.NetworkError as error:
        raise errors.NetworkError(f"{error}; or name live data: --live FILE [--benchmarks FILE]") from error


def _find_build_python(content: Path) -> str | None:
    """Return the Python that a pickle was made on, where it was made here."""
    sha256 = artifact.hash_file(content)
    here = [found for _, found in artifact.read_manifests(Path.cwd()) if found.pickle.sha256 == sha256]
    return here[0].image.python if here else None


def _tell_good(
    found: tournament.Slot | tournament.UploadedPickle,
    uploaded: Sequence[tournament.UploadedPickle],
    *,
    json_wanted: bool,
) -> int:
    if isinstance(found, tournament.Slot):
        name, reason, shows = found.name, status.judge(found, uploaded).reason, f"status {sanitize(found.name)}"
    else:
        name, reason, shows = found.filename, f"validation {found.validation}", f"logs {found.id}"
    if json_wanted:
        print(json.dumps({"format": 1, "failed": False, "name": name, "reason": reason}))
    else:
        print(f"nothing of {sanitize(name)} failed: {sanitize(reason)}  (`python -m builder {shows}` shows it)")
    return 0


def _tell(case: _Case, here: stage.RerunResult | None, reason: str, cause: diagnose.Cause) -> None:
    failure = case.failure
    print(f"{listing.pickle_line(case.pickle)} ({case.pickle.id})")
    rows = [("there", f"{failure.where} {sanitize(failure.status)}")]
    rows += [("", f"it says: {sanitize(text)}") for text in failure.descriptions]
    rows += [("", f"log: {line}") for line in diagnose.format_excerpt(case.log, _LOG_LINES)]
    if here is None:
        rows.append(("here", "not run: " + " ".join(sanitize(reason).split())))
    else:
        task = here.task
        kind = image_kinds.describe_kind(task.image, Path.cwd())
        rows.append(("here", f"in {task.image.base} ({kind}), Python {task.python}"))
        rows += [("", f"{_MARKS[check.good]}  {check.name}: {check.detail}") for check in here.checks]
        if here.usage:
            used = here.usage
            rows.append(("", f"used {filesize.decimal(used.peak_bytes)} of memory, {used.seconds:.1f} s"))
    terminal.print_table(rows)
    print(f"cause: {cause.text}")
    print(f"fix:   {cause.fix}")


def _data(case: _Case, here: stage.RerunResult | None, reason: str, cause: diagnose.Cause) -> dict[str, object]:
    failure = case.failure
    there = {"where": failure.where, "status": failure.status, "descriptions": failure.descriptions, "log": case.log}
    ran: dict[str, object] = {"ran": False, "reason": reason}
    if here is not None:
        image = here.task.image
        ran = {
            "ran": True,
            "good": here.cause is None,
            "image": {"kind": image.kind, "ref": image.ref, "identity": image.identity, "python": here.task.python},
            "checks": [dataclasses.asdict(check) for check in here.checks],
            "usage": dataclasses.asdict(here.usage) if here.usage else None,
            "log": here.log,
        }
    answer = {"format": 1, "failed": True, "pickle": case.pickle.id, "there": there, "here": ran}
    return {**answer, "cause": cause.text, "fix": cause.fix}
