"""Interrupted commands, a full disk or a killed engine give one message, and nothing is left behind."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from builder.engine import docker_engine, protocol, run
from tests.support import clones, private_engine, slow_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def slow(clone: Path) -> Path:
    """A clone whose example is built in a slow image."""
    config = clone / "configs" / "mlp.yaml"
    text = config.read_text().replace("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", slow_image.TAG)
    config.write_text(text.replace('  stand_in: "3.12"\n', ""))
    return clone


@pytest.fixture
def slow_here(engine: docker_engine.DockerEngine, slow: Path) -> Iterator[Path]:
    image = slow_image.load(engine)
    yield slow
    # By its id: while a container uses it, removing it by its tag would only remove the tag.
    engine.remove_image(image.id)


def start(folder: Path, *arguments: str, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "builder", *arguments],
        cwd=folder,
        env=clones.make_environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def is_building(engine: protocol.Engine) -> bool:
    """Return whether the step that builds the pickle is running: its container has the label of a run."""
    labels = [
        leftover.labels.get(protocol.RUN_LABEL, "")
        for leftover in engine.list_leftovers()
        if leftover.kind == "container"
    ]
    return any(label.startswith(run.get_owner_id()) for label in labels)


def list_results(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "dist" / "mlp").iterdir() if path.name != ".lock")


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("nothing_left")
def test_an_interrupted_build_leaves_nothing(
    engine: docker_engine.DockerEngine, slow_here: Path, signal_number: signal.Signals
) -> None:
    running = start(slow_here, "pickle", "configs/mlp.yaml")
    wait_until(lambda: is_building(engine))
    running.send_signal(signal_number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert list_results(slow_here) == []


@pytest.mark.usefixtures("nothing_left")
def test_leftovers_of_a_killed_build_are_removed_by_the_next_run(
    engine: docker_engine.DockerEngine, slow_here: Path
) -> None:
    running = start(slow_here, "pickle", "configs/mlp.yaml")
    wait_until(lambda: is_building(engine))
    running.kill()
    running.communicate(timeout=60)
    assert is_building(engine)
    clones.run(slow_here, "git", "checkout", "-q", "configs/mlp.yaml")
    config = slow_here / "configs" / "mlp.yaml"
    config.write_text((clones.ROOT / "configs" / "mlp.yaml").read_text())
    result = clones.run_builder(slow_here, "pickle", "configs/mlp.yaml")
    assert result.returncode == 0, result.stderr
    assert list_results(slow_here) == [".written", "Dockerfile", "context", "manifest.json", "model.pkl"]


def test_an_engine_that_is_killed_during_a_build_is_one_clear_message(slow: Path) -> None:
    with private_engine.start() as private:
        environment = {"DOCKER_HOST": private.host}
        load_code = (
            "from builder.engine import docker_engine as e; from tests.support import slow_image as s; "
            "s.load(e.connect())"
        )
        assert clones.run(clones.ROOT, sys.executable, "-c", load_code, **environment).returncode == 0
        running = start(slow, "pickle", "configs/mlp.yaml", **environment)
        is_building_code = (
            "import sys; from builder.engine import docker_engine as e; sys.exit(not e.connect().list_leftovers())"
        )
        wait_until(
            lambda: clones.run(clones.ROOT, sys.executable, "-c", is_building_code, **environment).returncode == 0
        )
        private.kill()
        out, err = running.communicate(timeout=120)
    assert (running.returncode, out) == (3, "")
    assert "Traceback" not in err
    assert "engine" in err
    assert "run" in err.splitlines()[-1]
    assert list_results(slow) == []


@pytest.mark.usefixtures("nothing_left")
def test_a_full_disk_leaves_the_old_pickle(clone: Path) -> None:
    manifest = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--json").stdout)["manifest"]
    config = clone / "configs" / "mlp.yaml"
    config.write_text(config.read_text().replace("ties: average", "ties: first"))

    def limit() -> None:
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (20_000, 20_000)
        )  # the pickle has 44 kB: a write beyond the limit fails like one to a full disk

    result = subprocess.run(
        [sys.executable, "-m", "builder", "pickle", "configs/mlp.yaml"],
        cwd=clone,
        env=clones.make_environment(),
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "could not write" in result.stderr
    assert "free some space" in result.stderr
    assert "Traceback" not in result.stderr
    assert json.loads((clone / "dist" / "mlp" / "manifest.json").read_text()) == manifest
    assert list_results(clone) == [".written", "Dockerfile", "context", "manifest.json", "model.pkl"]


def test_an_edited_pickle_is_detected(clone: Path) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    path = clone / "dist" / "mlp" / "model.pkl"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    for command in ("validate", "verify"):
        result = clones.run_builder(clone, command, "configs/mlp.yaml")
        assert result.returncode == 2
        assert "edited or replaced after the build" in result.stderr
        assert "make pickle" in result.stderr
    again = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--json").stdout)
    assert again["made"] is True


def test_a_changed_bundle_is_detected(clone: Path) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    bundle = clone / "configs" / "bundles" / "mlp" / "bundle.json"
    bundle.write_text(bundle.read_text().replace('"trained":{', '"trained":{"changed":true,'))
    result = clones.run_builder(clone, "validate", "configs/mlp.yaml")
    assert result.returncode == 2
    assert "changed since it was built" in result.stderr


def test_edited_inputs_in_the_folder_are_detected(clone: Path) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    folder = clone / "dist" / "mlp"
    source = folder / "context" / "inside" / "predict" / "entry.py"
    source.write_text(source.read_text() + "\n")
    result = clones.run_builder(clone, "verify", "dist/mlp")
    assert result.returncode == 2
    assert "inside/" in result.stderr
    source.write_text(source.read_text()[:-1])
    (folder / "Dockerfile").write_text("FROM scratch\n")
    result = clones.run_builder(clone, "verify", "dist/mlp")
    assert result.returncode == 2
    assert "Dockerfile" in result.stderr
