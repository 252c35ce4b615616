"""What a person, a full disk or a dying engine can do in the middle of things: one message, and nothing left behind."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from builder.engine import docker_engine, run
from builder.engine.protocol import RUN_LABEL
from tests.support import clones, private_engine, slow_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.engine import protocol as engine


@pytest.fixture
def slow(clone: Path) -> Path:
    """A clone whose example is made in an image that takes its time."""
    config = clone / "configs" / "mlp.yaml"
    text = config.read_text().replace("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", slow_image.TAG)
    config.write_text(text.replace('  stand_in: "3.11"\n', ""))
    return clone


@pytest.fixture
def slow_here(on: docker_engine.DockerEngine, slow: Path) -> Iterator[Path]:
    made = slow_image.load(on)
    yield slow
    # By its id: where something still holds it, it would lose its tag alone, and stay.
    on.remove_image(made.id)


def start(folder: Path, *arguments: str, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "builder", *arguments],
        cwd=folder,
        env=clones.make_environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def is_building(on: engine.Engine) -> bool:
    """Whether the step that makes the pickle is running: its container is there, and carries a run's label."""
    labels = [one.labels.get(RUN_LABEL, "") for one in on.list_leftovers() if one.kind == "container"]
    return any(label.startswith(run.get_owner_id()) for label in labels)


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "dist" / "mlp").iterdir() if path.name != ".lock")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("nothing_left")
def test_an_interrupted_build_leaves_nothing(
    on: docker_engine.DockerEngine, slow_here: Path, number: signal.Signals
) -> None:
    running = start(slow_here, "pickle", "configs/mlp.yaml")
    until(lambda: is_building(on))
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert results(slow_here) == []


@pytest.mark.usefixtures("nothing_left")
def test_what_a_killed_build_left_is_removed_by_the_next_run(on: docker_engine.DockerEngine, slow_here: Path) -> None:
    running = start(slow_here, "pickle", "configs/mlp.yaml")
    until(lambda: is_building(on))
    running.kill()
    running.communicate(timeout=60)
    assert is_building(on)
    clones.run(slow_here, "git", "checkout", "-q", "configs/mlp.yaml")
    config = slow_here / "configs" / "mlp.yaml"
    config.write_text((clones.ROOT / "configs" / "mlp.yaml").read_text())
    done = clones.run_builder(slow_here, "pickle", "configs/mlp.yaml")
    assert done.returncode == 0, done.stderr
    assert results(slow_here) == [".written", "Dockerfile", "context", "manifest.json", "model.pkl"]


def test_an_engine_that_dies_in_the_middle_is_one_clear_message(slow: Path) -> None:
    with private_engine.start() as private:
        # The tool finds an engine by the environment; so does this test.
        told = {"DOCKER_HOST": private.host}
        loading = (
            "from builder.engine import docker_engine as e; from tests.support import slow_image as s; "
            "s.load(e.connect())"
        )
        assert clones.run(clones.ROOT, sys.executable, "-c", loading, **told).returncode == 0
        running = start(slow, "pickle", "configs/mlp.yaml", **told)
        building = "import sys; from builder.engine import docker_engine; sys.exit(not docker_engine.connect().list_leftovers())"
        until(lambda: clones.run(clones.ROOT, sys.executable, "-c", building, **told).returncode == 0)
        private.kill()
        out, err = running.communicate(timeout=120)
    assert (running.returncode, out) == (3, "")
    assert "Traceback" not in err
    assert "engine" in err
    assert "run" in err.splitlines()[-1]
    assert results(slow) == []


@pytest.mark.usefixtures("nothing_left")
def test_a_disk_that_takes_no_more_leaves_the_old_pickle(clone: Path) -> None:
    made = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--json").stdout)["manifest"]
    config = clone / "configs" / "mlp.yaml"
    config.write_text(config.read_text().replace("ties: average", "ties: first"))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # the pickle has 44 kB

    done = subprocess.run(
        [sys.executable, "-m", "builder", "pickle", "configs/mlp.yaml"],
        cwd=clone,
        env=clones.make_environment(),
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "could not write" in done.stderr
    assert "free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((clone / "dist" / "mlp" / "manifest.json").read_text()) == made
    assert results(clone) == [".written", "Dockerfile", "context", "manifest.json", "model.pkl"]


def test_a_pickle_that_was_edited_is_noticed(clone: Path) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    path = clone / "dist" / "mlp" / "model.pkl"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    for verb in ("validate", "verify"):
        done = clones.run_builder(clone, verb, "configs/mlp.yaml")
        assert done.returncode == 2
        assert "edited or replaced after the build" in done.stderr
        assert "make pickle" in done.stderr
    again = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--json").stdout)
    assert again["made"] is True


def test_a_bundle_that_changed_since_is_noticed(clone: Path) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    bundle = clone / "configs" / "bundles" / "mlp" / "bundle.json"
    bundle.write_text(bundle.read_text().replace('"trained":{', '"trained":{"changed":true,'))
    done = clones.run_builder(clone, "validate", "configs/mlp.yaml")
    assert done.returncode == 2
    assert "changed since it was built" in done.stderr


def test_recorded_inputs_that_were_edited_are_noticed(clone: Path) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    folder = clone / "dist" / "mlp"
    source = folder / "context" / "inside" / "predict" / "entry.py"
    source.write_text(source.read_text() + "\n")
    done = clones.run_builder(clone, "verify", "dist/mlp")
    assert done.returncode == 2
    assert "inside/" in done.stderr
    source.write_text(source.read_text()[:-1])
    (folder / "Dockerfile").write_text("FROM scratch\n")
    done = clones.run_builder(clone, "verify", "dist/mlp")
    assert done.returncode == 2
    assert "Dockerfile" in done.stderr
