"""A command without CONFIG uses the only config of the project; with several, it lists them and exits with 2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builder.cli import engine_session
from tests.support.command import CONFIG, call, read_output

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_engine import FakeEngine

COMMANDS = ("pickle", "render", "validate", "verify", "upload", "rollback", "doctor")


def write_config(project: Path, name: str) -> None:
    path = project / "configs" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CONFIG.replace("name: small", f"name: {path.stem}"))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_only_config_is_used(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(engine_session, "find", lambda: engine)
    monkeypatch.setenv("NUMERAI_API_URL", "nowhere")  # makes doctor fail without a connection
    (project / "configs" / "small.yaml").write_text(CONFIG.replace("bundles/small", "bundles/none"))
    (project / "configs" / "bundles" / "settings.yaml").write_text("of: a bundle\n")
    write_config(project, ".ipynb_checkpoints/small-checkpoint")
    (project / "configs" / ".#small.yaml").symlink_to("somebody@this-computer")  # a lock file of Emacs
    expected = call(command, "configs/small.yaml"), *read_output(capsys)
    assert (call(command), *read_output(capsys)) == expected
    assert "configs/small.yaml:4: bundle: " in expected[1] + expected[2]


def test_it_may_be_in_a_subfolder(project: Path) -> None:
    (project / "configs" / "small.yaml").unlink()
    write_config(project, "mine/deep")
    (project / "configs" / "bundles").rename(project / "configs" / "mine" / "bundles")
    assert call("render") == 0
    assert (project / "dist" / "deep" / "Dockerfile").is_file()


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "doctor"])
def test_several_are_listed(project: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    for name in ("mlp", "examples/a", *(f"more/deep/c{number:02}" for number in range(10))):
        write_config(project, name)
    first = ", ".join(f"configs/{name}.yaml" for name in ("mlp", "small", "examples/a", "more/deep/c00"))
    assert call(command) == 2
    out, err = read_output(capsys)
    assert out == ""
    assert err.startswith(f"error: {project}/configs: contains 13 configs: {first}, ")
    end = ", or a slot (make: MODEL=...)" if command == "rollback" else ""
    assert err.endswith(f"configs/more/deep/c06.yaml and 3 more; pass the one to use (make: CONFIG=...){end}\n")
    assert not (project / "dist").exists()


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "doctor"])
def test_without_a_config_the_error_suggests_init(
    project: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (project / "configs" / "small.yaml").unlink()
    assert call(command) == 2
    assert f"{project}/configs: no config found; write one with `make init BUNDLE=...`" in read_output(capsys)[1]


def test_doctor_checks_the_rest_without_a_config(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_session, "find", lambda: engine)
    monkeypatch.setenv("NUMERAI_API_URL", "nowhere")
    (project / "configs" / "small.yaml").unlink()
    assert call("doctor", "--json") == 1
    lines = {line["name"]: line for line in json.loads(read_output(capsys)[0])["lines"]}
    assert lines["engine"]["good"] is True
    assert lines["config"]["good"] is None
    assert "`make init BUNDLE=...` writes one" in lines["config"]["text"]
    for name in ("one", "two"):
        write_config(project, name)
    assert call("doctor", "--json") == 1
    lines = {line["name"]: line for line in json.loads(read_output(capsys)[0])["lines"]}
    assert (lines["engine"]["good"], lines["config"]["good"]) == (True, None)
    assert "configs/one.yaml, configs/two.yaml; pass the one to use" in lines["config"]["text"]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_name_does_not_mean_the_only_config(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It may come from an unset variable of a script: ``upload --yes "$CONFIG"``."""
    monkeypatch.setattr(engine_session, "find", lambda: engine)
    monkeypatch.setenv("NUMERAI_API_URL", "nowhere")
    assert call(command, "") == (1 if command == "doctor" else 2)
    assert "small" not in "".join(read_output(capsys))
    assert not (project / "dist").exists()
