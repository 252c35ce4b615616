"""A pickle of which nothing is known but its bytes, run here as the tournament runs it; and why it failed there.

It is never unpickled outside of the container. Of its predictions the rules are checked that hold for every model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from builder import errors, paths
from builder.engine import protocol as engine
from builder.engine import tar_stream
from builder.validate import diagnose, live_check
from builder.validate import run as validate

if TYPE_CHECKING:
    from pathlib import Path

    from builder.config import model as config
    from builder.image import resolve as image
    from builder.progress import Progress
    from builder.tournament.status import PickleFailure

_BOX = engine.WORKDIR
_MEASURE = "collect_results.json"


@dataclass(frozen=True, kw_only=True)
class RerunTask:
    """What is run.

    Attributes:
        pickle: The bytes.
        image: Where.
        python: That image's Python.
        made_on: The Python that it was made on, where this machine knows.
        live: Live features, a parquet file.
        benchmarks: Live benchmark predictions; None where there are none.
        limits: What it may use.
    """

    pickle: Path
    image: image.ResolvedImage
    python: str
    built_on: str | None
    live: Path
    benchmarks: Path | None
    limits: config.LimitsConfig


@dataclass(frozen=True, kw_only=True)
class RerunResult:
    """What came of it; ``cause`` is None where every check held."""

    task: RerunTask
    checks: tuple[validate.Check, ...]
    usage: validate.Usage | None
    log: str
    cause: diagnose.Cause | None


def rerun(task: RerunTask, on: engine.Engine, run: str, progress: Progress) -> RerunResult:
    """Run the pickle and judge.

    Raises:
        errors.DataError: The live data cannot be read.
        errors.EngineError: The engine failed.
        errors.ImageError: The image has no entry point.
    """
    rows = count_rows(task.live)
    progress.step("running the pickle in its image")
    children = validate.plan_children(task.image, task.limits)
    outcome = validate.run_children(children, _entries(task), task.image, task.limits, on, run=run, rows=rows)
    entry = outcome.entry
    usage = None
    if entry is not None:
        usage = validate.Usage(
            peak_bytes=entry["peak_bytes"], seconds=entry["seconds"], cpu_seconds=entry["cpu_seconds"]
        )
    checks, cause = _judge(task, outcome, rows)
    return RerunResult(
        task=task, checks=tuple(checks), usage=usage, log=str(entry["log"]) if entry is not None else "", cause=cause
    )


def conclude(fault: PickleFailure, log: list[str], here: RerunResult | None, *, again: str) -> diagnose.Cause:
    """Return the one cause and the one fix.

    Args:
        fault: What failed there.
        log: What that run printed.
        here: The run on this machine, where there was one.
        again: The command that runs it there again.
    """
    there = diagnose.explain_remote(fault.status, fault.descriptions, log)
    if here is None:
        return diagnose.Cause(text=there.text, fix=there.fix or f"{diagnose.FIX_MODEL}, which shows it here")
    if here.cause is not None:
        fix = here.cause.fix or there.fix or diagnose.FIX_MODEL
        return diagnose.Cause(text=f"{here.cause.text} (seen here again)", fix=fix)
    where = "a look-alike of its image" if here.task.image.kind == "stand_in" else "its image"
    held = f"here it runs in {where}, within the limits, and its predictions are good"
    refuted = there.by_making and here.task.image.kind == "exact"
    if there.fix and not refuted:
        return diagnose.Cause(text=f"{there.text}; {held}", fix=there.fix)
    if refuted:
        held += ", so that it was not made wrong"
    fix = f"run it there again: `{again}`; if it fails again, show its log to Numerai's support"
    return diagnose.Cause(text=f"{there.text}; {held}", fix=fix)


def count_rows(path: Path, option: str = "--live") -> int:
    """Return the rows of a parquet file.

    Args:
        path: The file.
        option: What names another, for the message.

    Raises:
        errors.DataError: It is not there, or no parquet file.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except live_check.READ_ERRORS as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise errors.DataError(
            [f"{path}: is no parquet file that can be read ({reason}); name another with {option}"]
        ) from error


def _judge(
    task: RerunTask, outcome: validate.ContainerResult, rows: int
) -> tuple[list[validate.Check], diagnose.Cause | None]:
    where = diagnose.Where(
        seconds=task.limits.seconds, memory=task.limits.memory, python=task.python, built_on=task.built_on
    )
    checks, cause = validate.judge_outcome(outcome, where, rows)
    return [*checks, *(validate.note_seconds(task.image) if checks[0].good else [])], cause


def _entries(task: RerunTask) -> list[tar_stream.TarEntry]:
    plan = {
        "model": f"{_BOX}/model.pkl",
        "features": f"{_BOX}/live.parquet",
        "csv_folder": f"{_BOX}/csv",
        "golden": None,
        "columns": None,
        "out": f"{_BOX}/out/measured.json",
    }
    named: dict[str, bytes | Path] = {
        "collect_results.py": paths.inside_folder() / "collect_results.py",
        _MEASURE: json.dumps(plan).encode(),
        "model.pkl": task.pickle,
        "live.parquet": task.live,
        "benchmarks.parquet": task.benchmarks or task.live,
    }
    return [tar_stream.TarEntry(name=name, content=content) for name, content in named.items()]
