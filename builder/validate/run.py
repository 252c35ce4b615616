"""Run a pickle as the tournament does: the image's own entry point, under the limits; then judge what came out.

One locked container. In it ``builder/inside/supervise.py`` runs the entry point as a child and reports what it used, then
``builder/inside/collect_results.py``, which reads the CSV and has the pickle predict the golden rows. Judging is done here.
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
from builder.engine import protocol as engine
from builder.engine import tar_stream
from builder.validate import diagnose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from builder.build import artifact
    from builder.config import model as config
    from builder.image import resolve as image
    from builder.progress import Progress
    from builder.validate import data

ENTRY, MEASURE = "entry", "measure"
_BOX = engine.WORKDIR
_CSV_FOLDER = f"{_BOX}/csv"
_SLACK_SECONDS = 60.0  # for starting and stopping, on top of what the children may take
_REFUSED = (
    "the tournament takes one column `prediction` of numbers from 0 to 1 for exactly its ids: end the model's `post` "
    "with a rank, and build it again: `make pickle CONFIG=...`"
)
_MOST_CSV_BYTES = 256 << 20  # a million rows take 40 MB


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at. ``good`` is None for a note, which judges nothing."""

    name: str
    good: bool | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the entry point used: bytes of resident memory at the peak, seconds by the clock and of CPU."""

    peak_bytes: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class ValidationTask:
    """All that a validation takes.

    Attributes:
        artifact: The pickle, its hash checked.
        bundle: What it was made from; its golden rows are predicted.
        image: Where it runs.
        python: That image's Python.
        files: Live data to predict on.
        source: Where those come from, for the record.
        data_version: Whose features it is taken to be for; what is uploaded is registered for no other.
        limits: What the run may use.
    """

    artifact: artifact.Artifact
    bundle: bundle_model.Bundle
    image: image.ResolvedImage
    python: str
    files: data.LiveFiles
    source: str
    data_version: str
    limits: config.LimitsConfig


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The verdict: all checks, and what the run used (None when it did not end by itself)."""

    task: ValidationTask
    checks: tuple[Check, ...]
    usage: Usage | None
    log: str

    @property
    def good(self) -> bool:
        """Tell whether every check held."""
        return all(check.good is not False for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class ContainerResult:
    """What came out of the container: how it ended, the reports on its children, and the CSV.

    Attributes:
        csv: The entry point's predictions, if the measuring does not report on them; None if there are none.
        aborts: How many runs in a row ended with exit 134 after they had written the whole CSV. 1: this is the second
            run, and a good one; 2: so is this one.
    """

    exit: engine.Exit
    entry: dict[str, Any] | None
    measured: dict[str, Any] | None
    measuring: dict[str, Any] | None
    csv: bytes | None = None
    aborts: int = 0


def validate(task: ValidationTask, on: engine.Engine, run: str, progress: Progress) -> Validation:
    """Run and judge.

    Raises:
        errors.EngineError: the engine failed.
        errors.ImageError: the image has no entry point.
    """
    progress.step("running the pickle in its image")
    children = plan_children(task.image, task.limits)
    rows = task.files.rows
    outcome = run_children(children, _entries(task), task.image, task.limits, on, run=run, rows=rows)
    entry = outcome.entry
    checks, _ = judge_outcome(outcome, _where(task), rows)
    usage = None
    if entry is not None:
        usage = Usage(peak_bytes=entry["peak_bytes"], seconds=entry["seconds"], cpu_seconds=entry["cpu_seconds"])
    if checks[0].good:
        if outcome.measured and outcome.measured["csv"]:
            checks += _judge_golden(task, outcome.measured["golden"])
        checks += note_seconds(task.image)
    named = (
        dataclasses.replace(check, detail=commands.fill_in_config(check.detail, task.artifact.folder))
        for check in checks
    )
    return Validation(task=task, checks=tuple(named), usage=usage, log=entry["log"] if entry else "")


def run_children(
    children: dict[str, Any],
    entries: Iterable[tar_stream.TarEntry],
    where: image.ResolvedImage,
    limits: config.LimitsConfig,
    on: engine.Engine,
    *,
    run: str,
    rows: int,
) -> ContainerResult:
    """Run the children of a plan in a locked container; once more if the first run aborts after its CSV is whole.

    A thread of pyarrow that is still starting aborts a process that ends, now and then (exit 134). That says nothing of
    the pickle, unless it happens again.

    Args:
        children: What :func:`plan_children` returns.
        entries: The files that they name.
        where: The image.
        limits: Of the container, and of each child.
        on: The engine.
        run: The run's identity.
        rows: How many rows a whole CSV has.

    Raises:
        errors.EngineError: The engine failed.
    """
    given = [*entries]
    first = _run_once(children, given, where, limits, on, run=run)
    if not _aborted_at_end(first, rows):
        return first
    second = _run_once(children, given, where, limits, on, run=run)
    return dataclasses.replace(second, aborts=2 if _aborted_at_end(second, rows) else 1)


def _aborted_at_end(outcome: ContainerResult, rows: int) -> bool:
    """Tell whether the entry point aborted, and its CSV is whole all the same: it came out with every line ended."""
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
    where: image.ResolvedImage,
    limits: config.LimitsConfig,
    on: engine.Engine,
    *,
    run: str,
) -> ContainerResult:
    most = engine.ContainerLimits(cpus=limits.cpus, memory=limits.memory)
    command = ("python", f"{_BOX}/supervise.py", f"{_BOX}/plan.json")
    watching: dict[str, bytes | Path] = {
        "supervise.py": paths.inside_folder() / "supervise.py",
        "plan.json": json.dumps(children).encode(),
    }
    with on.create_container(where.handle, command, run=run, limits=most, network=False) as container:
        folder = tar_stream.TarEntry(name="csv/.keep", content=b"")
        container.put(tar_stream.pack([folder, *_named(watching), *entries]))
        ended = container.run(2 * limits.seconds + _SLACK_SECONDS)
        try:
            files = tar_stream.unpack_to_memory(container.get(f"{_BOX}/out"))
        except errors.EngineError:
            if ended.code == 0:
                raise
            files = {}  # the watcher itself was killed before it could write: how it ended is all there is
        said = "" if files else container.read_log()
        predictions = None if "measured.json" in files else _fetch_csv(container)
    read = {name: _read_object(content) for name, content in files.items() if name.endswith(".json")}
    entry = read.get(f"{ENTRY}.json")
    if entry is None and not ended.out_of_memory and ended.code is not None:
        raise errors.EngineError(f"the container ended with exit {ended.code} before the pickle was run: {said[-500:]}")
    return ContainerResult(
        exit=ended,
        entry=entry,
        measured=read.get("measured.json"),
        measuring=read.get(f"{MEASURE}.json"),
        csv=predictions,
    )


