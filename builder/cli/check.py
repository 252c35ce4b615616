"""``check``: whether any pickle would run, and if not, why: it is read without executing it, then run in its image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import filesize
from typer import Argument, Option

from builder import errors, paths, published_pins
from builder.cli import check_page, local_run, reading_rows, terminal
from builder.cli.parameters import Json, StartEngine
from builder.tournament import images, session
from builder.validate import known_causes, other_fixes
from builder.validate.page import content

if TYPE_CHECKING:
    from builder.validate import rerun
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
    report: check_page.Report = None,
    open_wanted: check_page.Open = False,
    yes: StartEngine = False,
    json_wanted: Json = False,
) -> int:
    """Print what a pickle is; exit 1 if it would fail, if something is dangerous in it, or if it cannot be read."""
    from builder.validate import adopted  # noqa: PLC0415 - numpy
    from builder.validate.reading import read  # noqa: PLC0415

    local_run.check_options(live, benchmarks, stand_in)
    check_page.check_options(report, open_wanted=open_wanted)
    reading, result = read.read(path), None
    reason, failure = "skipped by --no-run" if no_run else "the file cannot be loaded", None
    if not no_run and reading.protocol is not None and (reading.is_complete or not reading.problems):
        if live:
            files = Path(live), Path(benchmarks) if benchmarks else None
            features = reading.features or adopted.list_columns(files[0], "feature_")
            benchmark_names = reading.benchmarks or (adopted.list_columns(files[1], "v") if files[1] else ())
        else:
            columns = adopted.choose_generated_columns(reading)
            features, benchmark_names = columns.features, columns.benchmarks
            files = _make_rows(features, benchmark_names)
        with terminal.progress() as progress:
            try:
                ref = image or _find_image(reading)
                result = local_run.run(
                    *(path, ref, files, progress),
                    built_on=reading.python,
                    stand_in=stand_in,
                    yes=yes,
                    columns=(features, benchmark_names if files[1] else ()) if features else None,
                )
            except errors.BuilderError as error:  # such as a missing image: the reading still has an answer
                failure, reason = error, f"{error}; or pass --stand-in PYTHON"
    cause = _find_cause(reading, result, is_generated=not live)
    is_good = reading.is_safe and cause is None and (reading.is_complete or result is not None)
    code = failure.exit_code if failure and is_good else 0 if is_good else 1
    answer = content.PickleAnswer(
        path=path, reading=reading, result=result, reason=reason, cause=cause, is_good=is_good
    )
    if report:
        check_page.write(report, answer, open_wanted=open_wanted)
    if json_wanted:
        head = {"format": 1, "file": str(path), "good": None if code > 1 else is_good}
        shown = cause or (None if code == 0 else _find_doubt(reading, failure))
        cause_data = {"cause": shown.text, "fix": shown.fix} if shown else {"cause": None, "fix": None}
        run_data = {"reading": dataclasses.asdict(reading), "run": local_run.to_data(result, reason)}
        terminal.print_json({**head, **run_data, **cause_data})
        return code
    protocol = "" if reading.protocol is None else f", pickle protocol {reading.protocol}"
    terminal.print_lines(f"{path}  ({filesize.decimal(reading.size)}{protocol})")
    rows = reading_rows.list_summary(reading) + reading_rows.list_details(reading)
    if result and not reading.features and not live:
        rows.append(
            ("columns", "it names no features: what it reads of made-up ones is checked; pass real rows with --live")
        )
    terminal.print_table(rows + local_run.list_rows(result, reason))
    terminal.print_lines(*reading_rows.list_notes(reading))
    if cause:
        terminal.print_lines(f"cause: {cause.text}", *([f"fix:   {cause.fix}"] if cause.fix else []))
    elif result or is_good:
        terminal.print_lines(answer.verdict)
    terminal.print_lines(*([str(report)] if report else []))
    return code


def _find_cause(reading: Reading, result: rerun.RerunResult | None, *, is_generated: bool) -> known_causes.Cause | None:
    """Return why a pickle would fail; None if nothing was found.

    What the reading says of how the file was made is more precise than the error of its run.
    """
    from builder.validate import rerun  # noqa: PLC0415 - numpy

    cause = rerun.prefer_reading(result.cause, reading) if result else rerun.find_reading_cause(reading)
    if cause is None:
        return None
    if is_generated and not reading.features and "feature" in cause.text:
        text = f"{cause.text} (on generated rows: the pickle does not say which features it reads)"
        return known_causes.Cause(text=text, fix="pass rows that have them: --live FILE [--benchmarks FILE]")
    # There is no config: the pickle was made by another program.
    return known_causes.Cause(text=cause.text, fix=other_fixes.reword(cause.fix))


def _find_doubt(reading: Reading, failure: errors.BuilderError | None) -> known_causes.Cause:
    """Return why a pickle is not known to be good, although nothing was found that would fail."""
    if not reading.is_safe:
        fix = "load it only if you trust who made it, or leave this call out of the function and dump it again"
        return known_causes.Cause(text=str(reading.dangers[0]), fix=fix)
    if failure:
        return known_causes.Cause(text=str(failure), fix=failure.fix or "pass --stand-in PYTHON")
    return known_causes.Cause(text=reading.notes[0].text, fix=reading.notes[0].fix)


def _find_image(reading: Reading) -> str:
    """Return the tournament's image with the Python that made a pickle, or the default one if that is not certain.

    Raises:
        errors.ImageError: The tournament has no image with that Python.
    """
    python = reading.python or published_pins.DEFAULT
    ref = images.find_published(python, session.read_registry())
    if ref is None:
        known = ", ".join(published_pins.list_pythons())
        raise errors.ImageError(f"no image with Python {python} is known (known: {known}); pass --image REF")
    return ref


def _make_rows(features: tuple[str, ...], benchmarks: tuple[str, ...]) -> tuple[Path, Path | None]:
    """Return generated rows that have these columns."""
    from builder.validate import data  # noqa: PLC0415

    cache = paths.cache_folder() / "shaped"
    files = data.make_shaped_data(features=features, benchmarks=benchmarks, known=(), rows=_ROWS, cache=cache)
    return files.live, files.benchmarks
