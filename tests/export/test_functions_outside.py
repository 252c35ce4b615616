"""What a function uses from outside of its bundle: what no image has is refused, the rest is named with its line."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numexpr
import numpy as np
import pandas as pd
import pytest

from builder import published_pins
from builder.export.function import image_packages, outside, trial
from builder.inside import predict_inputs
from tests.support import pickles
from tests.support.functions import FEATURES, export_and_read, get_error, sample

WEIGHTS = np.array([0.02, 0.03, 0.04, 0.05])
PATTERN: Any = re.compile("^feature_[01]$")
COUNT = 0


def weigh(frame: Any, weights: Any = 0.05) -> pd.DataFrame:
    values = (frame[FEATURES].fillna(2).to_numpy(dtype=float) * weights).sum(axis=1)
    return pd.DataFrame({"prediction": values}, index=frame.index)


def reads_much(live_features: pd.DataFrame) -> pd.DataFrame:
    time.time()
    os.environ.get("DEBUG")
    with contextlib.suppress(OSError):
        Path("/srv/weights.csv").read_text()
    with contextlib.suppress(OSError):
        socket.create_connection(("example.com", 80), timeout=1)
    subprocess.run(["true"], check=False)
    try:
        import hypothesis as package
    except ImportError:
        import scipy as package  # type: ignore[no-redef]
    import httpx

    noise = np.random.random() * 1e-9  # noqa: NPY002
    return weigh(live_features) + noise * bool(package or httpx)


def test_reads_are_named_with_their_lines(tmp_path: Path) -> None:
    result, _ = export_and_read(reads_much, tmp_path)
    parts = [
        "line 2 of reads_much reads the clock (time.time)",
        "line 3 of reads_much reads the environment (os.environ): the image has none of your variables",
        'line 5 of reads_much opens "/srv/weights.csv", which the image does not have: open it before',
        "line 7 of reads_much connects to example.com, but the tournament has no network",
        "line 8 of reads_much runs a program (true), which the image may not have",
        "line 10 of reads_much imports `hypothesis` inside try: no image has it",
        "line 13 of reads_much imports `httpx`, which only the images of Python 3.10 have",
        "line 15 of reads_much draws random numbers without a seed (np.random.random)",
    ]
    for part in parts:
        assert sum(note.startswith(part) for note in result.notes) == 1, (part, result.notes)


def uses_file_name(live: Any) -> Any:
    return live, __file__


def imports_missing(live: Any) -> Any:
    from hypothesis import given

    return given(live)


def imports_uninstalled(live: Any) -> Any:
    import mlxtend  # type: ignore[import-not-found]

    return mlxtend.apply(live)


def imports_own_module(live: Any) -> Any:
    if len(live):
        import my_own_features  # type: ignore[import-not-found]
    return my_own_features.make(live)


def uses_missing_module(live: Any) -> Any:
    return numexpr.evaluate("live")


def uses_missing_function(live: Any) -> Any:
    return pytest.approx(live)


def reads_environment(live_features: pd.DataFrame) -> pd.DataFrame:
    return weigh(live_features, float(os.environ.get("TEST_WEIGHT", "0.01")))


def requires_environment(live_features: pd.DataFrame) -> pd.DataFrame:
    return weigh(live_features, float(os.environ["TEST_WEIGHT"]))


def prefers_missing_package(live_features: pd.DataFrame) -> pd.DataFrame:
    try:
        import numexpr as package
    except ImportError:
        package = None
    return weigh(live_features, 0.05 if package else 0.01)


def counts_calls(live_features: pd.DataFrame) -> pd.DataFrame:
    global COUNT  # noqa: PLW0603
    COUNT += 1
    return weigh(live_features) / COUNT


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            uses_file_name,
            "line 2 of uses_file_name uses __file__, which does not exist in a pickle; pass the file with",
        ),
        (imports_missing, "line 2 of imports_missing imports `hypothesis`, which no runner image has; if it is your"),
        (
            imports_own_module,
            "line 3 of imports_own_module imports `my_own_features`, which no runner image has; if it ",
        ),
        (imports_uninstalled, "`mlxtend`, which images have, but which is not installed here; install it (package mlx"),
        (imports_own_module, 'include it with modules=["my_own_features"]; if it is a library, do without it'),
        (uses_missing_module, "uses_missing_module uses `numexpr`, which no runner image has"),
        (uses_missing_function, "uses_missing_function uses `pytest`, which no runner image has"),
        (reads_environment, "possible causes: line 2 of reads_environment reads the environment (os.environ)"),
        (
            requires_environment,
            "line 2 of requires_environment: KeyError: 'TEST_WEIGHT'; possible causes: line 2 of req",
        ),
        (prefers_missing_package, "possible causes: line 3 of prefers_missing_package imports `numexpr` inside try"),
        (counts_calls, "possible causes: line 2 of counts_calls keeps COUNT from one call to the next"),
    ],
)
def test_what_the_image_does_not_have_is_refused(
    function: Any, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_WEIGHT", "0.04")
    assert expected in get_error(function, tmp_path)


def test_source_of_a_module() -> None:
    source = """
from typing import TYPE_CHECKING
import scipy.stats, own.other
from . import sibling
if TYPE_CHECKING:
    import hypothesis
try:
    import numexpr, mlxtend, sklearn
except (ImportError, OSError):
    numexpr = None
else:
    import random
def train():
    random.seed(1)
    rng = np.random.RandomState(seed=3)
    return random.random(), rng.normal(), Path(__file__), np.random.default_rng(None)
