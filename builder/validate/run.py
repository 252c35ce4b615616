"""Run a pickle as the tournament does, with the image's own entry point and under the limits, and judge the result.

The entry point runs in a container of its own; then the pickle predicts the golden rows in another one. All judging is
done here, outside of the containers: a pickle can contain any code, and could fake a verdict that is reached in one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import commands
from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.validate import checks, container_run, diagnose, diagnostics, headroom, scenario_run, scenarios

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.build import artifact
    from builder.config import model as config
    from builder.engine import protocol
    from builder.image import resolve
    from builder.progress import Progress
    from builder.validate import data

_FIX_PREDICTIONS = (
    "the tournament expects one column `prediction` with numbers from 0 to 1 for exactly its ids: end the model's "
    "`post` with a rank, then build it again: `make pickle CONFIG=...`"
)


@dataclass(frozen=True, kw_only=True)
class ValidationTask:
    """The inputs of a validation.

    Attributes:
        artifact: The pickle, whose hash has been checked.
        bundle: The bundle that it was built from; its golden rows are predicted.
        image: The image to run it in.
        python: The Python version of that image.
        files: Live data to predict on.
        source: Where the live data are from, for the report.
        data_version: The data version of the features. An upload is only registered for this one.
        limits: The limits of the run.
    """

    artifact: artifact.Artifact
    bundle: bundle_model.Bundle
    image: resolve.ResolvedImage
    python: str
    files: data.LiveFiles
    source: str
    data_version: str
    limits: config.LimitsConfig


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The result of a validation.

    Attributes:
        task: What was validated.
        checks: All checks.
        usage: What the entry point's run used.
        log: The end of its log.
        scenario_seconds: How long the pickle then took for its other inputs; None if it did not predict them.
    """

    task: ValidationTask
    checks: tuple[checks.Check, ...]
    usage: container_run.Usage
    log: str
    scenario_seconds: float | None = None

    @property
    def good(self) -> bool:
        """Whether no check failed."""
        return all(check.good is not False for check in self.checks)


def validate(task: ValidationTask, engine: protocol.Engine, run: str, progress: Progress) -> Validation:
    """Run the pickle and judge the result; ``run`` is the id of this run.

    Raises:
        errors.EngineError: The engine failed.
        errors.ImageError: The image has no entry point, or cannot run ``python``.
    """
    progress.step("running the pickle in its image")
    files: dict[str, bytes | Path] = {
        container_run.MODEL: task.artifact.pickle,
        container_run.LIVE: task.files.live,
        # The runner requires a file. If the config has none, the model takes no benchmark, and any frame with ids does.
        container_run.BENCHMARKS: task.files.benchmarks or task.files.live,
        **scenarios.SCRIPT_FILES,
    }
    conditions, scenario_seconds = _get_conditions(task), None
    ids = checks.read_ids(task.files.live)
    with (
        container_run.create_volume(task.image, files, engine, run) as volume,
        scenario_run.prepare(task, volume, engine, run=run) as run_scenarios,
    ):
        entry = container_run.run_entry(volume, task.image, task.limits, engine, run=run, rows=len(ids))
        results, _ = judge_entry(entry, task.limits, conditions, ids)
        if results[0].good and entry.csv is not None:
            progress.step("predicting other inputs")
            others = run_scenarios(entry.usage.seconds)
            scenario_seconds = others.result.usage.seconds
            results.append(_judge_golden(task, others, conditions))
            if results[-1].good:
                results += _judge_relations(others)
                row_bytes = others.inputs.live.live.nbytes / others.inputs.rows
                results += diagnostics.estimate(others.result.files, rows=len(ids), row_bytes=row_bytes)
    if results[0].good:
        results += note_usage(entry.usage, task.limits, task.image)
    named = (
        dataclasses.replace(check, detail=commands.fill_in_config(check.detail, task.artifact.folder))
        for check in results
    )
    return Validation(
        task=task, checks=tuple(named), usage=entry.usage, log=entry.log, scenario_seconds=scenario_seconds
    )


