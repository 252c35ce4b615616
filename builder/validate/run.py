"""Run a pickle as the tournament does, with the image's own entry point and under the limits, and judge the result.

The entry point runs in a container of its own; then the pickle predicts the golden rows in another one. All judging is
done here, outside of the containers: a pickle can contain any code, and could fake a verdict that is reached in one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder import commands
from builder.bundle import prediction
from builder.validate import advisory, checks, container_run, diagnose, relations, scenarios

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.build import artifact
    from builder.bundle import model as bundle_model
    from builder.bundle import post
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
        steps: The post-processing steps of the pickle.
        exempt: The reasons why a custom function is exempt from scenarios, by their keys.
    """

    artifact: artifact.Artifact
    bundle: bundle_model.Bundle
    image: resolve.ResolvedImage
    python: str
    files: data.LiveFiles
    source: str
    data_version: str
    limits: config.LimitsConfig
    steps: tuple[post.Step, ...] = ()
    exempt: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The result of a validation: all checks, what the run used, and the end of its log."""

    task: ValidationTask
    checks: tuple[checks.Check, ...]
    usage: container_run.Usage
    log: str

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
    golden = scenarios.make_golden_input(task.bundle)
    subject = scenarios.make_subject(task.bundle, task.steps, task.files, is_shaped=task.source == "shaped")
    planned = make_scenarios(subject)
    inputs = scenarios.list_inputs([golden, subject.live, subject.final], planned)
    files: dict[str, bytes | Path] = {
        container_run.MODEL: task.artifact.pickle,
        container_run.LIVE: task.files.live,
        # The runner requires a file. If the config has none, the model takes no benchmark, and any frame with ids does.
        container_run.BENCHMARKS: task.files.benchmarks or task.files.live,
        **scenarios.make_files(inputs),
    }
    conditions = _get_conditions(task)
    ids = checks.read_ids(task.files.live)
    with container_run.create_volume(task.image, files, engine, run) as volume:
        entry = container_run.run_entry(volume, task.image, task.limits, engine, run=run, rows=len(ids))
        results, _ = judge_entry(entry, task.limits, conditions, ids)
        if results[0].good and entry.csv is not None:
            progress.step("predicting other inputs")
            command = scenarios.COMMAND
            other = container_run.run_command(command, volume, task.image, task.limits, engine, run=run)
            results.append(_judge_golden(task, other, conditions))
            if results[-1].good:
                end = other.get_end(task.limits)
                cause = diagnose.find_cause(end, conditions).text if end.code else ""
                predictions = scenarios.Results(inputs, other.files, end=cause)
                results += scenarios.judge(planned, predictions, subject.live, task.exempt)
    if results[0].good:
        results += note_seconds(task.image)
    named = (
        dataclasses.replace(check, detail=commands.fill_in_config(check.detail, task.artifact.folder))
        for check in results
    )
    return Validation(task=task, checks=tuple(named), usage=entry.usage, log=entry.log)


def make_scenarios(subject: scenarios.Subject) -> list[scenarios.Scenario]:
    """Return the required and the advisory scenarios."""
    equal = advisory.make_equal(subject)
    return [*relations.make_relations(subject, equal=equal), *advisory.make_notes(subject, equal=equal)]


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
    end = result.get_end(limits)
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


def note_seconds(image: resolve.ResolvedImage) -> list[checks.Check]:
    """Return a note that the seconds of a stand-in image are too low; nothing for other images.

    The exact image contains no compiled bytecode, so that each run compiles all modules that it imports.
    """
    if image.kind != "stand_in":
        return []
    detail = (
        "lower in a stand-in image: the exact image compiles the packages in every run, so that a small model takes "
        "2 to 4 times as much CPU there"
    )
    return [checks.Check(name="seconds", good=None, detail=detail)]


def _get_conditions(task: ValidationTask) -> diagnose.RunConditions:
    return diagnose.RunConditions(
        seconds=task.limits.seconds,
        memory=task.limits.memory,
        python=task.python,
        built_on=task.artifact.manifest.image.python,
    )


def _judge_golden(
    task: ValidationTask, result: container_run.ContainerRun, conditions: diagnose.RunConditions
) -> checks.Check:
    """Return the check of the pickle's predictions of the golden rows before post-processing."""
    name, golden = "golden rows: framework", task.bundle.golden
    end = result.get_end(task.limits)
    # A crash in a later input leaves the predictions before it: whether it is a finding depends on that input.
    is_ended = end.code != 0 and scenarios.get_file_name(0) not in result.files
    if is_ended or end.timed_out or end.out_of_memory:
        cause = diagnose.find_cause(end, conditions)
        return checks.Check(name=name, good=False, detail=f"they could not be predicted: {cause}")
    rows = len(golden.predictions)
    predictions = result.problem or scenarios.read_predictions(result.files, 0, rows)
    if isinstance(predictions, str):
        return checks.Check(name=name, good=False, detail=str(diagnose.Cause(text=predictions, fix=diagnose.FIX_MODEL)))
    difference, bound = prediction.find_worst_difference(
        predictions, golden.predictions, prediction.compute_golden_tolerances(task.bundle.model, golden)
    )
    detail = f"{rows} rows, largest difference {difference:.2g}, bound {bound:.2g}"
    return checks.Check(name=name, good=difference <= bound, detail=detail)  # fails if the difference is NaN
