"""The sandbox runs a registered pickle in the image it was registered for; needs an engine."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from builder.sandbox import registry, run_in_container, runs, server
from tests.sandbox import client
from tests.support import clones, stand_ins
from tests.support.pickles import Calls


@pytest.fixture
def sandbox(container_sandbox: server.Sandbox) -> server.Sandbox:
    return container_sandbox


def run(sandbox: server.Sandbox, content: bytes, image: str = "numerai_predict_py_3_12") -> tuple[Any, list[str]]:
    """Upload a pickle, register it for an image and wait; return its record and the lines of its log."""
    ask, slot = client.Client(sandbox), sandbox.state.get_slot("fresh").id
    stored, url = ask.authorise()
    assert client.send("PUT", url, content).status == 200
    created = ask.data(client.CREATE, filename=stored, modelId=slot, image=sandbox.state.get_image(image).id)
    sandbox.runs.wait()
    record = ask.pickle(created["id"])
    logs = ask.data("query($id: ID!) { triggerLogs(triggerId: $id) { message } }", id=record["triggers"][0]["id"])
    return record, [line["message"] for line in logs]


def read_last_description(record: Any) -> str:
    return str(record["triggers"][0]["statuses"][-1]["description"])


def test_a_good_pickle_passes_and_submits(sandbox: server.Sandbox, example_pickle: bytes) -> None:
    record, logs = run(sandbox, example_pickle)
    spoken = sandbox.state.words
    assert record["validationStatus"] == spoken.good, logs
    steps = [status["status"] for status in record["triggers"][0]["statuses"]]
    assert steps == [spoken.run_pending, spoken.run_running, spoken.run_good]
    python = stand_ins.get_default().python
    assert any(f"INFO:root:Running numerai-predict: - Python {python}" in line for line in logs)
    assert any("Saving predictions" in line for line in logs)
    assert sandbox.state.get_slot("fresh").latest_submission is not None


def test_a_pickle_for_another_python_kills_the_interpreter(sandbox: server.Sandbox, example_pickle: bytes) -> None:
    record, logs = run(sandbox, example_pickle, "numerai_predict_py_3_13")
    assert record["validationStatus"] == sandbox.state.words.bad
    assert read_last_description(record) == runs.SEGMENTATION_FAULT, logs
    assert any("INFO:root:Running numerai-predict: - Python 3.13" in line for line in logs)
    assert sandbox.state.get_slot("fresh").latest_submission is None


def test_a_file_that_is_not_a_pickle_fails_with_its_last_error(sandbox: server.Sandbox) -> None:
    record, logs = run(sandbox, b"not a pickle")
    assert record["validationStatus"] == sandbox.state.words.bad
    assert "Error" in read_last_description(record)
    assert read_last_description(record) in logs


@pytest.mark.parametrize(
    ("limits", "call", "message"),
    [
        (run_in_container.RunLimits(memory=256 << 20), Calls(eval, "b'x' * (1 << 30)"), "out of memory"),
        (run_in_container.RunLimits(seconds=1), Calls(time.sleep, 60), "out of time"),
    ],
    ids=["memory", "time"],
)
def test_the_limits_are_enforced(
    sandbox: server.Sandbox, limits: run_in_container.RunLimits, call: Calls, message: str
) -> None:
    assert isinstance(sandbox.runs.runner, run_in_container.ContainerRunner)
    sandbox.runs.runner = sandbox.runs.runner.with_limits(limits)
    record, _ = run(sandbox, pickle.dumps(call))
    assert record["validationStatus"] == sandbox.state.words.bad
    assert message in read_last_description(record)


def test_a_missing_image_fails_the_pickle_and_not_the_sandbox(sandbox: server.Sandbox) -> None:
    record, _ = run(sandbox, b"any", "numerai_predict_py_3_11")
    assert record["validationStatus"] == sandbox.state.words.bad
    assert "could not be run" in read_last_description(record)


def test_stopping_the_sandbox_stops_its_runs(sandbox: server.Sandbox) -> None:
    """The run would take an hour; the fixture asserts that no container is left."""
    ask, slot = client.Client(sandbox), sandbox.state.get_slot("fresh").id
    stored, url = ask.authorise()
    client.send("PUT", url, pickle.dumps(Calls(time.sleep, 3600)))
    created = ask.data(client.CREATE, filename=stored, modelId=slot)
    spoken = sandbox.state.words
    assert ask.pickle(created["id"])["validationStatus"] in {spoken.pending, spoken.running}


def test_the_command_runs_until_it_is_interrupted_and_leaves_nothing(tmp_path: Path) -> None:
    settings = tmp_path / "sandbox.env"
    process = subprocess.Popen(
        [sys.executable, "-m", "builder", "sandbox", "--env-file", str(settings)],
        cwd=clones.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while not settings.exists():
            assert process.poll() is None
            time.sleep(0.1)
        text = settings.read_text()
        assert settings.stat().st_mode & 0o777 == 0o600
        variables = dict(line.removeprefix("export ").split("=", 1) for line in text.splitlines())
        token = {"NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"}
        assert set(variables) == {"NUMERAI_API_URL", "NUMERAI_REGISTRY", "NUMERAI_LOCK_FILE", *token}
        pins = Path(variables["NUMERAI_LOCK_FILE"])
        assert pins.parent.is_dir()
        query = b'{"query": "{ computePickleDockerImages { image tag default } }"}'
        answer = client.send("POST", variables["NUMERAI_API_URL"], query).json()
        [default] = [image for image in answer["data"]["computePickleDockerImages"] if image["default"]]
        host, _, folder = variables["NUMERAI_REGISTRY"].partition("/")
        manifest = client.send("GET", f"http://{host}/v2/{folder}/{default['image']}/manifests/{default['tag']}")
        assert manifest.status == 200
    finally:
        process.terminate()
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert printed == ""
    assert not settings.exists()
    assert not pins.parent.exists()
    with registry.connect_engine() as api:
        assert not [tag for image in api.images() for tag in image["RepoTags"] or () if tag.startswith(f"{host}/")]
