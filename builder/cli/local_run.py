"""Run any pickle in an image on this machine, for ``why`` and ``check``, and show how that went."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from builder import errors
from builder.cli import engine_session, image_kinds
from builder.config import model as config
from builder.validate import headroom, report

if TYPE_CHECKING:
    from builder.progress import Progress
    from builder.validate import rerun

Live = Annotated[str | None, Option("--live", metavar="FILE", help="live data to run the pickle on, a parquet file")]
Benchmarks = Annotated[
    str | None, Option("--benchmarks", metavar="FILE", help="benchmark predictions for the rows of --live")
]
StandIn = Annotated[
    str | None,
    Option("--stand-in", metavar="PYTHON", help="use this stand-in image if the pickle's image is not available"),
]
_MARKS = {True: "ok", False: "FAILED", None: "note"}


def check_options(live: str | None, benchmarks: str | None, python: str | None) -> None:
    """Check the options before anything else is done.

    Raises:
        errors.UsageError: There is no stand-in of that Python, or benchmark predictions are passed without live data.
        errors.DataError: A file does not exist, is not a parquet file, or has features in place of benchmarks.
    """
    from builder.image import stand_in  # noqa: PLC0415
    from builder.validate import live_check, rerun  # noqa: PLC0415 - pyarrow

    if benchmarks and not live:
        raise errors.UsageError("--benchmarks requires --live FILE with the same rows; pass both or neither")
    for option, text in (("--live", live), ("--benchmarks", benchmarks)):
        if text:
            rerun.count_rows(Path(text), option)  # reads the file's footer, and raises what is wrong with it
    if benchmarks and (problem := live_check.find_swap(Path(benchmarks))):
        raise errors.DataError([f"{problem}; pass live_benchmark_models.parquet with --benchmarks"])
    if python:
        try:
            stand_in.check_python(python)
        except errors.ImageError as error:
            raise errors.UsageError(f"--stand-in: {error}") from error


def run(
    pickle: Path,
    ref: str,
    live: tuple[Path, Path | None],
    progress: Progress,
    *,
    built_on: str | None,
    stand_in: str | None,
    yes: bool,
    columns: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
) -> rerun.RerunResult:
    """Run a pickle as the tournament does.

    Args:
        pickle: The file.
        ref: The image.
        live: Live features and benchmark predictions.
        progress: Shows the steps.
        built_on: The Python that made the pickle, if known.
        stand_in: The stand-in to use if the image is not available.
        yes: Start an engine without asking.
        columns: The features and the benchmark models that the pickle reads; None if they are not known.

    Raises:
        errors.BuilderError: It could not be run.
    """
    from builder.engine import run as engine_run  # noqa: PLC0415 - numpy
    from builder.image import resolve  # noqa: PLC0415 - numpy
    from builder.validate import rerun  # noqa: PLC0415

    engine = engine_session.connect(progress, yes=yes)
    request = resolve.ImageRequest(ref=ref, stand_in=stand_in)
    image = resolve.resolve(request, engine, pull=False, progress=progress)
    with engine_run.start(engine) as run_id:
        task = rerun.RerunTask(
            pickle=pickle,
            image=image,
            python=resolve.read_inventory(image, engine, run_id).python,
            built_on=built_on,
            live=live[0],
            benchmarks=live[1],
            limits=config.ValidateConfig().limits,
            columns=columns,
        )
        return rerun.rerun(task, engine, run_id, progress)


def list_rows(result: rerun.RerunResult | None, reason: str) -> list[tuple[str, str]]:
    """Return the run as rows of a table; ``reason``: why there was none."""
    if result is None:
        return [("local run", "not run: " + " ".join(reason.split()))]
    task = result.task
    kind = image_kinds.describe_kind(task.image, Path.cwd())
    return [
        ("local run", f"in {task.image.base} ({kind}), Python {task.python}"),
        *(("", f"{_MARKS[check.good]}  {check.name}: {check.text}") for check in result.checks),
        ("", f"used {headroom.describe_usage(result.usage, task.limits)}"),
    ]


def to_data(result: rerun.RerunResult | None, reason: str) -> dict[str, Any]:
    """Return the run for ``--json``."""
    if result is None:
        return {"ran": False, "reason": reason}
    image = result.task.image
    return {
        "ran": True,
        "good": result.cause is None,
        "image": {"kind": image.kind, "ref": image.ref, "identity": image.identity, "python": result.task.python},
        "checks": [dataclasses.asdict(check) for check in result.checks],
        "usage": report.usage_to_data(result.usage, result.task.limits),
        "log": result.log,
    }
