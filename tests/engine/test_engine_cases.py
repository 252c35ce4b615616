"""Run the shared engine cases on a real engine, and test what only a real one can do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder import errors, progress
from builder.engine import docker_engine, run
from builder.engine import protocol as engines
from builder.image import resolve as image
from tests.support import engine_cases, stand_ins

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
SMALL = engines.ContainerLimits(cpus=0.5, memory=64 << 20)


@pytest.fixture(scope="session")
def python_image(engine: docker_engine.DockerEngine) -> str:
    return stand_ins.get_default().tag


@pytest.mark.parametrize("case", engine_cases.CASES, ids=lambda case: case.__name__)
def test_the_real_engine_passes_the_shared_cases(
    case: Callable[[engine_cases.Subject], None], engine: docker_engine.DockerEngine, python_image: str
) -> None:
    case(engine_cases.Subject(engine=engine, image=python_image))


def run_python(
    engine: docker_engine.DockerEngine, python_image: str, identity: str, source: str
) -> tuple[engines.Exit, str]:
    """Run Python code in a locked container; return how it ended and its log."""
    command = ("python", "-c", source)
    with engine.create_container(python_image, command, run=identity, limits=SMALL, network=False) as container:
        return container.run(60), container.read_log()


def test_exceeding_the_memory_limit_is_reported(
    engine: docker_engine.DockerEngine, run_id: str, python_image: str
) -> None:
    ending, _ = run_python(engine, python_image, run_id, "held = bytearray(1 << 30)")
    assert ending == engines.Exit(code=137, out_of_memory=True)


def test_the_engine_sees_the_memory_of_a_container(
    engine: docker_engine.DockerEngine, run_id: str, python_image: str
) -> None:
    ending, log = run_python(engine, python_image, run_id, "import time; held = bytearray(50 << 20); time.sleep(3)")
    assert ending.code == 0, log
    assert ending.peak_bytes is not None
    assert 50 << 20 <= ending.peak_bytes <= SMALL.memory


def test_a_locked_container_has_no_network_no_rights_and_no_disk(
    engine: docker_engine.DockerEngine, run_id: str, python_image: str
) -> None:
    source = """
import os, pathlib, socket, tempfile
for path in ("/here", "/etc/here", "/opt/venv/here", "/box/here"):
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        print(path, error.strerror)
print("temporary", pathlib.Path("/tmp/here").write_text("x"))
pathlib.Path("/results/small").write_text("x")
try:
    pathlib.Path("/results/large").write_bytes(bytes(200 << 20))
except OSError as error:
    print("results", error.strerror)
print("networks", [name for _, name in socket.if_nameindex()])
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
print("rights", int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"].strip(), os.getuid())
"""
    limits = engines.ContainerLimits(cpus=1, memory=512 << 20)
    with (
        engine.create_volume(python_image, engine_cases.pack(file="x"), run=run_id) as volume,
        engine.create_container(
            python_image, ("python", "-c", source), run=run_id, limits=limits, network=False, volume=volume
        ) as container,
    ):
        ending, log = container.run(60), container.read_log()
    assert ending.code == 0, log
    assert log.splitlines() == [
        "/here Read-only file system",
        "/etc/here Read-only file system",
        "/opt/venv/here Read-only file system",
        "/box/here Read-only file system",
        "temporary 1",
        "results No space left on device",
        "networks ['lo']",
        "rights 0 0 1 0",
    ]


def test_leftovers_of_a_killed_process_are_removed_by_the_next_run(
    engine: docker_engine.DockerEngine, python_image: str
) -> None:
    program = f"""
import sys
from builder.engine import docker_engine, protocol, run
engine = docker_engine.connect()
with run.start(engine) as identity:
    limits = protocol.ContainerLimits(cpus=1, memory=64 << 20)
    with (
        engine.create_volume({python_image!r}, iter([bytes(1024)]), run=identity),
        engine.create_container({python_image!r}, ("python", "-V"), run=identity, limits=limits, network=False),
    ):
        print(identity, flush=True)
        sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        identity = process.stdout.readline().strip()
        subject = engine_cases.Subject(engine=engine, image=python_image)
        with run.start(engine):
            assert sorted(engine_cases.list_kinds(subject, identity)) == ["container", "volume"], "it is alive"
        process.kill()
    with run.start(engine):  # unless a run of another test was faster: each removes leftovers
        assert engine_cases.list_kinds(subject, identity) == []


def test_an_image_without_python_is_not_a_runner_image(engine: docker_engine.DockerEngine, run_id: str) -> None:
    subject = engine_cases.Subject(engine=engine, image="")
    with engine_cases.import_image(subject) as imported:
        resolved = image.resolve(
            image.ImageRequest(ref=imported.tags[0]), engine, pull=False, progress=progress.Silent()
        )
        with pytest.raises(errors.ImageError, match="is not a runner image: it cannot run `python`"):
            image.read_inventory(resolved, engine, run_id)


def test_the_inventory_contains_the_images_packages(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = image.resolve_stand_in("localhost:1/absent:1", stand_ins.get_default().python, engine, progress.Silent())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    inventory = image.read_inventory(resolved, engine, run_id)
    assert inventory.python.startswith(f"{stand_ins.get_default().python}.")
    assert {"numpy", "pandas", "cloudpickle", "scikit-learn"} <= inventory.packages.keys()
    assert image.read_inventory(resolved, engine, run_id) == inventory


def test_docker_host_selects_the_engine(tmp_path: Path) -> None:
    socket = tmp_path / "docker.sock"
    socket.symlink_to("/var/run/docker.sock")
    program = "from builder.engine import docker_engine; print(docker_engine.connect().get_facts().platform)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "DOCKER_HOST": f"unix://{socket}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("linux/amd64\n", "")
