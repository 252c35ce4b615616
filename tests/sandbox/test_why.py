"""``why``: a pickle that failed at the sandbox is run again locally, in its image; needs an engine."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from builder.cli import engine_session
from builder.sandbox import live, run_in_container, runs, server
from tests.sandbox import client
from tests.support import command, pickles, runner_logs, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEWER = "numerai_predict_py_3_13"


@pytest.fixture(scope="module")
def data() -> Iterator[live.LiveData]:
    with live.LiveData(rows=300) as live_data:
        yield live_data


@pytest.fixture
def judge(stand_in_registry: str, data: live.LiveData) -> run_in_container.ContainerRunner:
    return run_in_container.ContainerRunner(registry=stand_in_registry, data=data)


@pytest.fixture
def why(
    sandbox: server.Sandbox,
    stand_in_registry: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, Any]]:
    monkeypatch.delenv("NUMERAI_MCP_AUTH", raising=False)
    settings = {
        **sandbox.create_environment(),
        "NUMERAI_REGISTRY": stand_in_registry,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, Any]:
        code = command.call("why", *arguments, "--json")
        out, err = capsys.readouterr()
        assert "Traceback" not in err  # standard output may show the model's traceback
        assert out, err
        return code, json.loads(out)

    return run


def upload(sandbox: server.Sandbox, content: bytes, image: str = "numerai_predict_py_3_12") -> str:
    """Upload a pickle, register it for an image and wait; return its id."""
    ask = client.Client(sandbox)
    stored, url = ask.authorise()
    assert client.send("PUT", url, content).status == 200
    image_id, slot = sandbox.state.get_image(image).id, sandbox.state.get_slot("fresh").id
    created = ask.data(client.CREATE, filename=stored, modelId=slot, image=image_id)
    sandbox.runs.wait()
    return str(created["id"])


def test_a_pickle_for_another_python_crashes_locally_too(
    why: Callable[..., Any],
    sandbox: server.Sandbox,
    example_pickle: bytes,
    judge: run_in_container.ContainerRunner,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sandbox.runs.runner = judge
    identity = upload(sandbox, example_pickle, NEWER)
    code, answer = why("fresh")
    assert (code, answer["failed"], answer["pickle"]) == (1, True, identity)
    assert answer["there"]["descriptions"] == [runs.SEGMENTATION_FAULT]
    assert any("INFO:root:Running numerai-predict: - Python 3.13" in line for line in answer["there"]["log"])
    assert (answer["here"]["ran"], answer["here"]["good"], answer["here"]["image"]["kind"]) == (True, False, "exact")
    assert "the pickle was built for Python 3.12, but the image has Python 3.13" in answer["cause"]
    assert answer["reading"]["pythons"] == ["3.12"]
    assert "reproduced here" in answer["cause"]
    assert "builder pickle CONFIG`" in answer["fix"]
    assert command.call("why", identity) == 1
    out, _ = command.read_output(capsys)
    assert [line.partition(":")[0] for line in out.splitlines()[-2:]] == ["cause", "fix"]


@pytest.mark.parametrize(
    "debug", ["", runner_logs.make_traceback("TypeError: unsupported operand")], ids=["plain", "debug"]
)
@pytest.mark.parametrize("description", ["Model failed", "-" * 80, "exit code 1"])
def test_the_cause_is_read_from_the_tournaments_log(
    why: Callable[..., Any], sandbox: server.Sandbox, capsys: pytest.CaptureFixture[str], description: str, debug: str
) -> None:
    log = runner_logs.make_refusal("Pickle function is invalid - unsupported operand", debug) + runner_logs.PRINTED
    sandbox.runs.runner = runs.ScriptedRunner.failing(description, *log.splitlines())
    upload(sandbox, b"never loaded")
    code, answer = why("fresh", "--no-run")
    assert code == 1
    assert answer["cause"].endswith("unsupported operand")
    assert answer["fix"]
    assert command.call("why", "fresh", "--no-run") == 1
    out = capsys.readouterr().out  # a traceback of the model's is shown
    assert "log: ERROR:root:Pickle function is invalid" in out
    assert "this line is help too" not in out


def test_a_pickle_that_fails_there_fails_locally_for_the_same_reason(
    why: Callable[..., Any], sandbox: server.Sandbox, judge: run_in_container.ContainerRunner
) -> None:
    sandbox.runs.runner = judge
    upload(sandbox, pickle.dumps(pickles.Calls(eval, "lambda f: f.iloc[:, 2:3] * float('nan')")))
    code, answer = why("fresh")
    assert (code, answer["here"]["ran"], answer["here"]["good"]) == (1, True, False)
    assert answer["there"]["descriptions"] == ["ERROR:root:Pickle function returned at least 1 NaN prediction"]
    assert answer["cause"] == "the function returned NaN in its predictions (reproduced here)"
    assert "fill missing values" in answer["fix"]


def test_a_pickle_that_runs_locally_is_reported_with_the_tournaments_reason(
    why: Callable[..., Any], sandbox: server.Sandbox, example_pickle: bytes
) -> None:
    sandbox.runs.runner = runs.ScriptedRunner.failing("something strange")
    upload(sandbox, example_pickle)
    code, answer = why("fresh")
    assert (code, answer["here"]["good"]) == (1, True)
    assert {check["good"] for check in answer["here"]["checks"]} == {True}
    assert "something strange" in answer["cause"]
    assert "here it runs in its image" in answer["cause"]
    assert "trigger" in answer["fix"]


def test_live_data_can_be_passed(why: Callable[..., Any], sandbox: server.Sandbox, example_pickle: bytes) -> None:
    sandbox.runs.runner = runs.ScriptedRunner.failing("something strange")
    upload(sandbox, example_pickle)
    _, answer = why("fresh", "--live", str(sandbox.publish_datasets()["v5.3/live.parquet"]))
    assert (answer["here"]["ran"], answer["here"]["good"]) == (True, True)
    assert sandbox.requests.count("dataset") == 0


def test_an_unavailable_image_leaves_the_tournaments_reason(
    why: Callable[..., Any], sandbox: server.Sandbox, example_pickle: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.runs.runner = runs.ScriptedRunner.failing(runs.SEGMENTATION_FAULT)
    upload(sandbox, example_pickle, "numerai_predict_py_3_11")
    code, answer = why("fresh")
    assert (code, answer["here"]["ran"]) == (1, False)
    assert "numerai_predict_py_3_11:a78dedd" in answer["here"]["reason"]
    assert answer["cause"] == "the pickle was made by Python 3.12, but the image has Python 3.11 (read here, not run)"


@words.each_vocabulary
def test_a_failure_older_than_the_slots_pickle_is_ignored(why: Callable[..., Any], sandbox: server.Sandbox) -> None:
    old, slot = sandbox.state.pickles[upload(sandbox, b"never loaded")], sandbox.state.get_slot("fresh")
    old.status = sandbox.state.words.bad
    new = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "newer.pkl")
    slot.pickle_id = new.id
    new.inserted_at = old.inserted_at - dt.timedelta(hours=1)
    assert why("fresh", "--no-run")[1]["pickle"] == old.id
    new.inserted_at = old.inserted_at + dt.timedelta(hours=1)
    code, answer = why("fresh", "--no-run")
    assert (code, answer["failed"]) == (0, False)


@words.each_vocabulary
def test_nothing_is_run_with_no_run_or_without_a_failure(
    why: Callable[..., Any], sandbox: server.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_session, "connect", lambda *_, **__: pytest.fail("asked for an engine"))
    record = sandbox.state.pickles[upload(sandbox, b"never loaded")]
    reason = f"no pickle; a validated pickle is waiting: {record.filename}"
    assert why("fresh") == (0, {"format": 1, "failed": False, "name": "fresh", "reason": reason})
    sandbox.runs.runner = runs.ScriptedRunner.failing("The model ran out of memory")
    upload(sandbox, b"never loaded")
    code, answer = why("fresh", "--no-run")
    assert (code, answer["here"]["ran"], sandbox.requests.count("GET")) == (1, False, 0)
    assert "out of memory" in answer["cause"]
