"""The tree of errors is as its docstring draws it, with the exit codes that README and DESIGN promise."""

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


def drawn() -> dict[str, tuple[int, str]]:
    """Return, of the drawing, each class's code and parent."""
    found, above = {}, ["BuilderError"]
    for branch, name, code in re.findall(r"^ {4}([│├└─ ]+)(\w+) +(\d+) ", errors.__doc__ or "", re.MULTILINE):
        above = [*above[: len(branch) // 4], name]
        found[name] = (int(code), above[-2])
    return found


def test_the_drawing_is_the_tree() -> None:
    assert drawn().keys() == CLASSES.keys() - {"BuilderError", "ProblemsError"}
    for name, (code, parent) in drawn().items():
        assert CLASSES[name].exit_code == code
        assert issubclass(CLASSES[name], CLASSES[parent])


def test_every_error_is_a_builder_error_and_says_what_it_is_for() -> None:
    made_there = [
        kind for kind in vars(errors).values() if inspect.isclass(kind) and kind.__module__ == errors.__name__
    ]
    assert sorted(kind.__name__ for kind in made_there) == sorted(CLASSES)
    assert all(inspect.getdoc(kind) for kind in made_there)


def test_no_error_is_taken_for_a_finding_or_success() -> None:
    codes = {kind.exit_code for kind in CLASSES.values()}
    assert codes == {2, 3, 4, 5, 70}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    promised = re.search(r"Exit codes: (.*?)\.\n", readme, re.DOTALL)
    assert promised is not None
    assert set(map(int, re.findall(r"\b\d+\b", promised[1]))) == codes | {0, 1, main.INTERRUPTED, main.PIPE_CLOSED}


@pytest.mark.parametrize("kind", [errors.ConfigError, errors.BundleError, errors.DataError])
def test_faults_are_told_together_a_line_each(kind: type[errors.ProblemsError]) -> None:
    error = kind(["first: wrong", "second: wrong"])
    assert error.faults == ("first: wrong", "second: wrong")
    assert str(error) == "first: wrong\nsecond: wrong"
