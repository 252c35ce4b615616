"""Pickles that try to write the verdict, and malformed output of every kind: validated in a stand-in image."""

from __future__ import annotations

import contextlib
import dataclasses
import textwrap
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pytest

from builder import progress
from builder.build import render
from builder.config import model as config
from builder.engine import docker_engine
from builder.image import resolve as image
from builder.image import stand_in
from builder.validate import data, relations
from builder.validate import run as validate
from tests.support import custom, manifests, pickles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.bundle import model

ROWS = 20

# What every pickle here can do: predict as the model does, or badly.
PREAMBLE = """
import json, os, signal, sys
import numpy as np
import pandas as pd

def good(live):
    values = live[["feature_0", "feature_1", "feature_2"]].to_numpy(dtype=float) @ np.array([0.01, 0.02, 0.03])
    return pd.DataFrame({"prediction": values}, index=live.index)

def bad(live):
    return good(live) * 0.5

def is_entry():
    return any("predict.py" in argument for argument in sys.argv[:1])

def write_csv(frame, name="live_predictions-0123456789ab.csv"):
    frame.to_csv("/results/" + name)
"""


@pytest.fixture(scope="module")
def bundle() -> model.Bundle:
    return custom.make_bundle()


@pytest.fixture(scope="module")
def task(bundle: model.Bundle, tmp_path_factory: pytest.TempPathFactory) -> validate.ValidationTask:
    folder, engine = tmp_path_factory.mktemp("judge"), docker_engine.connect()
    runner = stand_in.find_or_build(engine, "3.11", progress.Silent())
    return validate.ValidationTask(
        artifact=manifests.commit(folder / "dist", b"replaced below"),
        bundle=bundle,
        image=image.resolve_stand_in("", "3.11", engine, progress.Silent()),
        python=runner.image.labels[stand_in.STAND_IN_LABEL],
        files=data.make_shaped_data(features=bundle.features, benchmarks=(), rows=ROWS, cache=folder / "cache"),
        source="shaped",
        data_version="v5.2",
        limits=config.LimitsConfig(cpus=1, memory=1 << 30, seconds=60),
    )


@pytest.fixture
def judge(
    task: validate.ValidationTask, engine: docker_engine.DockerEngine, run_id: str
) -> Callable[[str], validate.Validation]:
    def start(source: str) -> validate.Validation:
        task.artifact.pickle.write_bytes(make_pickle(source))
        return validate.validate(task, engine, run_id, progress.Silent())

    return start


