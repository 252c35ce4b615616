"""The error classes match the docstring's tree and the documented exit codes, and find_fix() finds instructions."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from builder import errors
from builder.cli import main

ROOT = Path(__file__).resolve().parents[2]
CLASSES: dict[str, type[errors.BuilderError]] = {
    name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.BuilderError)
}


def parse_tree() -> dict[str, tuple[int, str]]:
    """Return the exit code and the parent of each class in the docstring's tree."""
    classes, parents = {}, ["BuilderError"]
    for branch, name, code in re.findall(r"^ {4}([│├└─ ]+)(\w+) +(\d+) ", errors.__doc__ or "", re.MULTILINE):
        parents = [*parents[: len(branch) // 4], name]
        classes[name] = (int(code), parents[-2])
    return classes


def test_the_docstring_has_the_tree_of_classes() -> None:
    assert parse_tree().keys() == CLASSES.keys() - {"BuilderError", "ProblemsError"}
    for name, (code, parent) in parse_tree().items():
        assert CLASSES[name].exit_code == code
        assert issubclass(CLASSES[name], CLASSES[parent])


def test_every_error_is_a_builder_error_with_a_docstring() -> None:
    classes = [kind for kind in vars(errors).values() if inspect.isclass(kind) and kind.__module__ == errors.__name__]
    assert sorted(kind.__name__ for kind in classes) == sorted(CLASSES)
    assert all(inspect.getdoc(kind) for kind in classes)


def test_no_exit_code_is_that_of_a_finding_or_success() -> None:
    codes = {kind.exit_code for kind in CLASSES.values()}
    assert codes == {2, 3, 4, 5, 70}
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    documented = re.search(r"Exit codes: (.*?)\.\n", page, re.DOTALL)
    assert documented is not None
    assert set(map(int, re.findall(r"\b\d+\b", documented[1]))) == codes | {0, 1, main.INTERRUPTED, main.PIPE_CLOSED}


@pytest.mark.parametrize("kind", [errors.ConfigError, errors.BundleError, errors.DataError])
def test_problems_are_reported_together_one_per_line(kind: type[errors.ProblemsError]) -> None:
    error = kind(["first: wrong", "second: wrong"])
    assert error.problems == ("first: wrong", "second: wrong")
    assert str(error) == "first: wrong\nsecond: wrong"


@pytest.mark.parametrize(
    "marked",
    [
        "no lock file, and LOCKED=1 allows nothing else; <run `make pickle`, then commit it>",
        "X in .env: the secret key is invalid (length 5; expected 6 to 200): <copy it again, without quotes>",
        "the tournament names no default; <name one: `python -m builder images` lists them>",
        "slot: has no pickle; <name another; or remove it (`x; y`)>",
        "it arrived changed: <run it again>; if it stays so, the disk is failing",
        "mmdebstrap failed: <repair what its log says, then run this again>; /tmp/log ends:\nE: no space; x",
        "could not pull it: no route\n<Pull it by hand where there is a network (`docker pull`)>",
        "error: it failed; <look at it>\ninterrupted\nslot runs what it ran",
        "export: load uses `x`; <write it to a file>",
        "m.yaml:3: this key has no value; <indent the lines below it>",
        "m.yaml: the quotes never end; <close them>",
        "m.yaml:1: byte 3 is not UTF-8; <save the file as UTF-8>",
        "`default` is not pinned",
        "not confirmed; nothing was changed",
    ],
)
def test_the_fix_is_the_instruction_in_the_message(marked: str) -> None:
    fix = re.search("<(.*)>", marked)
    assert errors.BuilderError(re.sub("[<>]", "", marked)).fix == (fix[1] if fix else "")


def test_several_problems_have_the_fixes_of_all() -> None:
    problems = ["a.yaml:1: x; remove it", "a.yaml:2: y; remove it", "a.yaml:3: z: is odd", "a.yaml:4: w; quote it"]
    assert errors.ConfigError(problems).fix == "remove it\nquote it"


def test_dots_in_a_command_do_not_end_an_instruction() -> None:
    text = "hooked: runs no pickle; upload one: `make upload CONFIG=... MODEL=hooked`"
    assert errors.find_fix(text) == "upload one: `make upload CONFIG=... MODEL=hooked`"
