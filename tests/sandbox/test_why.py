"""``why``: a pickle that failed at the sandbox is run again here, in its image; takes the engine."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from builder.cli import engine_session
from builder.sandbox import live, runner, runs, server
from tests.sandbox import client
from tests.support import command, runner_logs, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NEWER = "numerai_predict_py_3_13"


@pytest.fixture(scope="module")
def data() -> Iterator[live.Live]:
    with live.Live(rows=300) as built:
        yield built


@pytest.fixture
def judge(look_alikes: str, data: live.Live) -> runner.Runner:
    return runner.Runner(registry=look_alikes, data=data)


@pytest.fixture
def why(
    sandbox: server.Sandbox,
    look_alikes: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, Any]]:
    monkeypatch.delenv("NUMERAI_MCP_AUTH", raising=False)
    settings = {**sandbox.environment(), "NUMERAI_REGISTRY": look_alikes, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, Any]:
        code = command.call("why", *arguments, "--json")
        out, err = capsys.readouterr()
        assert "Traceback" not in err  # in the output, the model's own may be shown
        assert out, err
        return code, json.loads(out)

    return run


def upload(sandbox: server.Sandbox, content: bytes, image: str = "numerai_predict_py_3_11") -> str:
    """Upload, register for an image and wait; returns the pickle's id."""
    ask = client.Client(sandbox)
    stored, url = ask.authorise()
    assert client.send("PUT", url, content).status == 200
    selected, slot = sandbox.state.get_image(image).id, sandbox.state.get_slot("fresh").id
    created = ask.data(client.CREATE, filename=stored, modelId=slot, image=selected)
    sandbox.runs.wait()
    return str(created["id"])


