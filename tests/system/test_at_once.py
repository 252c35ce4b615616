"""Several ``make`` at once in a fresh clone without ``.venv``: all succeed, and one does the work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start make in a new process group, so that it can be killed with its children."""
    return subprocess.Popen(
        ["make", *arguments],
        cwd=folder,
        env=clones.make_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.usefixtures("nothing_left")
def test_four_processes_of_make_at_once_succeed_after_a_killed_one(clone: Path) -> None:
    with start(clone, "setup") as first:
        assert first.stderr is not None
        output = ""
        while "installing requirements/run.txt" not in output:
            line = first.stderr.readline()
            assert line, output
            output += line
        assert (clone / ".venv.lock").read_text().isdecimal()
        os.killpg(first.pid, signal.SIGKILL)
    assert not (clone / ".venv" / ".run").exists()

    with contextlib.ExitStack() as running:
        makes = [running.enter_context(start(clone, "pickle", "configs/mlp.yaml")) for _ in range(4)]
        results = [(make.communicate(timeout=900), make.returncode) for make in makes]
    for (out, err), code in results:
        assert code == 0, err
        assert "dist/mlp/model.pkl" in out
    all_errors = "".join(err for (_, err), _ in results)
    assert all_errors.count("installing requirements/run.txt") == 1, all_errors
    assert "note: uv" not in all_errors
    assert all_errors.count("that sets up .venv") == 3, all_errors
    builders = [out for (out, _), _ in results if "model.pkl  (built)" in out]
    assert len(builders) == 1, "one builds the pickle, and the others find it"
    assert sum("nothing changed since it was built" in out for (out, _), _ in results) == 3
    again = clones.run(clone, "make", "setup")
    assert (again.returncode, again.stderr) == (0, "")


def test_uv_installs_with_the_settings_of_pip_and_pip_if_uv_fails(clone: Path) -> None:
    (clone / ".venv.lock").mkdir()
    (clone / ".venv" / "bin").mkdir(parents=True)
    result = clones.run(clone, "sh", "requirements/venv.sh", "absent")
    assert "note: .venv.lock cannot be locked (Is a directory)" in result.stderr, "it is only a note"
    assert "note: uv failed: installing with pip\n" in result.stderr
    assert "No such file or directory: 'requirements/absent.txt'" in result.stderr
    assert "error: could not install requirements/absent.txt: " in result.stderr
    assert result.returncode == 4

    wheels = clone.parent / "wheels"
    wheels.mkdir()
    for version in ("1.0", "2.0"):
        write_wheel(wheels, version)
    (clone / "constraints.txt").write_text("tinytest<2")
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONSTRAINT": str(clone / "constraints.txt")}
    for broken, note in (({}, ""), ({"UV_CACHE_DIR": "/dev/null/x"}, "note: uv failed: installing with pip\n")):
        result = clones.run(clone, "sh", "requirements/install.sh", "--no-deps", "tinytest", **settings, **broken)
        assert (result.returncode, result.stderr) == (0, note)
        assert (clone / ".venv" / ".uv").exists()
        python = clone / ".venv" / "bin" / "python"
        result = clones.run(clone, str(python), "-c", "import tinytest; print(tinytest.__file__, tinytest.VERSION)")
        assert result.stdout.endswith("/tinytest.py 1.0\n"), result.stderr
        clones.run(clone, str(python), "-m", "pip", "uninstall", "-y", "tinytest")


def write_wheel(folder: Path, version: str) -> None:
    """Write a wheel of a package with one line of code."""
    info = f"tinytest-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tinytest-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinytest.py", f"VERSION = '{version}'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinytest\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"tinytest.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