def _fetch_csv(container: engine.Container) -> bytes | None:
    """Return the CSV that the entry point wrote; None if there is none, or it is too large to be one."""
    try:
        files = tar_stream.unpack_to_memory(_bounded(container.get(_CSV_FOLDER)))
    except errors.EngineError:
        return None
    written = sorted(name for name in files if name.startswith("live_predictions-") and name.endswith(".csv"))
    return files[written[-1]] if written else None


def _bounded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    left = _MOST_CSV_BYTES
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise errors.EngineError(f"the pickle wrote more than {_MOST_CSV_BYTES >> 20} MB of predictions")
        yield chunk


def _read_object(content: bytes) -> dict[str, Any] | None:
    """Return a JSON object that the container left, or None: the pickle may have written something else over it."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _entries(task: ValidationTask) -> list[tar_stream.TarEntry]:
    named: dict[str, bytes | Path] = {
        "collect_results.py": paths.inside_folder() / "collect_results.py",
        "collect_results.json": json.dumps(_measure_plan(task)).encode(),
        "model.pkl": task.artifact.pickle,
        "live.parquet": task.files.live,
        # The runner wants a file. Where none is named the model takes no benchmark: any frame with these ids will do.
        "benchmarks.parquet": task.files.benchmarks or task.files.live,
        "golden.npy": _npy(task.bundle.golden.inputs),  # not what is expected for them
    }
    return _named(named)


def _npy(array: bundle_model.Floats) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _named(files: Mapping[str, bytes | Path]) -> list[tar_stream.TarEntry]:
    return [tar_stream.TarEntry(name=name, content=content) for name, content in files.items()]


def plan_children(where: image.ResolvedImage, limits: config.LimitsConfig) -> dict[str, Any]:
    """Return the plan of a run: the entry point on ``model.pkl``, then its measuring.

    Raises:
        errors.ImageError: The image has no entry point.
    """
    if not where.entrypoint:
        raise errors.ImageError(f"{where.ref} has no entry point, so it is no runner image")
    options = ["--debug", "--model", f"{_BOX}/model.pkl", "--dataset", f"{_BOX}/live.parquet"]
    options += ["--benchmarks", f"{_BOX}/benchmarks.parquet"]
    entry = {
        "name": ENTRY,
        # The CSV goes on the volume: in the runner's default folder, a tmpfs, it would be lost with exit 0.
        "arguments": [*where.entrypoint, *options, "--output_dir", _CSV_FOLDER],
        "folder": where.workdir or "/",
        "seconds": limits.seconds,
        "needs": [],
    }
    measure = {
        "name": MEASURE,
        "arguments": ["python", f"{_BOX}/collect_results.py", f"{_BOX}/collect_results.json"],
        "folder": _BOX,
        "seconds": limits.seconds,
        "needs": [ENTRY],
    }
    return {"out": f"{_BOX}/out", "children": [entry, measure]}


def _measure_plan(task: ValidationTask) -> dict[str, object]:
    bundle = task.bundle
    own = isinstance(bundle.model, bundle_model.Custom)
    return {
        "model": f"{_BOX}/model.pkl",
        "features": f"{_BOX}/live.parquet",
        "csv_folder": _CSV_FOLDER,
        "golden": f"{_BOX}/golden.npy",
        # A function of the user's own does not say what it takes.
        "columns": {"features": list(bundle.features), "benchmarks": list(bundle.benchmarks)} if own else None,
        "out": f"{_BOX}/out/measured.json",
    }


def judge_outcome(
    outcome: ContainerResult, where: diagnose.Where, rows: int
) -> tuple[list[Check], diagnose.Cause | None]:
    """Return the checks of how the entry point ended and of its CSV, and why if one of them fails."""
    ended, cause = judge_entry(outcome, where)
    if cause is not None:
        return [ended], cause
    measured = outcome.measured
    if measured is None:
        child = outcome.measuring or {**_lost(outcome), "code": None}
        why = diagnose.find_cause(_ended(outcome, child), where)
        cause = dataclasses.replace(why, text=f"the result could not be read in the image: {why.text}")
        return [ended, Check(name="measuring", good=False, detail=str(cause))], cause
    if measured["csv"] is None:
        cause = diagnose.explain_no_csv(outcome.entry["log"] if outcome.entry else "")
        return [ended, Check(name="csv", good=False, detail=str(cause))], cause
    checks = [ended, *judge_csv(rows, measured["csv"])]
    bad = next((check for check in checks if not check.good), None)
    if bad is not None:
        cause = diagnose.Cause(text=f"its predictions are not valid: {bad.name}: {bad.detail}", fix=_REFUSED)
    return checks, cause


def judge_entry(outcome: ContainerResult, where: diagnose.Where) -> tuple[Check, diagnose.Cause | None]:
    """Return the check of how the entry point ended, and why if it did not end well."""
    entry = outcome.entry or _lost(outcome)
    if entry["code"] == 0:
        detail = "exit 0"
        if outcome.aborts:
            detail += (
                "; it ran twice: first it ended with exit 134 after its CSV was whole, a fault of pyarrow's threads"
            )
        return Check(name="entry point", good=True, detail=detail), None
    cause = diagnose.find_cause(_ended(outcome, entry), where)
    return Check(name="entry point", good=False, detail=str(cause)), cause


def note_seconds(where: image.ResolvedImage) -> list[Check]:
    """Return a note on seconds that are measured in a look-alike; none for another image.

    The exact image has no compiled bytecode: each run there compiles every module that it imports.
    """
    if where.kind != "stand_in":
        return []
    detail = (
        "a look-alike's are too good: the exact image compiles the packages in every run, so that a small model takes "
        "2 to 4 times as much CPU there"
    )
    return [Check(name="seconds", good=None, detail=detail)]


def _lost(outcome: ContainerResult) -> dict[str, Any]:
    """Return the report on a child that left none."""
    return {"code": outcome.exit.code, "timed_out": outcome.exit.code is None, "log": ""}


def _ended(outcome: ContainerResult, child: dict[str, Any]) -> diagnose.Ended:
    return diagnose.Ended(
        code=child["code"],
        timed_out=child["timed_out"],
        out_of_memory=outcome.exit.out_of_memory,
        log=child["log"],
        aborted_twice=outcome.aborts > 1,
    )


def _where(task: ValidationTask) -> diagnose.Where:
    return diagnose.Where(
        seconds=task.limits.seconds,
        memory=task.limits.memory,
        python=task.python,
        built_on=task.artifact.manifest.image.python,
    )


def judge_csv(rows: int, csv: dict[str, Any]) -> list[Check]:
    """Return what the figures of the CSV say of predictions for so many rows."""
    index = f"{csv['rows']} of {rows} ids, in their order"
    if not csv["index_equal"]:
        index = f"{csv['rows']} rows for {rows} ids; missing {csv['missing_ids']}, not asked for {csv['extra_ids']}"
        if csv["rows"] == rows and not csv["missing_ids"] and not csv["extra_ids"] and not csv["duplicate_ids"]:
            index = f"{rows} of {rows} ids, in another order than that of live_features"
    finite = "no NaN, no infinity"
    if csv["not_finite"]:
        finite = f"{csv['not_finite']} values are not finite, the first at id {csv['first_not_finite']}"
    in_range = csv["lowest"] is not None and csv["lowest"] >= 0 and csv["highest"] <= 1
    bounds = "no values" if csv["lowest"] is None else f"{csv['lowest']:.6g} to {csv['highest']:.6g}"
    if csv["first_outside"] is not None:
        bounds += f", the first outside at id {csv['first_outside']}"
    twice = f"{csv['duplicate_ids']} there twice"
    if csv["first_duplicate"] is not None:
        twice += f", the first is {csv['first_duplicate']}"
    columns = ", ".join(csv["columns"]) or "none"
    if csv["columns"] != ["prediction"]:
        columns += "; wanted is one, called prediction"
    return [
        Check(name="column", good=csv["columns"] == ["prediction"], detail=columns),
        Check(name="index", good=csv["index_equal"], detail=index),
        Check(name="ids", good=csv["duplicate_ids"] == 0, detail=twice),
        Check(name="finite", good=csv["not_finite"] == 0, detail=finite),
        Check(name="in [0, 1]", good=in_range, detail=bounds),
        # One row has no spread to show.
        Check(name="not constant", good=csv["distinct"] > 1 or rows == 1, detail=f"{csv['distinct']} different values"),
    ]


def _judge_golden(task: ValidationTask, predicted: list[float] | None) -> list[Check]:
    golden = task.bundle.golden
    if predicted is None:
        return [Check(name="golden rows", good=False, detail="the pickle is not of this tool's making: no way to them")]
    got, expected = np.array(predicted), golden.predictions
    name = "golden rows: framework"
    if got.shape != expected.shape:
        return [Check(name=name, good=False, detail=f"{len(got)} predictions for {len(expected)} rows")]
    difference, bound = prediction.find_worst_difference(
        got, expected, prediction.compute_golden_tolerances(task.bundle.model, golden)
    )
    detail = f"{len(got)} rows, largest difference {difference:.2g}, bound {bound:.2g}"
    return [Check(name=name, good=difference <= bound, detail=detail)]  # False for NaN
