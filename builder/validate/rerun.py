"""Run an arbitrary pickle here as the tournament does, and explain why it failed there.

The pickle is never loaded outside of the container. Its predictions are only checked against the rules that hold for
every model.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from builder import data_versions, errors
from builder.text import sanitize
from builder.validate import (
    adopted,
    checks,
    container_run,
    diagnose,
    known_causes,
    live_check,
    scenario_run,
    scenarios,
)
from builder.validate import run as validate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builder.config import model as config
    from builder.engine import protocol
    from builder.image import resolve
    from builder.progress import Progress
    from builder.tournament.status import PickleFailure
    from builder.validate.reading.read import Reading


@dataclass(frozen=True, kw_only=True)
class RerunTask:
    """The pickle to run, and how to run it.

    Attributes:
        pickle: The file.
        image: The image to run it in.
        python: The Python version of that image.
        built_on: The Python that it was built on; None if this machine does not know.
        live: Live features, a parquet file.
        benchmarks: Live benchmark predictions, a parquet file or None.
        limits: The limits of the run.
        columns: The features and the benchmark models that the pickle reads, to predict changed inputs too; None if
            they are not known.
    """

    pickle: Path
    image: resolve.ResolvedImage
    python: str
    built_on: str | None
    live: Path
    benchmarks: Path | None
    limits: config.LimitsConfig
    columns: tuple[tuple[str, ...], tuple[str, ...]] | None = None


@dataclass(frozen=True, kw_only=True)
class RerunResult:
    """The result of the run, and what it predicted; ``cause`` is None if no check failed."""

    task: RerunTask
    checks: tuple[checks.Check, ...]
    usage: container_run.Usage
    log: str
    cause: known_causes.Cause | None
    evidence: validate.Evidence = field(default_factory=validate.Evidence)


def rerun(task: RerunTask, engine: protocol.Engine, run: str, progress: Progress) -> RerunResult:
    """Run the pickle and judge the result; ``run`` is the id of this run.

    Raises:
        errors.DataError: The live data cannot be read.
        errors.EngineError: The engine failed.
        errors.ImageError: The image has no entry point.
    """
    rows = count_rows(task.live)  # reports a file that cannot be read
    evidence = validate.Evidence(ids=checks.read_ids(task.live))
    progress.step("running the pickle in its image")
    files: dict[str, bytes | Path] = {
        container_run.MODEL: task.pickle,
        container_run.LIVE: task.live,
        # The runner requires a file; a pickle that takes benchmarks then fails with a missing column.
        container_run.BENCHMARKS: task.benchmarks or task.live,
        **scenarios.SCRIPT_FILES,
    }
    conditions = diagnose.RunConditions(
        seconds=task.limits.seconds,
        memory=task.limits.memory,
        python=task.python,
        built_on=task.built_on,
        is_stand_in=task.image.kind == "stand_in",
        columns=live_check.read_columns(task.live, task.benchmarks),
    )
    make_inputs, notes = _find_inputs(task)
    with contextlib.ExitStack() as stack:
        volume = stack.enter_context(container_run.create_volume(task.image, files, engine, run))
        arguments = (volume, task.image, task.limits, engine)
        run_scenarios = make_inputs and stack.enter_context(
            scenario_run.prepare(make_inputs, *arguments, run=run, rows=rows)
        )
        result = container_run.run_entry(*arguments, run=run, rows=rows)
        results, cause = validate.judge_entry(result, task.limits, conditions, evidence.ids)
        if cause is None and result.csv is not None:
            evidence = dataclasses.replace(evidence, predictions=checks.read_csv(result.csv, rows=rows)[2])
        if evidence.predictions is not None and run_scenarios:
            progress.step("predicting other inputs")
            judged = validate.judge_scenarios(run_scenarios(result.usage.seconds), conditions, evidence, {})
            failed = next((check for check in judged if check.good is False), None)
            cause = known_causes.Cause(text=f"{failed.name}: {failed.detail}", fix=failed.fix) if failed else None
            results += judged
    if results[0].good:
        results += notes
        results += validate.note_usage(result.usage, task.limits, task.image)
    return RerunResult(
        task=task, checks=tuple(results), usage=result.usage, log=result.log, cause=cause, evidence=evidence
    )


def _find_inputs(task: RerunTask) -> tuple[Callable[[int], scenario_run.Inputs] | None, list[checks.Check]]:
    """Return the function that makes the inputs of the scenarios, or a note why there are none."""
    if task.columns is None:
        return None, []
    features, benchmarks = task.columns
    try:
        files = live_check.check_files(
            task.live,
            task.benchmarks,
            features=features,
            benchmark_columns=benchmarks,
            needs_era=False,
            data_version=data_versions.DEFAULT,
        )
    except errors.DataError as error:  # the pickle names columns that it may not read
        return None, [
            checks.Check(name="other inputs", good=None, detail=f"not predicted: {sanitize(error.problems[0])}")
        ]
    bundle = adopted.make_bundle(features, benchmarks)

    def make_inputs(max_rows: int) -> scenario_run.Inputs:
        subject = scenarios.make_subject(bundle, (), files, max_rows=max_rows)
        return adopted.drop_golden(scenario_run.make_inputs(subject))

    return make_inputs, []


def conclude(
    failure: PickleFailure, log: list[str], local: RerunResult | None, reading: Reading | None = None, *, again: str
) -> known_causes.Cause:
    """Return one cause and one fix for a failure at the tournament.

    Args:
        failure: The step that failed there.
        log: The log of that run.
        local: The run on this machine, if there was one.
        reading: The file, if it could be read. Without a run, what is wrong with it is the cause, unless the
            tournament reports one that is not in the file.
        again: The command that runs the pickle there again.
    """
    remote_cause = diagnose.explain_remote(failure.status, failure.descriptions, log)
    is_open = remote_cause.by_build or not remote_cause.fix
    problem = find_reading_cause(reading) if reading else None
    if local is None and is_open and problem:
        return known_causes.Cause(text=f"{problem.text} (read here, not run)", fix=problem.fix)
    if local is None:
        fix = remote_cause.fix or f"{known_causes.FIX_MODEL}, which shows it here"
        return known_causes.Cause(text=remote_cause.text, fix=fix)
    if local.cause is not None:
        fix = local.cause.fix or remote_cause.fix or known_causes.FIX_MODEL
        return known_causes.Cause(text=f"{local.cause.text} (reproduced here)", fix=fix)
    image = "a stand-in for its image" if local.task.image.kind == "stand_in" else "its image"
    result = f"here it runs in {image} within the limits, and its predictions are valid"
    # Built wrong, it would have failed here too.
    refuted = remote_cause.by_build and local.task.image.kind == "exact"
    if remote_cause.fix and not refuted:
        return known_causes.Cause(text=f"{remote_cause.text}; {result}", fix=remote_cause.fix)
    if refuted:
        result += ", so the build is not the cause"
    fix = f"run it there again: `{again}`; if it fails again, send its log to Numerai's support"
    return known_causes.Cause(text=f"{remote_cause.text}; {result}", fix=fix)


def prefer_reading(cause: known_causes.Cause | None, reading: Reading | None) -> known_causes.Cause | None:
    """Return the first problem of a file if the way it was built is the cause: more precise than the error of a run.

    Args:
        cause: Why a run failed; None if it did not.
        reading: The file; None if it was not read.
    """
    if cause is None or not cause.by_build or reading is None:
        return cause
    return find_reading_cause(reading) or cause


def find_reading_cause(reading: Reading) -> known_causes.Cause | None:
    """Return the first problem of a file."""
    return next((known_causes.Cause(text=item.text, fix=item.fix, by_build=True) for item in reading.problems), None)


def count_rows(path: Path, option: str = "--live") -> int:
    """Return the rows of a parquet file.

    Args:
        path: The file.
        option: The option that sets the file, for the message.

    Raises:
        errors.DataError: It does not exist, or is not a parquet file.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except live_check.READ_ERRORS as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise errors.DataError(
            [f"{path}: is not a readable parquet file ({reason}); pass another one with {option}"]
        ) from error
