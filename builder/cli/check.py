"""``check``: whether any pickle would run, and if not, why: it is read without executing it, then run in its image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import filesize
from typer import Argument, Option

from builder import errors, paths, published_pins
from builder.cli import local_run, reading_rows, terminal
from builder.cli.parameters import Json, StartEngine
from builder.tournament import session
from builder.validate import diagnose

if TYPE_CHECKING:
    from builder.validate.reading.read import Reading

PickleFile = Annotated[Path, Argument(metavar="PICKLE", help="a file: a pickle, from any program")]
_ROWS = 1_000


def run(
    *,
    path: PickleFile,
    image: Annotated[
        str | None, Option("--image", metavar="REF", help="the image; default: the tournament's with the same Python")
    ] = None,
    live: local_run.Live = None,
    benchmarks: local_run.Benchmarks = None,
    stand_in: local_run.StandIn = None,
    no_run: Annotated[bool, Option("--no-run", help="only read the pickle")] = False,
    yes: StartEngine = False,
    json_wanted: Json = False,
) -> int:
    """Print what a pickle is; exit 1 if it would fail, if something is dangerous in it, or if it cannot be read."""
    from builder.validate.reading import read  # noqa: PLC0415

    local_run.check_options(live, benchmarks, stand_in)
    reading, result = read.read(path), None
    reason = "skipped by --no-run" if no_run else "the file is not a pickle"
    if reading.protocol is not None and not no_run:
        files = (Path(live), Path(benchmarks) if benchmarks else None) if live else _make_rows(reading)
        with terminal.progress() as progress:
            try:
                ref = image or _find_image(reading)
                result = local_run.run(
                    *(path, ref, files, progress),
                    built_on=reading.python,
                    stand_in=stand_in,
                    yes=yes,
                    columns=(reading.features, reading.benchmarks) if reading.features else None,
                )
            except errors.BuilderError as error:  # such as a missing image: the reading still has an answer
                reason = str(error)
    cause = result.cause if result else next((diagnose.Cause(text=p.text, fix=p.fix) for p in reading.problems), None)
    is_good = reading.is_safe and (result.cause is None if result else reading.is_good)
    if json_wanted:
        answer = {"format": 1, "file": str(path), "good": is_good, "reading": dataclasses.asdict(reading)}
        cause_data = {"cause": cause.text, "fix": cause.fix} if cause else {"cause": None, "fix": None}
        terminal.print_json({**answer, "run": local_run.to_data(result, reason), **cause_data})
        return 0 if is_good else 1
    protocol = "" if reading.protocol is None else f", pickle protocol {reading.protocol}"
    terminal.print_lines(f"{path}  ({filesize.decimal(reading.size)}{protocol})")
    rows = reading_rows.list_summary(reading) + reading_rows.list_details(reading)
    terminal.print_table(rows + local_run.list_rows(result, reason))
    terminal.print_lines(*reading_rows.list_notes(reading))
    if cause:
        terminal.print_lines(f"cause: {cause.text}", *([f"fix:   {cause.fix}"] if cause.fix else []))
    elif result:
        terminal.print_lines("it runs" if is_good else "it runs, but see what is dangerous in it")
    elif is_good:
        terminal.print_lines("nothing was found that would fail; only a run in its image shows that it works")
    return 0 if is_good else 1


def _find_image(reading: Reading) -> str:
    """Return the tournament's image with the Python that made a pickle, or the default one if that is not certain.

    Raises:
        errors.ImageError: The tournament has no image with that Python.
    """
    python = reading.python or published_pins.DEFAULT
    tag = published_pins.find_tag(python)
    if tag is None:
        known = ", ".join(published_pins.list_pythons())
        raise errors.ImageError(f"no image with Python {python} is known (known: {known}); pass --image REF")
    return f"{session.read_registry()}/numerai_predict_py_{python.replace('.', '_')}:{tag}"


def _make_rows(reading: Reading) -> tuple[Path, Path | None]:
    """Return generated rows that have the columns that a pickle names."""
    from builder.validate import data  # noqa: PLC0415

    features = reading.features or tuple(f"feature_{number}" for number in range(20))
    cache = paths.cache_folder() / "shaped"
    files = data.make_shaped_data(features=features, benchmarks=reading.benchmarks, known=(), rows=_ROWS, cache=cache)
    return files.live, files.benchmarks
