"""The commands that messages suggest can be run as they are printed."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from builder import commands
from builder.cli import parser
from tests.support import clones
from tests.support.command import call, read_output


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Makefile and configs, as the working directory."""
    (tmp_path / "configs" / "more").mkdir(parents=True)
    (tmp_path / "Makefile").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_next_to_a_makefile_it_is_make_with_the_config(checkout: Path) -> None:
    (checkout / "configs" / "other.yaml").touch()
    for config in (Path("configs/other.yaml"), checkout / "configs" / "other.yaml", checkout / "dist" / "other"):
        assert commands.suggest("pickle", config) == "make pickle CONFIG=configs/other.yaml"
    (checkout / "configs" / "more" / "deep.yaml").touch()
    command = commands.suggest("upload", Path("dist/deep"), "--model=a b", "--dry-run")
    assert command == "make upload CONFIG=configs/more/deep.yaml 'MODEL=a b' DRY_RUN=1"
    assert commands.suggest("pickle", Path("configs/a $x.yaml")) == "make pickle 'CONFIG=configs/a $$x.yaml'"


def test_without_a_makefile_it_is_the_program_that_was_called(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = checkout / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = checkout / "configs" / "a b.yaml"
    command = commands.suggest("pickle", config, "--pull")
    assert command == f"python -m builder pickle {shlex.quote(str(config))} --pull"
    context = parser.load("pickle").make_context("pickle", shlex.split(command)[4:])
    assert (context.params["config"], context.params["pull"]) == (str(config), True)
    monkeypatch.setattr(sys, "argv", ["/somewhere/numerai-builder"])
    assert commands.suggest("pickle", config).startswith("numerai-builder pickle ")


def test_a_folder_without_a_config_gets_a_placeholder(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received = checkout / "dist" / "received"
    assert commands.suggest("upload", received, "--model=a") == "make upload CONFIG=... MODEL=a"
    assert commands.suggest_rebuild(received) == "get the folder again from where it came"
    assert commands.suggest_plain("init", "--bundle=BUNDLE") == "make init BUNDLE=..."
    (checkout / "configs" / "received.yaml").touch()
    assert commands.suggest_rebuild(received) == "run `make pickle CONFIG=configs/received.yaml` to build it again"
    elsewhere = checkout / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert commands.suggest("upload", None, "--model=a") == "python -m builder upload CONFIG --model=a"
    assert commands.suggest_plain("init", "--bundle=BUNDLE") == "python -m builder init --bundle=BUNDLE"
    assert commands.fill_in_config("run `make pickle CONFIG=...`", None) == "run `python -m builder pickle CONFIG`"


def test_make_is_suggested_for_its_targets_only(checkout: Path) -> None:
    assert commands.suggest_plain("status") == "make status"
    assert commands.suggest_plain("rollback", "my_slot", "--to=m4") == "make rollback MODEL=my_slot TO=m4"
    assert commands.suggest_plain("rollback", "SLOT") == "make rollback MODEL=..."
    assert commands.suggest_plain("why", "my_slot") == "make why SLOT=my_slot"
    assert commands.suggest_plain("logs", "my_slot") == "python -m builder logs my_slot"
    makefile = (clones.ROOT / "Makefile").read_text()
    targets = re.findall("^COMMANDS := (.*)", makefile, re.MULTILINE)[0].split()
    assert set(commands._TARGETS) == set(targets)
    for target, variable in commands._TARGETS.items():
        assert variable in ["", *re.findall(f"^TAKES.{target} := (.*)", makefile, re.MULTILINE)[0].split()]


@pytest.mark.parametrize("command", ["validate", "verify", "upload"])
def test_messages_contain_the_config_of_the_command(
    checkout: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "configs" / "bundles" / "other").mkdir(parents=True)
    (checkout / "configs" / "bundles" / "other" / "bundle.json").touch()
    (checkout / "configs" / "other.yaml").write_text("name: other\nimage: {ref: runner:1}\nbundle: bundles/other\n")
    assert call(command, "configs/other.yaml") == 2
    assert "run `make pickle CONFIG=configs/other.yaml` first" in read_output(capsys)[1]
