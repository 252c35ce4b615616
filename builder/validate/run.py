"""Run a pickle as the tournament does, with the image's own entry point and under the limits, and judge the result.

The entry point runs in a container of its own; then the pickle predicts the golden rows in another one. All judging is
done here, outside of the containers: a pickle can contain any code, and could fake a verdict that is reached in one.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder import commands
from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.validate import (
    checks,
    container_run,
    diagnose,
    diagnostics,
    feature_check,
    headroom,
    known_causes,
    library_versions,
    live_check,
    other_fixes,
    relations,
    scenario_run,
    scenarios,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from builder.build import artifact
    from builder.bundle import post
    from builder.config import model as config
    from builder.engine import protocol
    from builder.image import resolve
    from builder.progress import Progress
    from builder.validate import data


@dataclass(frozen=True, kw_only=True)
class ValidationTask:
    """The inputs of a validation.

    Attributes:
        artifact: The pickle, whose hash has been checked.
        bundle: The bundle that it was built from; its golden rows are predicted. For an adopted pickle, only columns.
        image: The image to run it in.
        python: The Python version of that image.
        files: Live data to predict on.
        source: Where the live data are from, for the report.
        data_version: The data version of the features. An upload is only registered for this one.
        limits: The limits of the run.
        packages: The packages of that image, with their versions.
        feature_sets: The features of every feature set of the data version; empty if they are not known.
        steps: The post-processing steps of the pickle.
        exempt: The reasons why some relations are notes, by their keys.
        notes: Notes about these inputs.
    """

    artifact: artifact.Artifact
    bundle: bundle_model.Bundle
    image: resolve.ResolvedImage
    python: str
    files: data.LiveFiles
    source: str
    data_version: str
    limits: config.LimitsConfig
    packages: Mapping[str, str] = field(default_factory=dict)
    feature_sets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    steps: tuple[post.Step, ...] = ()
    exempt: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[checks.Check, ...] = ()

    @property
    def is_adopted(self) -> bool:
        """Whether the pickle was not built from a bundle, so that there are no golden rows to compare with."""
        return self.artifact.manifest.is_adopted

    @property
    def limitation(self) -> str:
        """What the verdict does not show, in a few words; empty if nothing."""
        return "an adopted pickle: not compared with its model's predictions" if self.is_adopted else ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was predicted, for the report's plots.

    Attributes:
        ids: The ids of the live rows.
        predictions: float64 (rows,), by those ids, as in the CSV; None if the CSV is not valid.
        golden: The framework's and the pickle's predictions of the golden rows before post-processing, float64 (rows,)
            each; None if there are none.
    """

    ids: Sequence[str] = ()
    predictions: NDArray[np.float64] | None = None
    golden: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The result of a validation.

    Attributes:
        task: What was validated.
        checks: All checks.
        usage: What the entry point's run used.
        log: The end of its log.
        evidence: What was predicted.
        scenario_seconds: How long the pickle then took for its other inputs; None if it did not predict them.
    """

    task: ValidationTask
    checks: tuple[checks.Check, ...]
    usage: container_run.Usage
    log: str
    evidence: Evidence
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
    evidence = Evidence(ids=ids)
    with (
        container_run.create_volume(task.image, files, engine, run) as volume,
        scenario_run.prepare(
            functools.partial(scenario_run.make_task_inputs, task),
            *(volume, task.image, task.limits, engine),
            run=run,
            rows=task.files.rows,
        ) as run_scenarios,
    ):
        entry = container_run.run_entry(volume, task.image, task.limits, engine, run=run, rows=len(ids))
        results, _ = judge_entry(entry, task.limits, conditions, ids)
        if entry.csv is not None and all(check.good for check in results):
            evidence = dataclasses.replace(evidence, predictions=checks.read_csv(entry.csv, rows=len(ids))[2])
        if results[0].good and entry.csv is not None:
            progress.step("predicting other inputs")
            others = run_scenarios(entry.usage.seconds)
            scenario_seconds = others.result.usage.seconds
            golden_checks = [] if task.is_adopted else _judge_golden(task, others, conditions)
            results += golden_checks
            evidence = dataclasses.replace(evidence, golden=_read_golden(task, others))
            if all(check.good for check in golden_checks):
                results += judge_scenarios(others, conditions, evidence, task.exempt)
    if entry.exit.code == 1:
        results += _judge_failure(task, engine, run)
    if task.feature_sets:
        is_note = task.image.kind == "stand_in" or task.is_adopted
        sets, version = task.feature_sets, task.data_version
        results.append(feature_check.judge_features(task.bundle.features, sets, version, is_note=is_note))
    if results[0].good:
        results += note_usage(entry.usage, task.limits, task.image)
    results += library_versions.note_differences(task.bundle.trained, task.packages)
    results += task.notes
    reword = other_fixes.reword if task.is_adopted else str
    named = (
        dataclasses.replace(
            check,
            detail=commands.fill_in_config(reword(check.detail), task.artifact.folder),
            fix=commands.fill_in_config(reword(check.fix), task.artifact.folder),
        )
        for check in results
    )
    return Validation(
        task=task,
        checks=tuple(named),
        usage=entry.usage,
        log=entry.log,
        evidence=evidence,
        scenario_seconds=scenario_seconds,
    )


def judge_entry(
    result: container_run.ContainerRun,
    limits: config.LimitsConfig,
    conditions: diagnose.RunConditions,
    ids: Sequence[str],
) -> tuple[list[checks.Check], known_causes.Cause | None]:
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
        return [_to_check("entry point", cause)], cause
    detail = "exit 0"
    if result.aborts:
        detail += (
            "; it ran twice: the first run ended with exit 134 after it had written its CSV, "
            "a known problem of pyarrow's threads"
        )
    entry_check = checks.Check(name="entry point", good=True, detail=detail)
    if result.problem:
        cause = known_causes.Cause(text=result.problem, fix=known_causes.FIX_MODEL)
        return [entry_check, _to_check("results", cause)], cause
    if result.csv is None:
        cause = diagnose.explain_no_csv(result.log)
        return [entry_check, _to_check("csv", cause)], cause
    results = [entry_check, *checks.judge_csv(result.csv, ids)]
    failed = next((check for check in results if not check.good), None)
    if failed is None:
        return results, None
    return results, known_causes.Cause(
        text=f"its predictions are not valid: {failed.name}: {failed.detail}", fix=failed.fix
    )


def _to_check(name: str, cause: known_causes.Cause) -> checks.Check:
    return checks.Check(name=name, good=False, detail=cause.text, fix=cause.fix)


def judge_scenarios(
    others: scenario_run.ScenarioRun,
    conditions: diagnose.RunConditions,
    evidence: Evidence,
    exempt: Mapping[str, str],
) -> list[checks.Check]:
    """Return the checks of the scenarios, and notes about what was left out and about the diagnostics run.

    Args:
        others: Their run.
        conditions: What it ran in.
        evidence: What the entry point predicted.
        exempt: The reasons why some relations are notes, by their keys.
    """
    inputs, end, left_out = others.inputs, others.result.get_end(others.seconds), others.find_left_out()
    conditions = dataclasses.replace(conditions, seconds=others.seconds)
    cause = others.result.problem or (diagnose.find_cause(end, conditions).text if end.code != 0 else "")
    predictions = scenarios.Results(inputs.ordered, others.result.files, end=cause, left_out=left_out)
    final, results = predictions.read(inputs.subject.final), []
    if evidence.predictions is not None and not isinstance(final, str):
        check = relations.compare_csv(inputs.subject, final, evidence.predictions)
        results += [check] if check else []
    results += scenarios.judge(inputs.planned, predictions, inputs.subject.live, exempt)
    names = [scenario.name for scenario in inputs.planned if not left_out.isdisjoint(scenario.inputs)]
    notes = []
    if others.cut_from:
        notes.append(f"{inputs.rows:,} rows of each input instead of {others.cut_from:,}")
    if names:
        notes.append(f"not predicted: {'; '.join(names)}")
    if notes:
        detail = f"{' and '.join(notes)}, since these inputs may not take much longer than the entry point"
        results.append(
            checks.Check(name="left out", good=None, detail=detail, fix=known_causes.FASTER if names else "")
        )
    row_bytes = inputs.subject.live.live.nbytes / inputs.rows
    return results + diagnostics.estimate(others.result.files, rows=len(evidence.ids), row_bytes=row_bytes)


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
        is_stand_in=task.image.kind == "stand_in",
        columns=live_check.read_columns(task.files.live, task.files.benchmarks),
    )


def _judge_failure(task: ValidationTask, engine: protocol.Engine, run: str) -> list[checks.Check]:
    """Return a finding if the entry point failed because the live rows have columns that the model does not know."""
    if not isinstance(task.bundle.model, bundle_model.Custom):  # other kinds read each column by its name
        return []
    live = scenarios.read_live(task.files, may_rank=True)
    inputs = [scenarios.select_features(live, task.bundle), live]
    files = scenario_run.predict(task.artifact.pickle, inputs, task.image, task.limits, engine, run=run).files
    without, with_others = (scenarios.read_predictions(files, number, len(live.live)) for number in range(2))
    if isinstance(without, str) or not isinstance(with_others, str):
        return []
    detail = "it can only predict rows that have its own columns alone, in its order"
    return [checks.Check(name=relations.OTHER_COLUMNS, good=False, detail=detail, fix=relations.READ_BY_NAME)]


def _read_golden(
    task: ValidationTask, others: scenario_run.ScenarioRun
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the framework's and the pickle's predictions of the golden rows; None if there are none."""
    if task.is_adopted:
        return None
    expected = task.bundle.golden.predictions
    predicted = scenarios.read_predictions(others.result.files, scenarios.GOLDEN, len(expected))
    return None if isinstance(predicted, str) else (expected, predicted)


