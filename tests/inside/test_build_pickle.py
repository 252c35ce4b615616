"""Build the pickle as the Dockerfile does, in new processes that differ in everything that must not matter."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.numpy

from builder.build import engine_build
from tests.support import pickles

if TYPE_CHECKING:
    from pathlib import Path

NUMPY: Any = importlib.import_module("numpy._core._multiarray_umath")
# The optional CPU features of numpy that this machine has.
CPU_FEATURES = " ".join(name for name in NUMPY.__cpu_dispatch__ if NUMPY.__cpu_features__[name])
MINIMAL_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"}
CHANGES: dict[str, dict[str, str]] = {
    "again, from cached bytecode": {},
    "a hash seed, an old CPU's products, one thread": {
        "PYTHONHASHSEED": "1",
        "OPENBLAS_CORETYPE": "Prescott",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    },
    "no hash seed, another CPU's products, a home, a time zone, a language": {
        "PYTHONHASHSEED": "random",
        "OPENBLAS_CORETYPE": "Sandybridge",
        "HOME": "/nowhere",
        "USER": "somebody",
        "LOGNAME": "somebody",
        "TZ": "Asia/Tokyo",
        "LANG": "tr_TR.UTF-8",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
    },
    "an old CPU's functions, optimised, no bytecode": {
        "NPY_DISABLE_CPU_FEATURES": CPU_FEATURES,
        "PYTHONOPTIMIZE": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
    },
}


@pytest.fixture(scope="module", params=["narrow", "wide", "ensemble"])
def context(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context, as it is copied into the image."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    pickles.render_bundle(folder, pickles.scenario_bundle(request.param))
    return folder / "context"


@pytest.fixture(scope="module")
def expected(context: Path) -> bytes:
    """The pickle, built in a process with a minimal environment."""
    return pickles.build_in(context, MINIMAL_ENVIRONMENT)


@pytest.mark.parametrize("change", CHANGES)
def test_the_environment_does_not_change_the_bytes(context: Path, expected: bytes, change: str) -> None:
    assert pickles.build_in(context, MINIMAL_ENVIRONMENT | CHANGES[change]) == expected


def test_the_folder_and_its_permissions_do_not_change_the_bytes(context: Path, expected: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "some ü where" / "else"
    shutil.copytree(context, folder)
    assert pickles.build_in(folder, MINIMAL_ENVIRONMENT, umask=0o077) == expected
    assert str(tmp_path).encode() not in expected
    assert str(context).encode() not in expected
    assert sys.prefix.encode() not in expected


def test_other_line_endings_in_the_source_do_not_change_the_bytes(
    context: Path, expected: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "context"
    shutil.copytree(context, folder)
    for path in (folder / "inside" / "predict").glob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert pickles.build_in(folder, MINIMAL_ENVIRONMENT) == expected


def test_other_numbers_change_the_bytes(context: Path, expected: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    shutil.copytree(context, folder)
    path = folder / "bundle" / "arrays.safetensors"
    arrays = safetensors.numpy.load_file(path)
    arrays["b0" if "b0" in arrays else "m1.b0"][0] += 1
    safetensors.numpy.save_file(arrays, path)
    assert pickles.build_in(folder, MINIMAL_ENVIRONMENT) != expected


def test_the_host_reads_what_it_prints(context: Path, expected: bytes) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "inside.build_pickle"],
        cwd=context,
        env=MINIMAL_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    report = engine_build._read_report(result.stdout).pickle
    assert report.sha256 == hashlib.sha256(expected).hexdigest()
    assert (report.size, report.protocol) == (len(expected), 5)
    assert report.parameters == ("live_features", "live_benchmark_models")


def test_the_steps_are_those_of_the_plan(context: Path, tmp_path: Path) -> None:
    """The config may replace the steps of the bundle; the plan has the result."""
    folder = tmp_path / "context"
    shutil.copytree(context, folder)
    plan: dict[str, Any] = json.loads((folder / "plan.json").read_bytes())
    (folder / "plan.json").write_text(json.dumps(plan | {"post": [{"rank": {"scope": "frame", "ties": "first"}}]}))
    script = "import pandas as pd; print(pd.read_pickle('out/model.pkl').__globals__['MODEL']['post'])"
    pickles.build_in(folder, MINIMAL_ENVIRONMENT)
    result = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[['rank', {'scope': 'frame', 'ties': 'first'}]]"


def test_a_plan_with_an_unknown_step_ends_with_1_and_writes_nothing(context: Path, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    shutil.copytree(context, folder, ignore=shutil.ignore_patterns("out"))
    (folder / "plan.json").write_text('{"post": [{"forest": {}}]}')
    result = subprocess.run(
        [sys.executable, "-m", "inside.build_pickle"],
        cwd=folder,
        env=MINIMAL_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "forest" in result.stderr
    assert not (folder / "out").exists()