def test_a_pickle_for_another_python_is_seen_to_die_here_too(
    why: Callable[..., Any],
    sandbox: server.Sandbox,
    example_pickle: bytes,
    judge: runner.Runner,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sandbox.runs.judge = judge
    identity = upload(sandbox, example_pickle, NEWER)
    code, actual = why("fresh")
    assert (code, actual["failed"], actual["pickle"]) == (1, True, identity)
    assert actual["there"]["descriptions"] == [runs.SEGMENTATION_FAULT]
    assert any("INFO:root:Running numerai-predict: - Python 3.13" in line for line in actual["there"]["log"])
    assert (actual["here"]["ran"], actual["here"]["good"], actual["here"]["image"]["kind"]) == (True, False, "exact")
    assert "another Python or numpy, but the image has Python 3.13" in actual["cause"]
    assert "reproduced here" in actual["cause"]
    assert "builder pickle CONFIG`" in actual["fix"]
    assert command.call("why", identity) == 1
    out, _ = command.read_output(capsys)
    assert [line.partition(":")[0] for line in out.splitlines()[-2:]] == ["cause", "fix"]


@pytest.mark.parametrize(
    "debug", ["", runner_logs.make_traceback("TypeError: unsupported operand")], ids=["plain", "debug"]
)
@pytest.mark.parametrize("description", ["Model failed", "-" * 80, "exit code 1"])
def test_the_reason_is_read_from_the_log_of_the_tournament(
    why: Callable[..., Any], sandbox: server.Sandbox, capsys: pytest.CaptureFixture[str], description: str, debug: str
) -> None:
    log = runner_logs.make_refusal("Pickle function is invalid - unsupported operand", debug) + runner_logs.PRINTED
    sandbox.runs.judge = runs.Scripted.failing(description, *log.splitlines())
    upload(sandbox, b"never loaded")
    code, actual = why("fresh", "--no-run")
    assert code == 1
    assert actual["cause"].endswith("unsupported operand")
    assert actual["fix"]
    assert command.call("why", "fresh", "--no-run") == 1
    out = capsys.readouterr().out  # a traceback of the model's is shown
    assert "log: ERROR:root:Pickle function is invalid" in out
    assert "this line is help too" not in out


def test_a_pickle_that_is_refused_there_is_refused_here_for_the_same_reason(
    why: Callable[..., Any], sandbox: server.Sandbox, judge: runner.Runner
) -> None:
    sandbox.runs.judge = judge
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def predict(f):\n    return f.iloc[:, 2:3] * float('nan')\n", space)
    upload(sandbox, cloudpickle.dumps(space["predict"]))
    code, actual = why("fresh")
    assert (code, actual["here"]["ran"], actual["here"]["good"]) == (1, True, False)
    assert actual["there"]["descriptions"] == ["ERROR:root:Pickle function returned at least 1 NaN prediction"]
    assert actual["cause"] == "the function returned NaN in its predictions (reproduced here)"
    assert "fill missing values" in actual["fix"]


def test_a_pickle_that_runs_here_is_reported_with_the_tournaments_message(
    why: Callable[..., Any], sandbox: server.Sandbox, example_pickle: bytes
) -> None:
    sandbox.runs.judge = runs.Scripted.failing("something strange")
    upload(sandbox, example_pickle)
    code, actual = why("fresh")
    assert (code, actual["here"]["good"]) == (1, True)
    assert {check["good"] for check in actual["here"]["checks"]} == {True}
    assert "something strange" in actual["cause"]
    assert "here it runs in its image" in actual["cause"]
    assert "trigger" in actual["fix"]


def test_the_live_data_may_be_named(why: Callable[..., Any], sandbox: server.Sandbox, example_pickle: bytes) -> None:
    sandbox.runs.judge = runs.Scripted.failing("something strange")
    upload(sandbox, example_pickle)
    _, actual = why("fresh", "--live", str(sandbox.datasets()["v5.2/live.parquet"]))
    assert (actual["here"]["ran"], actual["here"]["good"]) == (True, True)
    assert sandbox.requests.count("dataset") == 0


def test_an_image_that_cannot_be_had_leaves_the_tournaments_words(
    why: Callable[..., Any], sandbox: server.Sandbox, example_pickle: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.runs.judge = runs.Scripted.failing(runs.SEGMENTATION_FAULT)
    upload(sandbox, example_pickle, "numerai_predict_py_3_12")
    code, actual = why("fresh")
    assert (code, actual["here"]["ran"]) == (1, False)
    assert "numerai_predict_py_3_12:a78dedd" in actual["here"]["reason"]
    assert "another Python or numpy" in actual["cause"]


@words.each_vocabulary
def test_what_failed_before_the_slot_ran_something_newer_is_no_fault(
    why: Callable[..., Any], sandbox: server.Sandbox
) -> None:
    old, slot = sandbox.state.pickles[upload(sandbox, b"never loaded")], sandbox.state.get_slot("fresh")
    old.status = sandbox.state.words.bad
    new = sandbox.state.add_pickle(sandbox.state.get_slot("running"), "newer.pkl")
    slot.pickle_id = new.id
    new.inserted_at = old.inserted_at - dt.timedelta(hours=1)
    assert why("fresh", "--no-run")[1]["pickle"] == old.id
    new.inserted_at = old.inserted_at + dt.timedelta(hours=1)
    code, actual = why("fresh", "--no-run")
    assert (code, actual["failed"]) == (0, False)


@words.each_vocabulary
def test_nothing_is_run_where_nothing_is_asked_for_or_nothing_failed(
    why: Callable[..., Any], sandbox: server.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_session, "connect", lambda *_, **__: pytest.fail("asked for an engine"))
    built = sandbox.state.pickles[upload(sandbox, b"never loaded")]
    reason = f"no pickle; a validated pickle is waiting: {built.filename}"
    assert why("fresh") == (0, {"format": 1, "failed": False, "name": "fresh", "reason": reason})
    sandbox.runs.judge = runs.Scripted.failing("The model ran out of memory")
    upload(sandbox, b"never loaded")
    code, actual = why("fresh", "--no-run")
    assert (code, actual["here"]["ran"], sandbox.requests.count("GET")) == (1, False, 0)
    assert "out of memory" in actual["cause"]
