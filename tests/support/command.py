"""The command, run in a process of its own or in this one, on a small project."""

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
    """Write a config and its bundle, beside a Makefile as in a checkout; return the folder."""
    (folder / "configs").mkdir(parents=True)
    (folder / "Makefile").touch()
    (folder / "configs" / "small.yaml").write_text(CONFIG)
    bundles.write_bundle(folder / "configs" / "bundles" / "small")
    return folder


WITHOUT_WAITS = """
import sys, time
time.sleep = lambda _: None  # other tests check the delays between attempts
from builder.cli import main
sys.exit(main.main(sys.argv[1:]))
"""


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
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
    """Run the command in a process of its own; returns its exit code and what it printed."""
    return _end(start(*arguments, cwd=cwd, **environment))


def run_without_waits(*arguments: str, cwd: Path = ROOT, **environment: str) -> tuple[int, str, str]:
    """Run the command as :func:`run` does, without waiting between attempts."""
    return _end(_start("-c", WITHOUT_WAITS, *arguments, cwd=cwd, **environment))


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in out + err
    return process.returncode, out, err


def call(*arguments: str) -> int:
    """Run a command in this process until it ends in any way."""
    try:
        return main.main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


def read_output(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return what was printed since it was asked last."""
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out, err


def write_artifact(project: Path, engine: FakeEngine) -> artifact.Artifact:
    """Put a whole artifact of the project in place, without the time that making its pickle takes."""
    assert call("render", "configs/small.yaml") == 0
    folder = project / "dist" / "small"
    actual = image.resolve(image.ImageRequest(ref="runner:1"), engine, pull=False, progress=progress.Silent())
    plain = manifests.create_manifest(b"pickle")
    built = dataclasses.replace(
        plain,
        name="small",
        tool=manifest.Tool(version="0", inside=render.hash_entries(render.list_inside_files())),
        image=runner_image.RunnerImage(
            kind=actual.kind,
            ref=actual.ref,
            base=actual.base,
            identity=actual.identity,
            platform=actual.platform,
            python="3.11.2",
            packages=plain.image.packages,
        ),
        bundle=dataclasses.replace(plain.bundle, hash=files.hash_bundle(project / "configs" / "bundles" / "small")),
        config=manifest.ConfigPart(
            hash=manifest.hash_config(config.select_build_inputs(config.load(project / "configs" / "small.yaml")))
        ),
    )
    (folder / artifact.PICKLE).write_bytes(b"pickle")
    (folder / artifact.MANIFEST).write_bytes(manifest.to_bytes(built))
    artifact.write_fingerprint(folder)
    return artifact.load(folder)


def find_loaded_modules(source: str, cwd: Path = ROOT) -> set[str]:
    """Return the modules that a program has loaded at its end."""
    program = f"{source}\nimport sys; print('\\n' + ' '.join(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())
