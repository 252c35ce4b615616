"""Every command that README and docs/ mention exists, with the options and variables that it is shown with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from builder.cli import parser
from tests.support import clones, docs

if TYPE_CHECKING:
    from pathlib import Path

MAKEFILE = (clones.ROOT / "Makefile").read_text(encoding="utf-8")
COMMANDS = set(parser.names())


@pytest.mark.parametrize("page", [docs.README, *docs.PAGES], ids=lambda page: page.stem)
def test_the_commands_of_a_page_exist_and_take_its_options(page: Path) -> None:
    for program, arguments in docs.list_mentions(page):
        if program == "make":
            assert re.search(rf"^{arguments[0]}:|^COMMANDS := .*\b{arguments[0]}\b", MAKEFILE, re.MULTILINE), arguments
            continue
        if arguments[0] in {"COMMAND", "--help", "--version", "--install-completion"}:
            continue
        name = " ".join(arguments[:2]) if arguments[0] == "bundle" else arguments[0]
        assert name in COMMANDS, arguments
        options = {option for parameter in parser.load(name).params for option in parameter.opts}
        mentioned = {argument.strip("[]").split("=")[0] for argument in arguments if re.match(r"\[?--[a-z]", argument)}
        assert mentioned <= options, arguments


def test_the_page_on_commands_lists_all_of_them() -> None:
    page = (clones.ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    listed = {
        name for row in re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE) for name in re.findall(r"`(\S+)`", row)
    }
    commands = {name.split()[0] for name in COMMANDS}
    assert {name for name in listed if name.islower()} == commands
    assert {name for name in COMMANDS if name.startswith("bundle ")} <= set(re.findall(r"`(bundle [a-z]+)`", page))