if __name__ == "__main__":
    import pytest
"""
    findings = outside.Findings()
    findings.add_source(source, "own.module", ("own.module", "own.other"))
    assert [note.partition(";")[0] for note in findings.notes] == [
        "line 8 of own.module imports `mlxtend`, which images have, but which is not installed here",
        "line 8 of own.module imports `numexpr` inside try: no image has it, so what follows `except` runs there",
        "line 16 of own.module uses __file__, which does not exist in a pickle",
        "line 16 of own.module draws random numbers without a seed (np.random.default_rng)",
    ]


def test_temporary_file_may_be_written(tmp_path: Path) -> None:
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        with tempfile.NamedTemporaryFile() as file:  # as Keras does when it loads a model
            file.write(b"weights")
        return weigh(live_features)

    result, _ = export_and_read(predict, tmp_path)
    assert result.notes == ()


def test_file_of_this_machine_is_not_read(tmp_path: Path) -> None:
    weights = tmp_path / "weights.csv"
    weights.write_text("0.02,0.03,0.04,0.05")
    path = str(weights)

    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        return weigh(live_features, np.loadtxt(path, delimiter=","))

    message = get_error(predict, tmp_path)
    assert "line 2 of predict: FileNotFoundError: " in message
    assert f'line 2 of predict opens "{path}", which the image does not have: open it before, outside of' in message


def test_missing_own_module_is_not_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_scale_test.py").write_text("SCALE = 0.05\n")
    monkeypatch.syspath_prepend(tmp_path)

    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        import importlib

        return weigh(live_features, importlib.import_module("own_scale_test").SCALE)

    message = get_error(predict, tmp_path)
    assert "the bundle fails in a new process: line 4 of predict: the image has no module 'own_scale_test'" in message
    assert "list it under `modules` (export: modules=)" in message


# ---- names that a function assigns itself

CACHE: Any = None
LOCK: Any = threading.Lock()


def find_lock() -> Any:
    global LOCK  # noqa: PLW0603
    if LOCK is None:
        LOCK = threading.Lock()
    return LOCK


def uses_globals(live_features: pd.DataFrame) -> pd.DataFrame:
    global CACHE, FIRST_SEEN  # noqa: PLW0603
    if CACHE is None:
        CACHE = WEIGHTS * 2
    FIRST_SEEN = find_lock()  # type: ignore[name-defined]
    with LOCK:
        return weigh(live_features, CACHE)


def make_caching(weights: Any) -> Any:
    cached = None

    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        nonlocal cached
        if cached is None:
            cached = weights / 2
        return weigh(live_features, cached)

    return predict


@pytest.mark.parametrize("function", [uses_globals, make_caching(WEIGHTS)], ids=["global", "nonlocal"])
def test_name_that_the_function_assigns_works(function: Any, tmp_path: Path) -> None:
    result, bundle = export_and_read(function, tmp_path)
    predict = pickles.load_predict(bundle)
    for _ in range(2):
        pd.testing.assert_frame_equal(predict(sample(9)), function(sample(9)))
    expected = ["`LOCK` is None when the bundle is loaded: a function assigns it, and its value here is not data"]
    assert list(result.notes) == expected * (function is uses_globals)


def test_object_that_no_function_assigns_is_refused(tmp_path: Path) -> None:
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        with LOCK:
            return weigh(live_features)

    assert "`LOCK` has type _thread.lock, which a bundle cannot contain" in get_error(predict, tmp_path)


# ---- the process


def test_load_runs_in_an_empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_WEIGHT", "0.04")
    start = subprocess.Popen
    started: list[Any] = []

    def start_and_remember(*arguments: Any, **options: Any) -> Any:
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start_and_remember)

    def load(bundle: Any) -> Any:
        import os
        import sys
        from pathlib import Path

        weight = 0.05 if bundle.features else 0
        print("printed")
        surroundings = [*Path.cwd().iterdir()], Path.home() == Path.cwd(), sys.stdin.read(), "TEST_WEIGHT" in os.environ
        if surroundings != ([], True, "", False):
            raise ValueError(surroundings)

        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            print("printed")
            return weigh(live_features, weight)

        return predict

    result, bundle = export_and_read(load, tmp_path)
    assert [note.partition(":")[0] for note in result.notes] == ["line 8 of load reads the environment (os.environ)"]
    live, _ = predict_inputs.to_frames(bundle.golden.inputs, FEATURES, [])
    np.testing.assert_array_equal(bundle.golden.predictions, weigh(live)["prediction"])
    trials = [process for process in started if trial.__file__ in list(process.args)]
    assert len(trials) == 2, "one process predicts all inputs, a second one is compared with it"
    assert all(process.poll() is not None for process in trials)


def test_process_that_ends_is_reported(tmp_path: Path) -> None:
    def load(bundle: Any) -> Any:
        import os

        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            os._exit(7)

        return predict

    assert "the bundle fails in a new process: it ended with exit code 7" in get_error(load, tmp_path)


def test_packages_of_the_images() -> None:
    assert image_packages.find_package("sklearn") == "scikit-learn"
    assert (
        image_packages.find_pythons("Scikit_Learn") == published_pins.list_pythons() == ("3.10", "3.11", "3.12", "3.13")
    )
    assert image_packages.find_pythons(image_packages.find_package("umap")) == ("3.10",)
    modules = image_packages.list_modules()
    assert {"sklearn", "dateutil", "json", "_csv", "torch", "xgboost", "typing_extensions"} <= set(modules)
    assert not {"builder", "pytest", "numexpr", "hypothesis"} & set(modules)