def _judge_golden(
    task: ValidationTask, others: scenario_run.ScenarioRun, conditions: diagnose.RunConditions
) -> list[checks.Check]:
    """Return the checks of the pickle's predictions of the golden rows before post-processing."""
    name, golden, result = "golden rows: framework", task.bundle.golden, others.result
    end = result.get_end(others.seconds)
    # A crash in a later input leaves the predictions before it: whether it is a finding depends on that input.
    is_ended = end.code != 0 or end.timed_out or end.out_of_memory
    if is_ended and scenarios.get_file_name(scenarios.GOLDEN) not in result.files:
        cause = diagnose.find_cause(end, dataclasses.replace(conditions, seconds=others.seconds))
        return [checks.Check(name=name, good=False, detail=f"they could not be predicted: {cause.text}", fix=cause.fix)]
    rows = len(golden.predictions)
    predictions = result.problem or scenarios.read_predictions(result.files, scenarios.GOLDEN, rows)
    if isinstance(predictions, str):
        return [checks.Check(name=name, good=False, detail=predictions, fix=known_causes.FIX_MODEL)]
    tolerances = prediction.compute_golden_tolerances(task.bundle.model, golden)
    difference, bound = prediction.find_worst_difference(predictions, golden.predictions, tolerances)
    detail = f"{rows} rows, largest difference {difference:.2g}, bound {bound:.2g}"
    good = difference <= bound  # not good if the difference is NaN
    framework = checks.Check(name=name, good=good, detail=detail, fix="" if good else known_causes.FIX_MODEL)
    if not scenario_run.has_float64_run(task):
        return [framework]
    # What a difference comes from: that of float64 from the framework is the conversion, that of float32 is rounding.
    name, exact = "golden rows: float64", scenarios.read_predictions(result.files, "0.float64", rows)
    if isinstance(exact, str):
        return [framework, checks.Check(name=name, good=False, detail=exact, fix=known_causes.FIX_MODEL)]
    differences = [
        prediction.find_worst_difference(other, exact, tolerances) for other in (golden.predictions, predictions)
    ]
    detail = "largest difference from the framework {:.2g}, bound {:.2g}; from float32 {:.2g}, bound {:.2g}".format(
        *differences[0], *differences[1]
    )
    agrees = all(difference <= bound for difference, bound in differences)
    fix = known_causes.FIX_MODEL if good and not agrees else ""
    return [framework, checks.Check(name=name, good=agrees if good else None, detail=detail, fix=fix)]
