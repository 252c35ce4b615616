"""Run invalid pickles of every kind in a stand-in image; check the cause and fix that are reported for each."""

from __future__ import annotations

import base64
import dataclasses
import marshal
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from builder import progress
from builder.config import model as config
from builder.image import resolve as image
from builder.image import stand_in
from builder.validate import diagnose, rerun
from tests.support import in_container, pickles, stand_ins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builder.engine import docker_engine

ROWS = 40


def function(body: str, parameters: str = "f, b") -> bytes:
    """Pickle a function as its source, which every Python compiles for itself when it loads the pickle."""
    source = f"def predict({parameters}):\n    {body}\n"
    return pickle.dumps(pickles.Calls(eval, f"(lambda space: exec({source!r}, space) or space['predict'])({{}})"))


@pytest.fixture
def run(engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path) -> Callable[[bytes], rerun.RerunResult]:
    runner = stand_ins.get_default()
    ids = pd.Index([f"n{number:015x}" for number in range(ROWS)], name="id")
    live = tmp_path / "live.parquet"
    pd.DataFrame({"era": "X", "feature_a": np.arange(ROWS, dtype=np.int8) % 5}, index=ids).to_parquet(live)

    def start(content: bytes) -> rerun.RerunResult:
        (tmp_path / "model.pkl").write_bytes(content)
        task = rerun.RerunTask(
            pickle=tmp_path / "model.pkl",
            image=image.resolve_stand_in("", runner.python, engine, progress.Silent()),
            python=runner.python,
            built_on=None,
            live=live,
            benchmarks=None,
            limits=config.LimitsConfig(cpus=1, memory=1 << 30, seconds=120),
        )
        return rerun.rerun(task, engine, run_id, progress.Silent())

    return start


