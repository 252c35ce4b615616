"""Run a pickle as the tournament does, with the image's own entry point and under the limits, and judge the result.

All runs in one locked container. There ``builder/inside/supervise.py`` runs the entry point and reports what it used,
then ``builder/inside/collect_results.py``, which summarizes the CSV and has the pickle predict the golden rows. The
judging is done here, outside of the container, because the pickle could fake a verdict.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import commands, errors, paths
from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.engine import protocol, tar_stream
from builder.validate import diagnose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from builder.build import artifact
    from builder.config import model as config
    from builder.image import resolve
    from builder.progress import Progress
    from builder.validate import data

ENTRY, COLLECT = "entry", "collect"  # the names of the children
_WORKDIR = protocol.WORKDIR
_CSV_FOLDER = f"{_WORKDIR}/csv"
_RESULTS_FILE = "results.json"
_EXTRA_SECONDS = 60.0  # to start and stop, besides the time limits of the children
_KILLED_EXIT = 137  # 128 + SIGKILL
_FIX_PREDICTIONS = (
    "the tournament expects one column `prediction` with numbers from 0 to 1 for exactly its ids: end the model's "
    "`post` with a rank, then build it again: `make pickle CONFIG=...`"
)
_MAX_CSV_BYTES = 256 << 20  # a million rows take 40 MB


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check. ``good`` is None for a note, which passes or fails nothing."""

    name: str
    good: bool | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the entry point used: peak resident memory in bytes, wall clock seconds and CPU seconds."""

    peak_bytes: int
    seconds: float
    cpu_seconds: float


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
    """The result of a validation: all checks, and what the run used (None without a report on it)."""

    task: ValidationTask
    checks: tuple[Check, ...]
    usage: Usage | None
    log: str

    @property
    def good(self) -> bool:
        """Whether no check failed."""
        return all(check.good is not False for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class ContainerResult:
    """What a container produced.

    Attributes:
        exit: How the container ended.
        entry: The report of ``supervise.py`` on the entry point; None if it could not write one.
        results: The output of ``collect_results.py``; None if there is none.
        collect_report: The report of ``supervise.py`` on ``collect_results.py``.
        csv: The CSV of the entry point, if there are no ``results``; None if it wrote none.
        aborts: How many runs in a row ended with exit 134 after they had written the whole CSV. 0: this is the first
            run. 1: the first run aborted, this second run did not. 2: both did.
    """

    exit: protocol.Exit
    entry: dict[str, Any] | None
    results: dict[str, Any] | None
    collect_report: dict[str, Any] | None
    csv: bytes | None = None
    aborts: int = 0


def validate(task: ValidationTask, engine: protocol.Engine, run: str, progress: Progress) -> Validation:
    """Run the pickle and judge the result; ``run`` is the id of this run.

    Raises:
        errors.EngineError: The engine failed.
        errors.ImageError: The image has no entry point.
    """
    progress.step("running the pickle in its image")
    children = plan_children(task.image, task.limits)
    rows = task.files.rows
    outcome = run_children(children, _make_entries(task), task.image, task.limits, engine, run=run, rows=rows)
    entry = outcome.entry
    checks, _ = judge_outcome(outcome, _get_conditions(task), rows)
    usage = None
    if entry is not None:
        usage = Usage(peak_bytes=entry["peak_bytes"], seconds=entry["seconds"], cpu_seconds=entry["cpu_seconds"])
    if checks[0].good:
        if outcome.results and outcome.results["csv"]:
            checks += _judge_golden(task, outcome.results["golden"])
        checks += note_seconds(task.image)
    named_checks = (
        dataclasses.replace(check, detail=commands.fill_in_config(check.detail, task.artifact.folder))
        for check in checks
    )
    return Validation(task=task, checks=tuple(named_checks), usage=usage, log=entry["log"] if entry else "")


def run_children(
    children: dict[str, Any],
    entries: Iterable[tar_stream.TarEntry],
    image: resolve.ResolvedImage,
    limits: config.LimitsConfig,
    engine: protocol.Engine,
    *,
    run: str,
    rows: int,
) -> ContainerResult:
    """Run the children of a plan in a locked container; a second time if the first run aborts after writing the CSV.

    A thread of pyarrow that is still starting sometimes aborts a process at its end with exit 134
    (https://github.com/apache/arrow/issues/34314). The pickle is only blamed if it happens twice.

    Args:
        children: From :func:`plan_children`.
        entries: The files that the children use.
        image: The image.
        limits: The limits of the container; its seconds are the time limit of each child.
        engine: The engine.
        run: The id of this run.
        rows: How many rows a whole CSV has.

    Raises:
        errors.EngineError: The engine failed.
    """
    files = [*entries]
    first = _run_once(children, files, image, limits, engine, run=run)
    if not _is_abort_at_end(first, rows):
        return first
    second = _run_once(children, files, image, limits, engine, run=run)
    return dataclasses.replace(second, aborts=2 if _is_abort_at_end(second, rows) else 1)


def _is_abort_at_end(outcome: ContainerResult, rows: int) -> bool:
    """Return whether the entry point aborted after it had written the whole CSV."""
    if outcome.entry is None or outcome.entry["code"] not in diagnose.ABORT_CODES or outcome.entry["timed_out"]:
        return False
    text = (outcome.csv or b"").decode("utf-8", "replace").replace("\0", "")
    try:
        lines = sum(1 for _ in csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return False
    return text.endswith("\n") and lines == rows + 1


def _run_once(
    children: dict[str, Any],
    entries: Iterable[tar_stream.TarEntry],
    image: resolve.ResolvedImage,
    limits: config.LimitsConfig,
    engine: protocol.Engine,
    *,
    run: str,
) -> ContainerResult:
    container_limits = protocol.ContainerLimits(cpus=limits.cpus, memory=limits.memory)
    command = ("python", f"{_WORKDIR}/supervise.py", f"{_WORKDIR}/plan.json")
    supervisor: dict[str, bytes | Path] = {
        "supervise.py": paths.inside_folder() / "supervise.py",
        "plan.json": json.dumps(children).encode(),
    }
    with engine.create_container(image.handle, command, run=run, limits=container_limits, network=False) as container:
        folder = tar_stream.TarEntry(name="csv/.keep", content=b"")
        container.put(tar_stream.pack([folder, *make_entries(supervisor), *entries]))
        container_exit = container.run(2 * limits.seconds + _EXTRA_SECONDS)
        try:
            files = tar_stream.unpack_to_memory(container.get(f"{_WORKDIR}/out"))
        except errors.EngineError:
            if container_exit.code == 0:
                raise
            files = {}  # supervise.py was killed before it could write a report; only its exit code is known
        log = "" if files else container.read_log()
        csv_content = None if _RESULTS_FILE in files else _fetch_csv(container)
    reports = {name: _read_object(content) for name, content in files.items() if name.endswith(".json")}
    entry = reports.get(f"{ENTRY}.json")
    # With cgroup v2, the engine may not notice that memory ran out: https://github.com/hashicorp/nomad/issues/13119
    if entry is None and not container_exit.out_of_memory and container_exit.code not in {None, _KILLED_EXIT}:
        raise errors.EngineError(
            f"the container ended with exit {container_exit.code} before the pickle was run: {log[-500:]}"
        )
    return ContainerResult(
        exit=container_exit,
        entry=entry,
        results=reports.get(_RESULTS_FILE),
        collect_report=reports.get(f"{COLLECT}.json"),
        csv=csv_content,
    )


def _fetch_csv(container: protocol.Container) -> bytes | None:
    """Return the CSV that the entry point wrote; None if there is none, or if it is larger than the limit."""
    try:
        files = tar_stream.unpack_to_memory(_limit_size(container.get(_CSV_FOLDER)))
    except errors.EngineError:
        return None
    names = sorted(name for name in files if name.startswith("live_predictions-") and name.endswith(".csv"))
    return files[names[-1]] if names else None


def _limit_size(chunks: Iterable[bytes]) -> Iterator[bytes]:
    remaining = _MAX_CSV_BYTES
    for chunk in chunks:
        remaining -= len(chunk)
        if remaining < 0:
            raise errors.EngineError(f"the pickle wrote more than {_MAX_CSV_BYTES >> 20} MB of predictions")
        yield chunk


def _read_object(content: bytes) -> dict[str, Any] | None:
    """Return a JSON object from the container; None if it is not one, because the pickle may have overwritten it."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _make_entries(task: ValidationTask) -> list[tar_stream.TarEntry]:
    bundle = task.bundle
    # A custom function does not know the names of its columns.
    columns = {"features": list(bundle.features), "benchmarks": list(bundle.benchmarks)}
    is_custom = isinstance(bundle.model, bundle_model.Custom)
    files: dict[str, bytes | Path] = {
        **make_collect_files(golden=True, columns=columns if is_custom else None),
        "model.pkl": task.artifact.pickle,
        "live.parquet": task.files.live,
        # The runner requires a file. If the config has none, the model takes no benchmark, and any frame with ids does.
        "benchmarks.parquet": task.files.benchmarks or task.files.live,
        "golden.npy": _to_npy(bundle.golden.inputs),  # the expected predictions never enter a container
    }
    return make_entries(files)


def _to_npy(array: bundle_model.Floats) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def make_collect_files(*, golden: bool, columns: dict[str, list[str]] | None) -> dict[str, bytes | Path]:
    """Return the script ``collect_results.py`` and its plan.

    Args:
        golden: Whether ``golden.npy`` is in the container.
        columns: The columns of a custom function, to predict the golden rows with it.
    """
    plan = {
        "model": f"{_WORKDIR}/model.pkl",
        "features": f"{_WORKDIR}/live.parquet",
        "csv_folder": _CSV_FOLDER,
        "golden": f"{_WORKDIR}/golden.npy" if golden else None,
        "columns": columns,
        "out": f"{_WORKDIR}/out/{_RESULTS_FILE}",
    }
    return {
        "collect_results.py": paths.inside_folder() / "collect_results.py",
        "collect_results.json": json.dumps(plan).encode(),
    }


def make_entries(files: Mapping[str, bytes | Path]) -> list[tar_stream.TarEntry]:
    """Return archive entries for files by name."""
    return [tar_stream.TarEntry(name=name, content=content) for name, content in files.items()]


def plan_children(image: resolve.ResolvedImage, limits: config.LimitsConfig) -> dict[str, Any]:
    """Return the plan of a run: the entry point on ``model.pkl``, then ``collect_results.py``.

    Raises:
        errors.ImageError: The image has no entry point.
    """
    if not image.entrypoint:
        raise errors.ImageError(f"{image.ref} has no entry point, so it is not a runner image")
    options = ["--debug", "--model", f"{_WORKDIR}/model.pkl", "--dataset", f"{_WORKDIR}/live.parquet"]
    options += ["--benchmarks", f"{_WORKDIR}/benchmarks.parquet"]
    entry = {
        "name": ENTRY,
        # The CSV is written to the volume: the runner's default folder is a tmpfs here, which is lost when it ends.
        "arguments": [*image.entrypoint, *options, "--output_dir", _CSV_FOLDER],
        "folder": image.workdir or "/",
        "seconds": limits.seconds,
        "needs": [],
    }
    collect = {
        "name": COLLECT,
        "arguments": ["python", f"{_WORKDIR}/collect_results.py", f"{_WORKDIR}/collect_results.json"],
        "folder": _WORKDIR,
        "seconds": limits.seconds,
        "needs": [ENTRY],
    }
    return {"out": f"{_WORKDIR}/out", "children": [entry, collect]}


def judge_outcome(
    outcome: ContainerResult, conditions: diagnose.RunConditions, rows: int
) -> tuple[list[Check], diagnose.Cause | None]:
    """Return the checks of how the entry point ended and of its CSV, and the cause if one of them failed."""
    entry_check, cause = judge_entry(outcome, conditions)
    if cause is not None:
        return [entry_check], cause
    results = outcome.results
    if results is None:
        report = outcome.collect_report or {**_make_missing_report(outcome), "code": None}
        reason = diagnose.find_cause(_get_run_end(outcome, report), conditions)
        cause = dataclasses.replace(reason, text=f"the result could not be read in the image: {reason.text}")
        return [entry_check, Check(name="results", good=False, detail=str(cause))], cause
    if results["csv"] is None:
        cause = diagnose.explain_no_csv(outcome.entry["log"] if outcome.entry else "")
        return [entry_check, Check(name="csv", good=False, detail=str(cause))], cause
    checks = [entry_check, *judge_csv(rows, results["csv"])]
    failed = next((check for check in checks if not check.good), None)
    if failed is not None:
        text = f"its predictions are not valid: {failed.name}: {failed.detail}"
        cause = diagnose.Cause(text=text, fix=_FIX_PREDICTIONS)
    return checks, cause


def judge_entry(outcome: ContainerResult, conditions: diagnose.RunConditions) -> tuple[Check, diagnose.Cause | None]:
    """Return the check of how the entry point ended, and the cause if it failed."""
    entry = outcome.entry or _make_missing_report(outcome)
    if entry["code"] == 0:
        detail = "exit 0"
        if outcome.aborts:
            detail += (
                "; it ran twice: the first run ended with exit 134 after it had written its CSV, "
                "a known problem of pyarrow's threads"
            )
        return Check(name="entry point", good=True, detail=detail), None
    cause = diagnose.find_cause(_get_run_end(outcome, entry), conditions)
    return Check(name="entry point", good=False, detail=str(cause)), cause


def note_seconds(image: resolve.ResolvedImage) -> list[Check]:
    """Return a note that the seconds of a stand-in image are too low; nothing for other images.

    The exact image contains no compiled bytecode, so that each run compiles all modules that it imports.
    """
    if image.kind != "stand_in":
        return []
    detail = (
        "lower in a stand-in image: the exact image compiles the packages in every run, so that a small model takes "
        "2 to 4 times as much CPU there"
    )
    return [Check(name="seconds", good=None, detail=detail)]


def _make_missing_report(outcome: ContainerResult) -> dict[str, Any]:
    """Return the report for a child without one, from the exit of the container."""
    return {"code": outcome.exit.code, "timed_out": outcome.exit.code is None, "log": ""}


def _get_run_end(outcome: ContainerResult, report: dict[str, Any]) -> diagnose.RunEnd:
    return diagnose.RunEnd(
        code=report["code"],
        timed_out=report["timed_out"],
        out_of_memory=outcome.exit.out_of_memory,
        log=report["log"],
        aborted_twice=outcome.aborts > 1,
    )


def _get_conditions(task: ValidationTask) -> diagnose.RunConditions:
    return diagnose.RunConditions(
        seconds=task.limits.seconds,
        memory=task.limits.memory,
        python=task.python,
        built_on=task.artifact.manifest.image.python,
    )


def judge_csv(rows: int, csv: dict[str, Any]) -> list[Check]:
    """Return the checks of a CSV.

    Args:
        rows: How many rows it should have.
        csv: Its summary, from ``collect_results.py``.
    """
    index = f"{csv['rows']} of {rows} ids, in their order"
    if not csv["index_equal"]:
        index = f"{csv['rows']} rows for {rows} ids; missing {csv['missing_ids']}, unexpected {csv['extra_ids']}"
        if csv["rows"] == rows and not csv["missing_ids"] and not csv["extra_ids"] and not csv["duplicate_ids"]:
            index = f"{rows} of {rows} ids, in another order than in live_features"
    finite = "no NaN, no infinity"
    if csv["not_finite"]:
        finite = f"{csv['not_finite']} values are not finite, the first at id {csv['first_not_finite']}"
    in_range = csv["lowest"] is not None and csv["lowest"] >= 0 and csv["highest"] <= 1
    bounds = "no values" if csv["lowest"] is None else f"{csv['lowest']:.6g} to {csv['highest']:.6g}"
    if csv["first_outside"] is not None:
        bounds += f", the first outside at id {csv['first_outside']}"
    duplicates = f"{csv['duplicate_ids'] or 'no'} duplicate ids"
    if csv["first_duplicate"] is not None:
        duplicates += f", the first is {csv['first_duplicate']}"
    columns = ", ".join(csv["columns"]) or "none"
    if csv["columns"] != ["prediction"]:
        columns += "; expected one column, prediction"
    return [
        Check(name="column", good=csv["columns"] == ["prediction"], detail=columns),
        Check(name="index", good=csv["index_equal"], detail=index),
        Check(name="ids", good=csv["duplicate_ids"] == 0, detail=duplicates),
        Check(name="finite", good=csv["not_finite"] == 0, detail=finite),
        Check(name="in [0, 1]", good=in_range, detail=bounds),
        # A single row is constant.
        Check(name="not constant", good=csv["distinct"] > 1 or rows == 1, detail=f"{csv['distinct']} different values"),
    ]


def _judge_golden(task: ValidationTask, predicted: list[float] | None) -> list[Check]:
    golden = task.bundle.golden
    if predicted is None:
        return [Check(name="golden rows", good=False, detail="not predicted: the pickle was not built by this tool")]
    predictions, expected = np.array(predicted), golden.predictions
    name = "golden rows: framework"
    if predictions.shape != expected.shape:
        return [Check(name=name, good=False, detail=f"{len(predictions)} predictions for {len(expected)} rows")]
    difference, bound = prediction.find_worst_difference(
        predictions, expected, prediction.compute_golden_tolerances(task.bundle.model, golden)
    )
    detail = f"{len(predictions)} rows, largest difference {difference:.2g}, bound {bound:.2g}"
    return [Check(name=name, good=difference <= bound, detail=detail)]  # fails if the difference is NaN
