"""Run invalid pickles of every kind in a stand-in image; check the cause and fix that are reported for each."""

from __future__ import annotations

import base64
import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from builder import progress
from builder.config import model as config
from builder.engine import docker_engine
from builder.engine import run as engine_run
from builder.image import resolve as image
from builder.image import stand_in
from builder.validate import checks, container_run, diagnose, known_causes, rerun
from builder.validate import run as validate
from builder.validate.reading import read
from tests.support import entry_batch, failures, in_container, stand_ins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Live rows with and without eras, and benchmark predictions for most of them in another order."""
    folder = tmp_path_factory.mktemp("rows")
    ids = pd.Index([f"n{number:015x}" for number in range(ROWS)], name="id")
    live = pd.DataFrame({"era": "X", "feature_a": np.arange(ROWS, dtype=np.int8) % 5}, index=ids)
    benchmarks = pd.DataFrame({"era": "X", failures.BENCHMARK: np.linspace(0, 1, ROWS)}, index=ids)[:3:-1]
    frames = {failures.LIVE: live, failures.NO_ERA: live.drop(columns="era"), "benchmarks.parquet": benchmarks}
    for name, frame in frames.items():
        frame.to_parquet(folder / name)
    return {name: folder / name for name in frames}


@pytest.fixture(scope="module")
def ended(files: dict[str, Path]) -> dict[tuple[bytes, str], container_run.ContainerRun]:
    """How the run of each pickle ended; all ran in one container."""
    engine, runs = docker_engine.connect(), dict[tuple[bytes, str], None]()
    for failure in failures.FAILURES.values():
        runs |= {(failure.bad, failure.live): None, (failure.twin, failures.LIVE): None}
    runner = image.resolve_stand_in("", stand_ins.get_default().python, engine, progress.Silent())
    with engine_run.start(engine) as run_id:
        results = entry_batch.run(list(runs), files, runner, engine, run_id)
    return dict(zip(runs, results, strict=True))


def judge(
    result: container_run.ContainerRun, live: str = failures.LIVE
) -> tuple[list[checks.Check], known_causes.Cause | None]:
    """Judge a run as ``validate`` and ``rerun`` do."""
    limits = config.LimitsConfig(cpus=1, memory=1 << 30, seconds=120)
    python = stand_ins.get_default().python
    conditions = diagnose.RunConditions(
        seconds=limits.seconds,
        memory=limits.memory,
        python=python,
        built_on=None,
        is_stand_in=True,
        columns=frozenset({"id", *([] if live == failures.NO_ERA else ["era"]), "feature_a", failures.BENCHMARK}),
    )
    return validate.judge_entry(result, limits, conditions, [f"n{number:015x}" for number in range(ROWS)])


@pytest.mark.parametrize("failure", failures.FAILURES.values(), ids=failures.FAILURES)
def test_a_bad_pickle_has_one_cause_and_fix_and_its_twin_has_none(
    ended: dict[tuple[bytes, str], container_run.ContainerRun], failure: failures.Failure
) -> None:
    result = ended[failure.bad, failure.live]
    results, cause = judge(result, failure.live)
    assert cause is not None
    assert failure.cause in cause.text, result.log
    assert failure.fix in cause.fix
    assert False in [check.good for check in results]
    assert result.log.startswith(f"INFO:root:Running numerai-predict: - Python {stand_ins.get_default().python}\n")
    twin = ended[failure.twin, failures.LIVE]
    results, cause = judge(twin)
    assert cause is None, twin.log
    assert all(check.good for check in results)


@pytest.mark.parametrize("failure", failures.FAILURES.values(), ids=failures.FAILURES)
def test_the_log_of_the_tournament_has_the_same_cause(
    ended: dict[tuple[bytes, str], container_run.ContainerRun], failure: failures.Failure
) -> None:
    result = ended[failure.bad, failure.live]
    description = f"exit code {result.exit.code}" if result.exit.code else "Invalid submission"
    remote = diagnose.explain_remote("failed", [description], result.log.splitlines())
    assert (failure.remote or failure.cause.removeprefix("exit 1: ")) in remote.text


READINGS = {
    "module missing": "the pickle needs the module 'no_such_module', which no image has: loading it fails",
    "repository": "the pickle needs the module 'agents.model', which no image has: loading it fails",
    "function of the program": "the pickle refers to predict in the program that wrote it, and does not contain it",
    "no pickle": "the file is not a pickle: it is a text file",
    "truncated": "the pickle is truncated: it ends within a frame that declares ",
    "empty": "the file is empty",
    "no function": "the runner calls the pickle as a function, but it contains: dict of 1",
    "gzip": "the file is not a pickle: it is compressed with gzip",
    "zlib": "the file is not a pickle: it is compressed with zlib",
    "Git LFS pointer": "the file is not a pickle: it is a Git LFS pointer",
}


@pytest.mark.parametrize(("name", "text"), READINGS.items(), ids=READINGS)
def test_the_reading_of_a_file_is_preferred_to_the_error_of_its_run(
    ended: dict[tuple[bytes, str], container_run.ContainerRun], name: str, text: str
) -> None:
    failure = failures.FAILURES[name]
    cause = rerun.prefer_reading(judge(ended[failure.bad, failure.live])[1], read.read_buffer(failure.bad))
    assert cause is not None
    assert cause.text.startswith(text)
    assert cause.fix


def test_no_reading_accuses_a_twin() -> None:
    assert [failure.twin for failure in failures.FAILURES.values() if read.read_buffer(failure.twin).problems] == []


@pytest.fixture
def run(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, files: dict[str, Path]
) -> Callable[[bytes], rerun.RerunResult]:
    runner = stand_ins.get_default()

    def start(content: bytes, seconds: int = 120) -> rerun.RerunResult:
        (tmp_path / "model.pkl").write_bytes(content)
        task = rerun.RerunTask(
            pickle=tmp_path / "model.pkl",
            image=image.resolve_stand_in("", runner.python, engine, progress.Silent()),
            python=runner.python,
            built_on=None,
            live=files[failures.LIVE],
            benchmarks=None,
            limits=config.LimitsConfig(cpus=1, memory=1 << 30, seconds=seconds),
        )
        return rerun.rerun(task, engine, run_id, progress.Silent())

    return start


def test_a_slow_pickle_is_accused_only_beyond_its_limit(run: Callable[..., rerun.RerunResult]) -> None:
    content = failures.make_function(f"import time; time.sleep(2); {failures.GOOD_BODY}")
    cause = run(content, seconds=1).cause
    assert cause is not None
    assert cause.text == "it exceeded the limit of 1 seconds"
    assert "make the model smaller or faster" in cause.fix
    result = run(content)
    assert result.cause is None
    assert [check.name for check in result.checks if check.good is None] == ["seconds"]


def test_a_run_that_aborts_at_its_end_is_repeated(run: Callable[..., rerun.RerunResult]) -> None:
    cause = run(failures.make_function(f"import atexit, os; atexit.register(os.abort); {failures.GOOD_BODY}")).cause
    assert cause is not None
    assert "aborted (exit 134) twice in a row, each time after its CSV was written" in cause.text
    assert "leaves threads running" in cause.fix


def test_a_pickle_that_the_kernel_kills_ran_out_of_memory(run: Callable[..., rerun.RerunResult]) -> None:
    result = run(failures.FAILURES["killed for its memory"].bad)
    assert result.cause is not None
    assert result.cause.text == "it ran out of memory at 1 GiB (exit 137)"


PICKLE = """
import base64, cloudpickle
def predict(f):
    total = 0
    for name in f.columns:
        total += len(name)
    return f[["feature_a"]].rank(pct=True).set_axis(["prediction"], axis=1) * (total / total)
