"""A registered pickle is really run, in the image it was registered for; takes the engine."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from builder.sandbox import registry, runner, runs, server
from tests.sandbox import client
from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path


class Calls:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


@pytest.fixture
def sandbox(judging_sandbox: server.Sandbox) -> server.Sandbox:
    return judging_sandbox


def run(sandbox: server.Sandbox, content: bytes, image: str = "numerai_predict_py_3_11") -> tuple[Any, list[str]]:
    """Upload, register for an image, wait; returns the record and what the run printed."""
    ask, slot = client.Client(sandbox), sandbox.state.get_slot("fresh").id
    stored, url = ask.authorise()
    assert client.send("PUT", url, content).status == 200
    created = ask.data(client.CREATE, filename=stored, modelId=slot, image=sandbox.state.get_image(image).id)
    sandbox.runs.wait()
    actual = ask.pickle(created["id"])
    logs = ask.data("query($id: ID!) { triggerLogs(triggerId: $id) { message } }", id=actual["triggers"][0]["id"])
    return actual, [item["message"] for item in logs]


def last_description(actual: Any) -> str:
    return str(actual["triggers"][0]["statuses"][-1]["description"])


def test_a_good_pickle_passes_and_submits(sandbox: server.Sandbox, example_pickle: bytes) -> None:
    actual, logs = run(sandbox, example_pickle)
    spoken = sandbox.state.words
    assert actual["validationStatus"] == spoken.good, logs
    steps = [item["status"] for item in actual["triggers"][0]["statuses"]]
    assert steps == [spoken.run_pending, spoken.run_running, spoken.run_good]
    assert any("INFO:root:Running numerai-predict: - Python 3.11" in item for item in logs)
    assert any("Saving predictions" in item for item in logs)
    assert sandbox.state.get_slot("fresh").latest_submission is not None


def test_a_pickle_for_another_python_kills_the_interpreter(sandbox: server.Sandbox, example_pickle: bytes) -> None:
    actual, logs = run(sandbox, example_pickle, "numerai_predict_py_3_13")
    assert actual["validationStatus"] == sandbox.state.words.bad
    assert last_description(actual) == runs.SEGMENTATION_FAULT, logs
    assert any("INFO:root:Running numerai-predict: - Python 3.13" in item for item in logs)
    assert sandbox.state.get_slot("fresh").latest_submission is None


def test_what_is_no_pickle_fails_with_its_last_error(sandbox: server.Sandbox) -> None:
    actual, logs = run(sandbox, b"not a pickle")
    assert actual["validationStatus"] == sandbox.state.words.bad
    assert "Error" in last_description(actual)
    assert last_description(actual) in logs


@pytest.mark.parametrize(
    ("limits", "call", "message"),
    [
        (runner.Limits(memory=256 << 20), Calls(eval, "b'x' * (1 << 30)"), "out of memory"),
        (runner.Limits(seconds=1), Calls(time.sleep, 60), "out of time"),
    ],
    ids=["memory", "time"],
)
def test_the_limits_hold(sandbox: server.Sandbox, limits: runner.Limits, call: Calls, message: str) -> None:
    assert isinstance(sandbox.runs.judge, runner.Runner)
    sandbox.runs.judge = sandbox.runs.judge.limited(limits)
    actual, _ = run(sandbox, pickle.dumps(call))
    assert actual["validationStatus"] == sandbox.state.words.bad
    assert message in last_description(actual)


def test_an_image_that_is_not_there_fails_the_pickle_and_not_the_stand_in(sandbox: server.Sandbox) -> None:
    actual, _ = run(sandbox, b"any", "numerai_predict_py_3_12")
    assert actual["validationStatus"] == sandbox.state.words.bad
    assert "could not be run" in last_description(actual)


def test_the_end_of_the_stand_in_ends_what_is_running(sandbox: server.Sandbox) -> None:
    """The fixture looks that nothing is left; the run would take an hour."""
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
        named = dict(line.removeprefix("export ").split("=", 1) for line in text.splitlines())
        assert set(named) == {"NUMERAI_API_URL", "NUMERAI_REGISTRY", "NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"}
        query = b'{"query": "{ computePickleDockerImages { image tag default } }"}'
        answer = client.send("POST", named["NUMERAI_API_URL"], query).json()
        [default] = [item for item in answer["data"]["computePickleDockerImages"] if item["default"]]
        host, _, folder = named["NUMERAI_REGISTRY"].partition("/")
        manifest = client.send("GET", f"http://{host}/v2/{folder}/{default['image']}/manifests/{default['tag']}")
        assert manifest.status == 200
    finally:
        process.terminate()
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert printed == ""
    assert not settings.exists()
    with registry.connect_engine() as api:
        assert not [tag for item in api.images() for tag in item["RepoTags"] or () if tag.startswith(f"{host}/")]