def make_pickle(source: str) -> bytes:
    """Pickle ``predict(live)`` by value; this Python is the stand-in image's version."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(PREAMBLE + textwrap.dedent(source), space)
    return bytes(cloudpickle.dumps(space["predict"]))


def get_failed_checks(result: validate.Validation) -> dict[str, str]:
    assert all(check.detail.isprintable() for check in result.checks)
    return {check.name: check.text for check in result.checks if check.good is False}


def test_an_honest_pickle_is_valid(judge: Callable[[str], validate.Validation]) -> None:
    result = judge("def predict(live): return good(live)")
    assert result.good, result
    assert result.usage.peak_bytes is not None
    assert 0 < result.usage.peak_bytes < 1 << 30
    assert 0 < result.usage.seconds < 60
    notes = {check.name: check.text for check in result.checks if check.good is None}
    assert notes["diagnostics run"].startswith("estimated from a frame of 200 eras with ")
    assert "left out" not in notes


GOLDEN = "golden rows: framework"
ATTACKS = {
    "rewrite the script that predicts": (
        """
        def predict(live):
            for path in ("/box/predict_inputs.py", "/box/supervise.py", "/box/plan.json"):
                try:
                    os.chmod(os.path.dirname(path), 0o777)
                    open(path, "w").write("raise SystemExit(0)")
                except OSError:
                    pass
            return bad(live)
        """,
        GOLDEN,
        "largest difference",
    ),
    "write the result and exit": (
        """
        def predict(live):
            if is_entry():
                return bad(live)
            os.makedirs("/results/out", exist_ok=True)
            for name in ("results.json", "validation.json", "out/results.json"):
                open("/results/" + name, "w").write(json.dumps({"good": True, "golden": [0.1] * 8, "csv": {}}))
            os._exit(0)
        """,
        GOLDEN,
        "the pickle left a folder in the output folder: 'out'",
    ),
    "patch __main__": (
        """
        def predict(live):
            if is_entry():
                return bad(live)
            main = sys.modules["__main__"]
            for name in list(vars(main)):
                if callable(getattr(main, name)) and not name.startswith("__"):
                    setattr(main, name, lambda *args, **options: np.zeros(8))
            np.isfinite = np.allclose = lambda *args: True
            return bad(live)
        """,
        GOLDEN,
        "they could not be predicted: exit 1",
    ),
    "forge the output and kill the supervisor": (
        """
        def predict(live):
            if is_entry():
                return bad(live)
            report = {"format": 1, "peak_bytes": 1, "cpu_seconds": 0.0, "count": 0, "files": []}
            with open("/proc/%d/fd/1" % os.getppid(), "w") as output:
                output.write(json.dumps(report) + chr(10))
            os.kill(os.getppid(), signal.SIGKILL)
        """,
        GOLDEN,
        "could not be predicted",
    ),
    "read the golden answers": (
        """
        def predict(live):
            if is_entry():
                return bad(live)
            answers = []
            for folder, _, names in os.walk("/box"):
                for name in names:
                    content = open(os.path.join(folder, name), "rb").read()
                    # As JSON and as arrays of both sizes.
                    values = good(live)["prediction"].to_numpy()
                    kinds = [values.astype("f8").tobytes(), values.astype("f4").tobytes(), b"%r" % values[0]]
                    answers += [name for kind in kinds if kind in content]
            return good(live) if answers else bad(live)
        """,
        GOLDEN,
        "largest difference",
    ),
    "forge the output and let the supervisor add to it": (
        """
        def predict(live):
            if is_entry():
                return bad(live)
            report = {"format": 1, "peak_bytes": 1, "cpu_seconds": 0.0, "count": 0, "files": []}
            with open("/proc/%d/fd/1" % os.getppid(), "w") as output:
                output.write(json.dumps(report) + chr(10))
            return good(live)
        """,
        GOLDEN,
        "the files in the output folder are incomplete",
    ),
    "exit as a missing command does": ("def predict(live): os._exit(127)", "entry point", "exit 127"),
    "exit early with 0": ("def predict(live): os._exit(0)", "csv", "wrote no CSV"),
    "predict differently where only the CSV is judged": (
        "def predict(live): return 0.5 - good(live) if is_entry() else good(live)",
        relations.CSV,
        "20 of 20 rows differ",
    ),
    "write the frame itself": (
        """
        def predict(live):
            if is_entry():
                write_csv(good(live))
                os._exit(0)
            return bad(live)
        """,
        GOLDEN,
        "largest difference",
    ),
}


@pytest.mark.parametrize(("source", "name", "detail"), ATTACKS.values(), ids=ATTACKS)
def test_a_pickle_cannot_write_the_verdict(
    judge: Callable[[str], validate.Validation], source: str, name: str, detail: str
) -> None:
    failed = get_failed_checks(judge(source))
    assert failed.keys() == {name}
    assert detail in failed[name]


# What the entry point leaves; tests/unit/validate has every kind of malformed content.
MALFORMED = {
    "not UTF-8": (r"open(CSV, 'wb').write(b'id,prediction\nn\xff,0.5\n')", "csv", "byte 15 is not UTF-8"),
    "a link": ("os.symlink('/box/live.parquet', CSV)", "results", "a link in the output folder"),
    "thousands of files": ("[open(f'/results/{n}', 'w') for n in range(900)]", "results", "left 900 files"),
    "a sparse file": ("open(CSV, 'w').truncate(5 << 30)", "results", "files of 5,368,709,120 bytes"),
    "a disk full": ("fill()", "csv", "it has 134,"),
}
PREDICT_MALFORMED = """
CSV = "/results/live_predictions-0123456789ab.csv"

