"""``why`` rejects invalid options before it makes a request; needs no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.cli import engine_session
from builder.sandbox import runs, server
from tests.support import command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox import client


@pytest.fixture
def live(sandbox: server.Sandbox, ask: client.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Live data; ``fresh`` has a failed pickle for Python 3.12, and connecting to an engine fails the test."""
    monkeypatch.delenv("NUMERAI_MCP_AUTH", raising=False)
    for name, value in sandbox.create_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine_session, "connect", lambda *_, **__: pytest.fail("asked for an engine"))
    sandbox.runs.runner = runs.ScriptedRunner.failing("something strange")
    ask.upload("fresh", b"never loaded")
    return sandbox.publish_datasets()["v5.3/live.parquet"]


def why(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = command.call("why", "fresh", *arguments)
    return code, command.read_output(capsys)[1]


def test_files_that_are_missing_or_not_parquet(
    live: Path, sandbox: server.Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    before = len(list(sandbox.requests))
    for arguments, message in (
        (["--live", "nowhere.parquet"], "nowhere.parquet: is not a readable parquet file"),
        (["--live", "text.parquet"], "pass another one with --live"),
        (["--live", str(live), "--benchmarks", "nowhere.parquet"], "pass another one with --benchmarks"),
        (["--live", str(live), "--benchmarks", "text.parquet"], "text.parquet: is not a readable parquet file"),
        (["--live", str(live), "--benchmarks", "."], "pass another one with --benchmarks"),
        (["--benchmarks", str(live)], "--benchmarks requires --live FILE"),
        (
            ["--live", str(live), "--benchmarks", str(live)],
            "but expected one of benchmark predictions; pass live_benchmark_models.parquet with --benchmarks",
        ),
        (["--stand-in", "9.9"], "--stand-in: "),
    ):
        code, err = why(capsys, *arguments)
        assert (code, message in err) == (2, True), err
    assert len(list(sandbox.requests)) == before


def test_a_stand_in_of_another_python_is_refused(
    live: Path, sandbox: server.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    for python in ("3.13", "newest"):
        code, err = why(capsys, "--stand-in", python)
        assert code == 2
        assert f"--stand-in {python}: the pickle was registered for an image with Python 3.12" in err
        assert "pass --stand-in 3.12, or leave it out" in err
    assert sandbox.requests.count("GET") == 0
    for python in ("3.12", "full"):
        assert why(capsys, "--stand-in", python, "--no-run")[0] == 1
