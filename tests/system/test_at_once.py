"""Several ``make`` at once in a fresh clone, from no ``.venv`` on: all succeed, one does the work."""

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
    """Start make in a process group of its own."""
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
def test_four_make_at_once_in_a_fresh_clone_succeed_after_a_killed_one(clone: Path) -> None:
    with start(clone, "setup") as killed:
        assert killed.stderr is not None
        said = ""
        while "installing requirements/run.txt" not in said:
            line = killed.stderr.readline()
            assert line, said
            said += line
        assert (clone / ".venv.lock").read_text().isdecimal()
        os.killpg(killed.pid, signal.SIGKILL)
    assert not (clone / ".venv" / ".run").exists()

    with contextlib.ExitStack() as running:
        makes = [running.enter_context(start(clone, "pickle", "configs/mlp.yaml")) for _ in range(4)]
        ended = [(make.communicate(timeout=900), make.returncode) for make in makes]
    for (out, err), code in ended:
        assert code == 0, err
        assert "dist/mlp/model.pkl" in out
    every = "".join(err for (_, err), _ in ended)
    assert every.count("installing requirements/run.txt") == 1, every
    assert "note: uv" not in every
    assert every.count("that sets up .venv") == 3, every
    made = [out for (out, _), _ in ended if "model.pkl  (made)" in out]
    assert len(made) == 1, "one builds the pickle, and the others find it"
    assert sum("nothing changed since it was made" in out for (out, _), _ in ended) == 3
    again = clones.run(clone, "make", "setup")
    assert (again.returncode, again.stderr) == (0, "")


def test_uv_installs_with_pips_settings_and_pip_where_uv_fails(clone: Path) -> None:
    (clone / ".venv.lock").mkdir()
    (clone / ".venv" / "bin").mkdir(parents=True)
    done = clones.run(clone, "sh", "requirements/venv.sh", "absent")
    assert "note: .venv.lock cannot be locked (Is a directory)" in done.stderr, "it stops nobody"
    assert "note: uv failed: installing with pip\n" in done.stderr
    assert "No such file or directory: 'requirements/absent.txt'" in done.stderr
    assert "error: could not install requirements/absent.txt: " in done.stderr
    assert done.returncode == 4

    wheels = clone.parent / "wheels"
    wheels.mkdir()
    for version in ("1.0", "2.0"):
        write_wheel(wheels, version)
    (clone / "constraints.txt").write_text("tinytest<2")
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONSTRAINT": str(clone / "constraints.txt")}
    for broken, note in (({}, ""), ({"UV_CACHE_DIR": "/dev/null/x"}, "note: uv failed: installing with pip\n")):
        done = clones.run(clone, "sh", "requirements/install.sh", "--no-deps", "tinytest", **settings, **broken)
        assert (done.returncode, done.stderr) == (0, note)
        assert (clone / ".venv" / ".uv").exists()
        python = clone / ".venv" / "bin" / "python"
        done = clones.run(clone, str(python), "-c", "import tinytest; print(tinytest.__file__, tinytest.VERSION)")
        assert done.stdout.endswith("/tinytest.py 1.0\n"), done.stderr
        clones.run(clone, str(python), "-m", "pip", "uninstall", "-y", "tinytest")


def write_wheel(folder: Path, version: str) -> None:
    """Write a package of one line."""
    info = f"tinytest-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tinytest-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinytest.py", f"VERSION = '{version}'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinytest\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"tinytest.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
