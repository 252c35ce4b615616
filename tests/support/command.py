"""Run the command line on a small project, in a subprocess or in this process."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder import progress
from builder.build import artifact, manifest, render
from builder.bundle.storage import files
from builder.cli import main
from builder.config import model as config
from builder.image import resolve as image
from builder.image import runner_image
from tests.support import bundles, fork_server, manifests

if TYPE_CHECKING:
    import pytest

    from tests.support.fake_engine import FakeEngine

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """\
name: small
image:
  ref: runner:1
bundle: bundles/small
"""


def write_project(folder: Path) -> Path:
    """Write a config and its bundle; return the folder."""
    (folder / "configs").mkdir(parents=True)
    (folder / "Makefile").touch()  # as in a checkout: messages then advise `make ...`
    (folder / "configs" / "small.yaml").write_text(CONFIG)
    bundles.write_bundle(folder / "configs" / "bundles" / "small")
    return folder


WITHOUT_WAITS = """
import sys, time
time.sleep = lambda _: None  # other tests check the waits between attempts
from builder.cli import main
sys.exit(main.main(sys.argv[1:]))
"""


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the command in a subprocess."""
    return _start("-m", "builder", *arguments, cwd=cwd, **environment)


def _start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return fork_server.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str, str]:
    """Run the command in a subprocess; return its exit code, standard output and standard error."""
    return _wait_for(start(*arguments, cwd=cwd, **environment))


def run_without_waits(*arguments: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str, str]:
    """Run the command like :func:`run`, without waits between attempts."""
    return _wait_for(_start("-c", WITHOUT_WAITS, *arguments, cwd=cwd, **environment))


def _wait_for(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in out + err
    return process.returncode, out, err


def call(*arguments: str) -> int:
    """Run a command in this process; return its exit code."""
    try:
        return main.main(arguments)
    except SystemExit as error:
        return int(error.code or 0)


def read_output(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return what was printed since the last call; fail if it contains a traceback."""
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out, err


def write_artifact(project: Path, engine: FakeEngine) -> artifact.Artifact:
    """Write a complete artifact of the project with a fake pickle, which is faster than building one."""
    assert call("render", "configs/small.yaml") == 0
    folder = project / "dist" / "small"
    resolved = image.resolve(image.ImageRequest(ref="runner:1"), engine, pull=False, progress=progress.Silent())
    base = manifests.create_manifest(b"pickle")
    data = dataclasses.replace(
        base,
        name="small",
        tool=manifest.Tool(version="0", inside=render.hash_entries(render.list_inside_files())),
        image=runner_image.RunnerImage(
            kind=resolved.kind,
            ref=resolved.ref,
            base=resolved.base,
            identity=resolved.identity,
            platform=resolved.platform,
            python="3.11.2",
            packages=base.image.packages,
        ),
        bundle=dataclasses.replace(base.bundle, hash=files.hash_bundle(project / "configs" / "bundles" / "small")),
        config=manifest.ConfigPart(
            hash=manifest.hash_config(config.select_build_inputs(config.load(project / "configs" / "small.yaml")))
        ),
    )
    (folder / artifact.PICKLE).write_bytes(b"pickle")
    (folder / artifact.MANIFEST).write_bytes(manifest.to_bytes(data))
    artifact.write_fingerprint(folder)
    return artifact.load(folder)


def find_loaded_modules(source: str, cwd: Path = ROOT) -> set[str]:
    """Run a program and return the names of the modules that it imported."""
    program = f"{source}\nimport sys; print('\\n' + ' '.join(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.splitlines()[-1].split())