def judge_entry(
    result: container_run.ContainerRun,
    limits: config.LimitsConfig,
    conditions: diagnose.RunConditions,
    ids: Sequence[str],
) -> tuple[list[checks.Check], diagnose.Cause | None]:
    """Return the checks of how the entry point ended and of its CSV, and the cause if one of them failed.

    Args:
        result: The run.
        limits: Its limits.
        conditions: What it ran in.
        ids: The ids of the live features.
    """
    end = result.get_end(limits.seconds)
    if end.code != 0 or end.timed_out or end.out_of_memory:
        cause = diagnose.find_cause(end, conditions)
        return [checks.Check(name="entry point", good=False, detail=str(cause))], cause
    detail = "exit 0"
    if result.aborts:
        detail += (
            "; it ran twice: the first run ended with exit 134 after it had written its CSV, "
            "a known problem of pyarrow's threads"
        )
    entry_check = checks.Check(name="entry point", good=True, detail=detail)
    if result.problem:
        cause = diagnose.Cause(text=result.problem, fix=diagnose.FIX_MODEL)
        return [entry_check, checks.Check(name="results", good=False, detail=str(cause))], cause
    if result.csv is None:
        cause = diagnose.explain_no_csv(result.log)
        return [entry_check, checks.Check(name="csv", good=False, detail=str(cause))], cause
    results = [entry_check, *checks.judge_csv(result.csv, ids)]
    failed = next((check for check in results if not check.good), None)
    if failed is None:
        return results, None
    text = f"its predictions are not valid: {failed.name}: {failed.detail}"
    return results, diagnose.Cause(text=text, fix=_FIX_PREDICTIONS)


def note_usage(
    usage: container_run.Usage, limits: config.LimitsConfig, image: resolve.ResolvedImage
) -> list[checks.Check]:
    """Return notes about what a successful run used: close to a limit, or too low in a stand-in image.

    The exact image contains no compiled bytecode, so that each run compiles all modules that it imports.
    """
    notes = [checks.Check(name="headroom", good=None, detail=detail) for detail in headroom.find_notes(usage, limits)]
    if image.kind == "stand_in":
        detail = (
            "lower in a stand-in image: the exact image compiles the packages in every run, so that a small model "
            "takes 2 to 4 times as much CPU there"
        )
        notes.append(checks.Check(name="seconds", good=None, detail=detail))
    return notes


def _get_conditions(task: ValidationTask) -> diagnose.RunConditions:
    return diagnose.RunConditions(
        seconds=task.limits.seconds,
        memory=task.limits.memory,
        python=task.python,
        built_on=task.artifact.manifest.image.python,
    )


def _judge_relations(others: scenario_run.ScenarioRun) -> list[checks.Check]:
    """Return a check for each relation; one only, if there are no predictions to compare with."""
    files, live = others.result.files, others.inputs.live
    expected = scenarios.read_predictions(files, scenarios.LIVE, len(live.live))
    if isinstance(expected, str):
        return [checks.Check(name="live rows", good=False, detail=expected)]
    results, left_out = [], []
    for number, relation in enumerate(others.inputs.relations, scenarios.LIVE + 1):
        if others.was_left_out(number):
            left_out.append(relation.name)
            continue
        if not others.was_tried(number):
            seconds = others.result.usage.seconds
            detail = f"the pickle ended after {seconds:.0f} s without predictions; {diagnose.FIX_MODEL}"
            results.append(checks.Check(name=f"same values: {relation.name}", good=False, detail=detail))
            continue
        predictions = scenarios.read_predictions(files, number, len(live.live))
        results.append(scenarios.judge_relation(relation, predictions, live, expected))
    notes = []
    if others.cut_from:
        notes.append(f"{others.inputs.rows:,} rows of each input instead of {others.cut_from:,}")
    if left_out:
        notes.append(f"not predicted: {'; '.join(left_out)}")
    if notes:
        detail = f"{' and '.join(notes)}, to stay within the time limit; {diagnose.FASTER}"
        results.append(checks.Check(name="left out", good=None, detail=detail))
    return results


def _judge_golden(
    task: ValidationTask, others: scenario_run.ScenarioRun, conditions: diagnose.RunConditions
) -> checks.Check:
    """Return the check of the pickle's predictions of the golden rows before post-processing."""
    name, golden, result = "golden rows: framework", task.bundle.golden, others.result
    end = result.get_end(others.seconds)
    if not others.is_complete and (end.code != 0 or end.timed_out or end.out_of_memory):
        cause = diagnose.find_cause(end, dataclasses.replace(conditions, seconds=others.seconds))
        return checks.Check(name=name, good=False, detail=f"they could not be predicted: {cause}")
    rows = len(golden.predictions)
    predictions = result.problem or scenarios.read_predictions(result.files, scenarios.GOLDEN, rows)
    if isinstance(predictions, str):
        return checks.Check(name=name, good=False, detail=str(diagnose.Cause(text=predictions, fix=diagnose.FIX_MODEL)))
    difference, bound = prediction.find_worst_difference(
        predictions, golden.predictions, prediction.compute_golden_tolerances(task.bundle.model, golden)
    )
    detail = f"{rows} rows, largest difference {difference:.2g}, bound {bound:.2g}"
    return checks.Check(name=name, good=difference <= bound, detail=detail)  # fails if the difference is NaN