print(base64.b64encode(cloudpickle.dumps(predict)).decode())
"""


def test_a_pickle_for_another_python_is_reported_with_that_python(
    run: Callable[[bytes], rerun.RerunResult], engine: docker_engine.DockerEngine, run_id: str
) -> None:
    def make_pickle(runner: stand_in.StandIn) -> bytes:
        printed = in_container.run(engine, runner.image.id, run_id, {}, "python", "-c", PICKLE)
        return base64.b64decode(printed.split()[-1])

    runner = stand_ins.get_default()
    assert run(make_pickle(runner)).cause is None
    content = make_pickle(stand_in.find_or_build(engine, "3.13", progress.Silent()))
    result = run(content)
    assert result.cause is not None
    assert result.cause.text.startswith(
        f"the pickle was built for another Python or numpy, but the image has Python {runner.python}"
    )
    assert any(word in result.cause.text for word in ("exit 139", "SystemError: ", "TypeError: code"))
    cause = rerun.prefer_reading(result.cause, read.read_buffer(content, image_python=runner.python))
    assert cause is not None
    assert cause.text == f"the pickle was made by Python 3.13, but the image has Python {runner.python}"
    task = dataclasses.replace(result.task, built_on="3.13.5")
    assert "built for Python 3.13.5" in rerun.rerun(task, engine, run_id, progress.Silent()).cause.text
