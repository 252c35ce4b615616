"""``doctor`` against the sandbox: one line per check, exit code 1 if one has to be fixed; changes nothing."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder import errors
from builder.cli import engine_session
from builder.image import lockfile
from tests.support import command, words
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.sandbox import server

REF = "127.0.0.1:1/numerai/numerai_predict_py_3_12:a78dedd"  # no registry is there


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake_engine = FakeEngine(tmp_path / "engine")
    fake_engine.add_image(REF)
    fake_engine.free = 50 * 10**9
    monkeypatch.setattr(engine_session, "find", lambda: fake_engine)
    return fake_engine


@pytest.fixture
def look(
    sandbox: server.Sandbox,
    engine: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, dict[str, Any]]]:
    monkeypatch.delenv("NUMERAI_MCP_AUTH", raising=False)
    monkeypatch.setenv("NUMERAI_REGISTRY", "127.0.0.1:1/numerai")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(command.write_project(tmp_path / "project"))
    write("fresh")

    def run(token: str | None = "full") -> tuple[int, dict[str, Any]]:
        variables = sandbox.create_environment(token) if token else {"NUMERAI_API_URL": sandbox.api_url}
        for name in ("NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        code = command.call("doctor", "configs/small.yaml", "--json")
        out, err = command.read_output(capsys)
        assert not any(token.secret_key in out + err for token in sandbox.state.tokens)
        lines = {line["name"]: line for line in json.loads(out)["lines"]}
        assert (code == 1) is any(line["good"] is False for line in lines.values())
        assert all(line["fix"] for line in lines.values() if line["good"] is False)
        return code, lines

    return run


def write(model: str | None, ref: str = REF) -> None:
    text = command.CONFIG.replace("runner:1", ref) + (f"upload:\n  model: {model}\n" if model else "")
    Path("configs/small.yaml").write_text(text)


def wrong(lines: dict[str, Any]) -> set[str]:
    return {name for name, line in lines.items() if line["good"] is False}


def test_every_check_passes(
    look: Callable[..., Any], sandbox: server.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = look()
    assert (code, wrong(lines)) == (0, set())
    assert list(lines) == [
        *("engine", "disk", "memory", "platform", "config", "data", "image", "pin", "offered"),
        *("api", "token", "clock", "slot"),
    ]
    assert command.call("doctor", "configs/small.yaml") == 0
    verdict, *printed = command.read_output(capsys)[0].splitlines()
    assert verdict == "ready"
    assert [line.split()[1] for line in printed] == list(lines)
    assert {line.split()[0] for line in printed} == {"ok", "-"}


def test_the_summary_comes_first(
    look: Callable[..., Any],
    sandbox: server.Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("hooked")
    sandbox.state.clock_offset = dt.timedelta(minutes=-15)
    assert wrong(look()[1]) == {"clock", "slot"}
    for model, verdict in (("hooked", "2 things to fix"), ("fresh", "1 thing to fix")):
        write(model)
        assert command.call("doctor", "configs/small.yaml") == 1
        first, second, *_ = command.read_output(capsys)[0].splitlines()
        assert (first, second.split()[0]) == (verdict, "ok")
        assert command.call("doctor", "configs/small.yaml", "--json") == 1
        report = json.loads(command.read_output(capsys)[0])
        assert (report["verdict"], report["good"]) == (verdict, False)


def test_the_age_of_a_pin_uses_the_apis_clock(look: Callable[..., Any], sandbox: server.Sandbox) -> None:
    today = dt.datetime.now(dt.UTC).date()
    text = f'format: 1\nimages:\n  "{REF}":\n    digest: sha256:{"a" * 64}\n    pinned: "{today}"\n'
    Path(lockfile.NAME).write_text(text)
    assert "pinned today" in look()[1]["pin"]["text"]
    sandbox.state.clock_offset = dt.timedelta(days=100)
    assert "pinned 100 days ago" in look()[1]["pin"]["text"]


def test_no_token_a_revoked_one_and_one_without_the_scope(look: Callable[..., Any]) -> None:
    for token in (None, "revoked", "read only"):
        code, lines = look(token)
        assert (code, wrong(lines)) == (1, {"token"})
        assert lines["api"]["good"] is True


def test_the_data_version_is_checked_against_the_apis_list(look: Callable[..., Any], sandbox: server.Sandbox) -> None:
    config = Path("configs/small.yaml")
    text = config.read_text()
    expected = {
        "v5.3": (True, "v5.3 is offered"),
        "v5.2": (None, "data version v5.2 is older than the default, v5.3: train new models on v5.3"),
        "v6.0": (None, "data version v6.0 is experimental"),
        "v4.3": (False, "data version v4.3 is deprecated; offered: v5.3, v5.2, v6.0"),
        "v9.9": (False, "the tournament has no data version v9.9; offered: v5.3, v5.2, v6.0"),
    }
    for version, (good, message) in expected.items():
        config.write_text(f"{text}data_version: {version}\n")
        line = look()[1]["data"]
        assert (line["good"], line["text"]) == (good, message)
    sandbox.api_url = "http://127.0.0.1:1/"
    config.write_text(text)
    assert "data" not in look()[1]
    config.write_text(f"{text}data_version: v5.2\n")
    assert look()[1]["data"]["text"] == expected["v5.2"][1]


def test_no_engine(look: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise errors.EngineError("could not reach the container engine: socket not found; start it (`make engine`)")

    monkeypatch.setattr(engine_session, "find", refuse)
    _, lines = look()
    assert wrong(lines) == {"engine", "image"}
    assert "socket not found" in lines["engine"]["text"]
    assert lines["engine"]["fix"] == "make engine"


def test_no_api(look: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, sandbox: server.Sandbox) -> None:
    sandbox.api_url = "http://127.0.0.1:1/"
    _, lines = look()
    assert wrong(lines) == {"api"}
    assert "token" not in lines["slot"]["text"], "which is good, for all that is known"


def test_an_invalid_setting(look: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, sandbox: server.Sandbox) -> None:
    sandbox.api_url = "https://api-tournament.example/"
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authority.pem")
    _, lines = look()
    assert "api" in wrong(lines)
    assert "fix or unset SSL_CERT_FILE" in lines["api"]["text"]


def test_a_wrong_clock(look: Callable[..., Any], sandbox: server.Sandbox) -> None:
    sandbox.state.clock_offset = dt.timedelta(minutes=-15)
    _, lines = look()
    assert wrong(lines) == {"clock"}
    assert "ahead of" in lines["clock"]["text"]


@pytest.mark.parametrize(
    ("model", "is_wrong", "text"),
    [
        (None, False, "upload.model"),
        ("frsh", True, "did you mean fresh?"),
        ("hooked", True, "webhook"),
        ("old_one", True, "archived"),
        ("signals_one", True, "another tournament"),
        ("staked", False, "stake 12.5"),
    ],
)
def test_the_slot_of_the_config(look: Callable[..., Any], model: str | None, is_wrong: bool, text: str) -> None:  # noqa: FBT001
    write(model)
    _, lines = look()
    assert (wrong(lines), text in lines["slot"]["text"]) == ({"slot"} if is_wrong else set(), True)


@words.each_vocabulary
def test_a_failed_pickle_needs_a_fix_and_a_waiting_one_is_shown(
    look: Callable[..., Any], sandbox: server.Sandbox
) -> None:
    slot = sandbox.state.get_slot("fresh")
    waiting = sandbox.state.add_pickle(slot, "waiting.pkl")
    _, lines = look()
    assert (wrong(lines), lines["slot"]["good"]) == (set(), None)
    assert (
        f"a validated pickle is waiting: waiting.pkl: `python -m builder assign fresh {waiting.id}`"
        in (lines["slot"]["text"])
    )
    sandbox.state.add_pickle(slot, "failed.pkl", assign=True, passed=False)
    _, lines = look()
    assert (wrong(lines), lines["slot"]["fix"]) == ({"slot"}, "make why SLOT=fresh")
    assert sandbox.state.words.bad in lines["slot"]["text"]


def test_an_image_that_is_deprecated_and_not_available(look: Callable[..., Any], engine: FakeEngine) -> None:
    write("fresh", "127.0.0.1:1/numerai/numerai_predict_py_3_10:a78dedd")
    _, lines = look()
    assert wrong(lines) == {"image", "offered"}
    assert "deprecated" in lines["offered"]["text"]


def test_the_default_image_is_what_the_tournament_says(look: Callable[..., Any]) -> None:
    write("fresh", "default")
    _, lines = look()
    assert wrong(lines) == set()
    assert "numerai_predict_py_3_12:a78dedd" in lines["image"]["text"]


def test_an_invalid_config_is_a_line(look: Callable[..., Any]) -> None:
    write("fresh", "not an image!")
    _, lines = look()
    assert wrong(lines) == {"config"}


def test_an_invalid_lock_file_is_a_line_with_a_working_fix(look: Callable[..., Any]) -> None:
    Path(lockfile.NAME).write_text('format: 1\nimages:\n  "a/b:c": {digest: no, pinned: "2026-13-45"}\n')
    _, lines = look()
    assert wrong(lines) == {"pin"}
    assert lines["pin"]["fix"] == "fix or remove the file, then run `make pin`"
    Path(lockfile.NAME).unlink()
    assert wrong(look()[1]) == set()


def test_an_engine_that_stops_in_between_is_a_line(
    look: Callable[..., Any], engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: str) -> None:
        raise errors.EngineError("the engine is gone")

    monkeypatch.setattr(engine, "find_image", gone)
    _, lines = look()
    assert (lines["engine"]["good"], "the engine is gone" in lines["engine"]["text"]) == (False, True)
    assert {"token", "slot"} <= set(lines)


def test_nothing_is_changed(look: Callable[..., Any], sandbox: server.Sandbox, engine: FakeEngine) -> None:
    before = sorted(Path().rglob("*"))
    look()
    assert sorted(Path().rglob("*")) == before
    assert engine.asked == []