@pytest.mark.parametrize(
    ("content", "cause", "fix"),
    [
        (function("return None"), "the function returned None", "return a DataFrame"),
        (
            function("return f['feature_a']"),
            "the function returned pandas.core.series.Series, not exactly",
            "return a DataFrame",
        ),
        (function("return f[['feature_a']].iloc[:0]"), "the function returned no rows", "return a DataFrame"),
        (function("return f[[]]"), "the function returned a DataFrame without columns", "return a DataFrame"),
        (function("return f[['feature_a']] * float('nan')"), "the function returned NaN", "fill missing values"),
        (function("return f[['feature_a']]"), "the function returned predictions outside 0 to 1", "rank"),
        (function("return None", "a, b, c"), "neither 1 nor 2 parameters", "give it one"),
        (function("return f['feature_z']"), "it reads the feature feature_z, which the live data", "data_version"),
        (function("return f[['feature_a', 'feature_z']]"), "it reads the feature feature_z, which", "data_version"),
        (function("return b['v53_lgbm_x']"), "it reads the benchmark model v53_lgbm_x, which", "by its name"),
        (
            function("return f.groupby('id').rank() / f['data_type']"),
            "it reads the column data_type",
            "columns of live",
        ),
        (
            function("import statsmodels"),
            "this stand-in does not have; the tournament's image has statsmodels 0",
            "ref",
        ),
        (function("return 1 + 'a'"), "exit 1: TypeError: unsupported operand", "fix the model or function"),
        (
            function("import sys; sys.exit(2)"),
            "exit 2 without an error in the log: the function ended the process",
            "return the predictions",
        ),
        (function("import sys; sys.exit(0)"), "wrote no CSV: the function ended the process", "return the predictions"),
        (function("import os; os.abort()"), "aborted (exit 134) before its CSV was complete", "leaves threads running"),
        (
            function("import atexit, os; atexit.register(os.abort); return f[['feature_a']] / 4"),
            "aborted (exit 134) twice in a row, each time after its CSV was written",
            "leaves threads running",
        ),
        (function("import ctypes; ctypes.string_at(0)"), "segmentation fault, exit 139", "make pickle"),
        (function("import numpy; numpy.ones(1 << 36)"), "ran out of memory at 1 GiB", "make the model smaller"),
        (
            function("import urllib.request as r; r.urlopen('http://example.invalid', timeout=5)"),
            "uses the network",
            "into the pickle",
        ),
        (b"no pickle at all", "not a valid pickle: invalid load key, 'n'.", "build it again"),
        (pickle.dumps(list(range(99)))[:50], "empty or truncated", "build it again"),
        (b"", "empty or truncated", "build it again"),
        (pickle.dumps({"weights": [1.0]}), "is not a callable object", "fix the model or function"),
        (b"cno_such_module\nthing\n.", "the module 'no_such_module'", "from a bundle"),
        (b"c__main__\npredict\n.", "needs 'predict' of the module '__main__'", "from a bundle"),
        (b"ctypes\nCodeType\n(I1\nI1\ntR.", "another Python or numpy", "build it in the image"),
        (pickle.dumps(marshal.loads)[:-1] + b"(C\x02\xff\xfftR.", "another Python or numpy", "build it in the image"),
        (b"\x80\xff.", "another Python or numpy", "build it in the image"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_an_invalid_pickle_is_reported_with_one_cause_and_fix(
    run: Callable[[bytes], rerun.RerunResult], content: bytes, cause: str, fix: str
) -> None:
    result = run(content)
    assert result.cause is not None
    assert cause in result.cause.text, result.log
    assert fix in result.cause.fix
    assert [check.good for check in result.checks].count(False) == 1
    assert result.log.startswith(f"INFO:root:Running numerai-predict: - Python {stand_ins.get_default().python}\n")
    if cause.startswith(("exit 1: ", "the function returned")):
        remote = diagnose.explain_remote("failed", [], result.log.splitlines())
        assert cause.removeprefix("exit 1: ") in remote.text


@pytest.mark.parametrize(
    "content",
    [
        function("return (f['feature_a'] / 4).to_frame('prediction')"),  # a frame, not None or a Series
        function("return (f['feature_a'].where(f['feature_a'] > 0) / 4).fillna(0.5).to_frame('prediction')"),  # no NaN
        function("return f['feature_a'].rank(pct=True).to_frame('prediction')"),  # not outside 0 to 1
        function("return (f['feature_a'] / 4).to_frame('prediction')", "f"),  # not three parameters
        function("x = b['feature_a'].reindex(f.index); return (x / 4).to_frame('prediction')"),  # a benchmark by id
        function("import numpy; numpy.ones(1 << 10); return (f['feature_a'] / 4).to_frame('prediction')"),  # memory
        function("import sklearn; return (f['feature_a'] / 4).to_frame('prediction')"),  # a module of the image
    ],
    ids=["frame", "filled", "ranked", "one parameter", "benchmark", "small array", "module"],
)
def test_the_correct_twin_of_an_invalid_pickle_is_valid(
    run: Callable[[bytes], rerun.RerunResult], content: bytes
) -> None:
    result = run(content)
    assert result.cause is None, result.log
    assert [check.name for check in result.checks if check.good is False] == []


def test_a_valid_pickle_has_a_note_about_its_time(run: Callable[[bytes], rerun.RerunResult]) -> None:
    result = run(function("return f[['feature_a']].rename(columns={'feature_a': 'prediction'}).rank(pct=True)", "f"))
    assert result.cause is None
    assert [check.name for check in result.checks if check.good is None] == ["seconds"]


PICKLE = """
import base64, cloudpickle
def predict(f):
    total = 0
    for name in f.columns:
        total += len(name)
    return f[["feature_a"]].rank(pct=True) * (total / total)
print(base64.b64encode(cloudpickle.dumps(predict)).decode())
"""


def test_a_pickle_for_another_python_is_reported_with_that_python(
    run: Callable[[bytes], rerun.RerunResult], engine: docker_engine.DockerEngine, run_id: str
) -> None:
    newer = stand_in.find_or_build(engine, "3.13", progress.Silent())
    printed = in_container.run(engine, newer.image.id, run_id, {}, "python", "-c", PICKLE)
    content = base64.b64decode(printed.split()[-1])
    result = run(content)
    assert result.cause is not None
    assert result.cause.text.startswith(
        f"the pickle was built for another Python or numpy, but the image has Python {stand_ins.get_default().python}"
    )
    assert any(word in result.cause.text for word in ("exit 139", "SystemError: ", "TypeError: code"))
    task = dataclasses.replace(result.task, built_on="3.13.5")
    assert "built for Python 3.13.5" in rerun.rerun(task, engine, run_id, progress.Silent()).cause.text
