"""``check``: whether any pickle would run, and if not, why: it is read without executing it, then run in its image."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import filesize
from typer import Argument, Option

from builder import data_versions, errors, paths, published_pins
from builder.cli import local_run, reading_rows, terminal
from builder.cli.parameters import Json, StartEngine
from builder.tournament import session
from builder.validate import known_causes

if TYPE_CHECKING:
    from builder.validate import rerun
    from builder.validate.reading.read import Reading

PickleFile = Annotated[Path, Argument(metavar="PICKLE", help="a file: a pickle, from any program")]
_ROWS = 1_000
_OTHER_FIXES = (
    (r"end the model's `post` with a rank", "end it with a rank, such as `.rank(pct=True)`"),
    (
        r",? then (?:run|build it again:) `make pickle CONFIG=\.\.\.`(?: and `make validate CONFIG=\.\.\.`)?",
        ", then dump it again",
    ),
    (r"build it again: `make pickle CONFIG=\.\.\.`", "dump it again with cloudpickle"),
    (
        r"build it from a bundle with `make pickle CONFIG=\.\.\.`",
        "pickle that module with it: `cloudpickle.register_pickle_by_value`",
    ),
    (
        r"build it in the image that runs it: `make pickle CONFIG=\.\.\.`",
        "dump it with the image's Python and packages, or export the model and build it here (docs/export)",
    ),
)


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
    reason, failure = "skipped by --no-run" if no_run else "the file cannot be loaded", None
    if not no_run and reading.protocol is not None and (reading.is_complete or not reading.problems):
        if live:
            files = Path(live), Path(benchmarks) if benchmarks else None
            features = reading.features or _list_columns(files[0], "feature_")
            benchmark_names = reading.benchmarks or (_list_columns(files[1], "v") if files[1] else ())
        else:
            features = reading.features or tuple(f"feature_{number}" for number in range(20))
            benchmark_names = reading.benchmarks or (data_versions.DEFAULT_BENCHMARK,)
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
    if json_wanted:
        answer = {"format": 1, "file": str(path), "good": None if code > 1 else is_good}
        shown = cause or (None if code == 0 else _find_doubt(reading, failure))
        cause_data = {"cause": shown.text, "fix": shown.fix} if shown else {"cause": None, "fix": None}
        run_data = {"reading": dataclasses.asdict(reading), "run": local_run.to_data(result, reason)}
        terminal.print_json({**answer, **run_data, **cause_data})
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
    elif result:
        terminal.print_lines("it runs" if is_good else "it runs, but see what is dangerous in it")
    elif is_good:
        terminal.print_lines("nothing was found that would fail; only a run in its image shows that it works")
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
    fix = cause.fix
    for phrase, other in _OTHER_FIXES:
        fix = re.sub(phrase, other, fix)
    return known_causes.Cause(text=cause.text, fix=fix)


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
    tag = published_pins.find_tag(python)
    if tag is None:
        known = ", ".join(published_pins.list_pythons())
        raise errors.ImageError(f"no image with Python {python} is known (known: {known}); pass --image REF")
    return f"{session.read_registry()}/numerai_predict_py_{python.replace('.', '_')}:{tag}"


def _list_columns(path: Path, prefix: str) -> tuple[str, ...]:
    """Return the names of the columns of a parquet file that begin with a prefix."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - takes a tenth of a second

    return tuple(dict.fromkeys(name for name in pq.read_schema(path).names if name.startswith(prefix)))


def _make_rows(features: tuple[str, ...], benchmarks: tuple[str, ...]) -> tuple[Path, Path | None]:
    """Return generated rows that have these columns."""
    from builder.validate import data  # noqa: PLC0415

    cache = paths.cache_folder() / "shaped"
    files = data.make_shaped_data(features=features, benchmarks=benchmarks, known=(), rows=_ROWS, cache=cache)
    return files.live, files.benchmarks