def fill():
    with open(CSV, "wb", 0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass

def predict(live):
    if is_entry():
        %s
        os._exit(0)
    return good(live)
"""


@pytest.mark.parametrize(("source", "name", "detail"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_csv_is_a_finding(
    judge: Callable[[str], validate.Validation], source: str, name: str, detail: str
) -> None:
    failed = get_failed_checks(judge(PREDICT_MALFORMED % source))
    assert name in failed
    assert detail in failed[name]


ARRAYS = {
    "a pickled array": ("np.save(open(F64, 'wb'), np.array([{}]), allow_pickle=True)", "expected 64 for 8 rows"),
    "a link": ("os.symlink('/box/model.pkl', F64)", "a link in the output folder"),
}
PREDICT_ARRAYS = """
F64 = "/results/0.f64"

def predict(live):
    if not is_entry():
        values = good(live)["prediction"].to_numpy()
        %s
        os._exit(0)
    return good(live)
"""


@pytest.mark.parametrize(("source", "detail"), ARRAYS.values(), ids=ARRAYS)
def test_malformed_predictions_of_the_golden_rows_are_a_finding(
    judge: Callable[[str], validate.Validation], source: str, detail: str
) -> None:
    failed = get_failed_checks(judge(PREDICT_ARRAYS % source))
    assert failed.keys() == {GOLDEN}
    assert detail in failed[GOLDEN]


COLUMNS = "same values: columns in another order, and more"


@pytest.mark.parametrize(
    ("columns", "checks"),
    [("live.columns.str.startswith('feature_')", {"entry point", COLUMNS}), ("range(2, 5)", {COLUMNS})],
    ids=["prefix", "position"],
)
def test_columns_that_are_not_read_by_name_are_refused(
    judge: Callable[[str], validate.Validation], columns: str, checks: set[str]
) -> None:
    """The golden rows have the columns in the model's order, so only the live rows show it."""
    source = f"""
        def predict(live):
            columns = live.columns[{columns}]
            return good(live[columns].set_axis(['feature_0', 'feature_1', 'feature_2'], axis=1))
    """
    failed = get_failed_checks(judge(source))
    assert failed.keys() == checks
    assert "read each column by its name, not by its position or a prefix" in failed[COLUMNS]


def test_a_log_without_end_is_cut(judge: Callable[[str], validate.Validation]) -> None:
    result = judge("def predict(live): os.write(2, b'x' * (8 << 20)); return good(live)")
    assert result.good
    assert len(result.log) <= 1 << 16


class _RecordingEngine(docker_engine.DockerEngine):
    """Records the files that enter a volume."""

    def __init__(self, engine: docker_engine.DockerEngine) -> None:
        super().__init__(engine._api)
        self.content = b""

    @contextlib.contextmanager
    def create_volume(self, image: str, tar: Any, /, *, run: str) -> Iterator[str]:
        self.content += b"".join(tar)
        with super().create_volume(image, iter([self.content]), run=run) as volume:
            yield volume


def test_golden_predictions_are_in_no_container(
    task: validate.ValidationTask, engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path
) -> None:
    """The golden predictions are random here, so that nothing can predict them."""
    random = np.random.default_rng(5)
    golden = dataclasses.replace(task.bundle.golden, predictions=random.random(8))
    bundle = dataclasses.replace(task.bundle, golden=golden)
    task.artifact.pickle.write_bytes(make_pickle("def predict(live): return good(live)"))
    recording = _RecordingEngine(engine)
    result = validate.validate(dataclasses.replace(task, bundle=bundle), recording, run_id, progress.Silent())
    assert get_failed_checks(result).keys() == {GOLDEN}
    context = render.pack_context(pickles.render_bundle(tmp_path, bundle))
    for content in (recording.content, b"".join(context)):
        assert b"feature_0" in content
        for value in golden.predictions:
            forms = (value.tobytes(), np.float32(value).tobytes(), repr(float(value)).encode())
            assert not any(form in content for form in forms)
