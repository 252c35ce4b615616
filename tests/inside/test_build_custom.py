"""Build the pickle of a custom model as the Dockerfile does: the same bytes, or a finding where they differ."""

from __future__ import annotations

import json
import pickletools
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builder.build import engine_build
from builder.bundle import post
from builder.inside import build_custom, build_warnings
from tests.support import custom, fork_server, pickles

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = {"PATH": "/usr/bin:/bin"}
CHANGES: dict[str, dict[str, str]] = {
    "a hash seed and an old CPU": {"PYTHONHASHSEED": "4242", **build_custom.get_old_cpu_environment()},
    "a home and a language": {"HOME": "/nowhere", "USER": "somebody", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Tokyo"},
    "optimised, no hash seed": {"PYTHONOPTIMIZE": "2", "PYTHONHASHSEED": "random"},
}


def run_build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return fork_server.run(
        [sys.executable, "-B", "-m", "inside.build_pickle"],
        cwd=folder / "context",
        env=PLAIN | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def build_failing(code: str, folder: Path, **changes: Any) -> str:
    """Return the message when building a pickle of this code fails; it must not be a traceback."""
    pickles.render_bundle(folder, custom.make_bundle(code, **changes))
    result = run_build(folder)
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stderr
    assert not list((folder / "context" / "out").iterdir())
    return result.stderr


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("everything")
    pickles.render_bundle(folder, custom.make_full_bundle())
    return folder / "context"


@pytest.fixture(scope="module")
def expected(context: Path) -> bytes:
    return pickles.build_in(context, PLAIN)


@pytest.mark.parametrize("change", CHANGES)
def test_the_environment_does_not_change_the_bytes(context: Path, expected: bytes, change: str) -> None:
    assert pickles.build_in(context, PLAIN | CHANGES[change]) == expected


def test_the_folder_does_not_change_the_bytes(context: Path, expected: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "some ü where"
    shutil.copytree(context, folder)
    for path in (folder / "bundle" / "code").rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert pickles.build_in(folder, PLAIN, umask=0o077) == expected
    for host_path in (str(tmp_path), str(context), sys.prefix):
        assert host_path.encode() not in expected
    texts = [value for _, value, _ in pickletools.genops(expected) if isinstance(value, str)]
    assert not [text for text in texts if text.split(".")[0] in {"builder", "inside", "tests"}]


def test_it_predicts_without_its_modules(context: Path, expected: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(expected)
    script = """if True:
        import pandas as pd
        predict = pd.read_pickle("model.pkl")
        frame = pd.DataFrame({f"feature_{place}": [1, 2] for place in range(3)}, index=["a", "b"])
        print(*predict(frame)["prediction"])
    """
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    values = 2 * np.array([[1, 1, 1], [2, 2, 2]]) @ custom.WEIGHTS
    np.testing.assert_allclose([float(value) for value in result.stdout.split()], 0.5 / (1 + np.exp(-values)))


def test_the_host_reads_what_it_prints(tmp_path: Path) -> None:
    pickles.render_bundle(
        tmp_path, custom.make_bundle("print('numerai-builder: {}')\n" + custom.CODE, post=(post.make_step("rank"),))
    )
    result = run_build(tmp_path)
    report = engine_build._read_report(result.stdout).pickle
    assert (report.parameters, report.findings) == (("live_features", "live_benchmark_models"), ())
    assert [path.name for path in (tmp_path / "context" / "out").iterdir()] == ["model.pkl"]


# ---- warnings


WARNS = """
import logging
import sys
import warnings
import numpy as np
import team.maths

def load(bundle):
    team.maths.warn()
    warnings.warn("first\\nsecond \\x1b[2J", stacklevel=1)
    logging.getLogger("some.library").warning("from a logger")
    logging.getLogger("some.library").info("not this")
    print("[LightGBM] [Warning] from a native library")
    print("[LightGBM] [Info] not this")
    for _ in range(3):
        print("the same ERROR", file=sys.stderr)
    return lambda live: team.maths.predict(live)
"""
WARNS_IN_MODULE = """
import warnings
import numpy as np

def warn():
    warnings.warn("deprecated", DeprecationWarning)

def predict(live):
    return live
"""


def test_what_is_warned_of_is_reported_and_is_not_in_the_pickle(tmp_path: Path) -> None:
    pickles.render_bundle(tmp_path, custom.make_bundle(WARNS, modules={"team.maths": WARNS_IN_MODULE}))
    result = run_build(tmp_path)
    # What is printed to standard output is buffered, so that it may come later.
    assert set(engine_build._read_report(result.stdout).warnings) == {
        "code/team/maths.py:6: DeprecationWarning: deprecated",
        "code/model.py:10: UserWarning: first second  [2J",
        "some.library: WARNING: from a logger",
        "[LightGBM] [Warning] from a native library",
        "the same ERROR",
    }
    assert "[Info] not this" in result.stderr, "all output is in the log of the build"
    assert b"__warningregistry__" not in (tmp_path / "context" / "out" / "model.pkl").read_bytes()


def test_a_warning_does_not_hide_an_error(tmp_path: Path) -> None:
    modules = {"team.maths": WARNS_IN_MODULE}
    code = WARNS.replace("    return", "    bundle.read('gone')\n    return")
    message = build_failing(code, tmp_path / "error", modules=modules)
    assert message.splitlines()[-1].startswith("code/model.py:17: in load: FileNotFoundError: the bundle has no file")
    code = WARNS.replace("    return", "    sys.exit(0)\n    return")
    message = build_failing(code, tmp_path / "exit", modules=modules)
    assert message.splitlines()[-1] == "code/model.py: building the pickle ended with exit 0; see its output above"


def test_of_many_warnings_the_first_are_reported() -> None:
    lines = [f"warning {number}\t{'x' * 1_000}" for number in range(25)]
    warnings = build_warnings.find_warnings([*lines, *lines, "something else"])
    assert warnings == [*(f"{line[:500]}".replace("\t", " ") for line in lines[:10]), "and 15 more warnings"]


# ---- builds that differ


def make_code(line: str, *, top: str = "") -> str:
    """Return code whose ``load`` runs a line."""
    return f"""
import random, time, uuid
import numpy as np
import pandas as pd
{top}
def load(bundle):
    weights = bundle.arrays["weights"]
    {line}

    def predict(live_features):
        unused = random.random()
        return pd.DataFrame({{"prediction": weights[0] + unused}}, index=live_features.index)

    return predict
"""


def test_builds_that_differ_by_chance_are_reported_with_the_first_opcode(tmp_path: Path) -> None:
    pickles.render_bundle(tmp_path, custom.make_bundle(make_code("weights = [time.time_ns()]")))
    report = engine_build._read_report(run_build(tmp_path).stdout).pickle
    assert [value.file for value in report.findings] == ["code/model.py"]
    text = report.findings[0].text
    assert re.match(r"two builds of the pickle differ \(first at byte \d+: LONG1 \d+ and LONG1 \d+\)", text)


def test_builds_that_differ_between_cpus_are_reported_with_the_first_opcode(tmp_path: Path) -> None:
    arrays = {"weights": np.linspace(0, 9, 5_000)}
    pickles.render_bundle(
        tmp_path, custom.make_bundle(make_code("weights = np.tanh(np.exp(-weights) + weights)"), arrays=arrays)
    )
    report = engine_build._read_report(run_build(tmp_path).stdout).pickle
    if not build_custom.get_old_cpu_environment()["NPY_DISABLE_CPU_FEATURES"]:
        assert report.findings == (), "this CPU has no optional features"
        return
    [finding] = report.findings
    assert re.match(r"two builds of the pickle on different CPUs differ \(first at byte \d+: \w+ b", finding.text)


# ---- what cannot be made into a pickle


@pytest.mark.parametrize(
    ("line", "expected_message"),
    [
        ("import gone", "code/model.py:8: the image has no module 'gone'; if it is yours, list it under"),
        ("weights = bundle.arrays['other']", "code/model.py:8: in load: KeyError: 'other'"),
        ("weights = bundle.read('x.csv')", "the bundle has no file 'x.csv'; it has no files"),
        ("weights = bundle", "refers to `bundle`, which does not exist when the tournament predicts"),
        ("import threading; weights = threading.Lock()", "cannot be pickled: TypeError: cannot pickle '_thread.lock'"),
        ("return None", "load returned NoneType, which cannot be called; return the function"),
        ("return lambda a, b, c: a", "takes (a, b, c); the tournament calls it with (live_features) or"),
        ("return lambda **all: 1", "takes (**all); the tournament calls it with"),
    ],
)
def test_the_reason_is_reported_with_its_line(line: str, expected_message: str, tmp_path: Path) -> None:
    message = build_failing(make_code(line), tmp_path)
    assert expected_message in message
    assert message.startswith("code/model.py")


def test_an_import_that_would_fail_later_fails_when_building(tmp_path: Path) -> None:
    code = custom.CODE.replace("        values =", "        import gone\n        values =")
    assert "code/model.py:9: the image has no module 'gone'" in build_failing(code, tmp_path)
    provided = custom.CODE.replace(
        "        values =",
        "        try:\n            import gone\n        except ImportError:\n            pass\n        values =",
    )
    pickles.render_bundle(tmp_path / "good", custom.make_bundle(provided))
    assert run_build(tmp_path / "good").returncode == 0


def test_a_syntax_error_is_reported_with_its_line(tmp_path: Path) -> None:
    pickles.render_bundle(tmp_path, custom.make_bundle())
    path = tmp_path / "context" / "bundle" / "code" / "model.py"
    path.write_text(custom.CODE + "\nmatch = = 1\n")
    result = run_build(tmp_path)
    assert result.returncode == 1
    assert "code/model.py:14: invalid syntax, as the image's Python" in result.stderr


def test_the_report_is_one_line_of_json(context: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "inside.build_pickle"],
        cwd=context,
        env=PLAIN,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(result.stdout.removeprefix("numerai-builder: "))
    assert report.keys() == {"format", "pickle", "warnings"}


def test_custom_code_runs_without_capabilities_and_with_limits(tmp_path: Path) -> None:
    code = """
    import pathlib
    import resource
    import pandas as pd

    def load(bundle):
        status = pathlib.Path("/proc/self/status").read_text().split("\\n")
        facts = dict(line.split(":\\t") for line in status if line.startswith(("Cap", "NoNewPrivs")))
        limits = [resource.getrlimit(kind) for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)]
        raise ValueError(f"{facts['CapEff']} {facts['CapPrm']} {facts['CapBnd']} {facts['NoNewPrivs']} {limits}")
    """
    message = build_failing(code, tmp_path)
    none = "0" * 16
    assert f"{none} {none} {none} 1 [(0, 0), (4294967296, 4294967296)]" in message
