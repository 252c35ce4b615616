"""`make lint` refuses the words and names of `.ci/words.yaml`, and only those."""

from __future__ import annotations

import runpy
from typing import Any

import pytest
import yaml

from tests.support import clones

FOLDER = clones.ROOT / ".ci"
CHECK = runpy.run_path(str(FOLDER / "check_words.py"))
RULES: dict[str, dict[str, str]] = yaml.safe_load((FOLDER / "words.yaml").read_text(encoding="utf-8"))


def find(text: str, *, python: bool = False) -> list[tuple[int, Any]]:
    return sorted(CHECK["find_problems"](text, RULES, python=python))


@pytest.mark.parametrize(
    "text",
    [
        "rows is no number",
        "7 will not do",
        "a whole number is needed",
        "it lacks a column",
        "mend it",
        "ask anew",
        "it is said twice",
        "_told = 1",
        "Nobody can say",
    ],
)
def test_a_word_of_the_list_is_found_with_its_line(text: str) -> None:
    [(line, problem)] = find(f"a line\n{text}\n")
    assert line == 2
    assert "; write: " in problem


@pytest.mark.parametrize(
    "text", ["there is no engine", "recommend", "blacks", "it is no longer there", "amend", "a needed value"]
)
def test_a_word_that_contains_a_listed_word_is_allowed(text: str) -> None:
    assert find(text) == []


@pytest.mark.parametrize(
    "code",
    ["def _made(): ...", "def read(on): ...", "said = 1", "class Wish: ...", "[place for place in ()]"],
)
def test_a_name_of_the_list_is_found_where_it_is_defined(code: str) -> None:
    [(line, problem)] = find(f"import os\n{code}\n", python=True)
    assert line == 2
    assert "the name" in problem
    assert find(f"x = {code.split(maxsplit=1)[0]!r}", python=True) == []
