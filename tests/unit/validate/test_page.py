"""Test the page that shows a validation: what it says, that it is closed in itself, and that it escapes its texts."""

from __future__ import annotations

import dataclasses
import html.parser
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builder.validate import run as validate
from builder.validate.checks import Check
from builder.validate.page import compose
from tests.support import validations

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Check(name="entry point", good=True, detail="exit 0")
BAD = Check(name="finite", good=False, detail="3 values are not finite")
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e$x$ & \"'"


class Elements(html.parser.HTMLParser):
    """Collects the tags, the attributes and the text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_verdict_comes_first_and_a_failed_check_next(tmp_path: Path) -> None:
    text = Elements(compose.compose(validations.make_validation(tmp_path, [GOOD, BAD], log="last words"))).text
    positions = [text.index(word) for word in ("not valid", "What to fix", BAD.detail, "All checks", GOOD.detail)]
    assert positions == sorted(positions)
    assert "1 of 2 checks failed" in text
    assert "last words" in text


def test_a_good_result_has_plots_with_their_figures_in_words(tmp_path: Path) -> None:
    elements = Elements(compose.compose(validations.make_validation(tmp_path, [GOOD], log="last words")))
    assert elements.tags.count("svg") == len(elements.attributes["aria-label"]) == 5
    captions = " ".join(elements.attributes["aria-label"])
    for part in (
        "200 predictions from 0.0",
        "each of 3 eras",
        "v53_lgbm_ender20",
        "golden rows",
        "of memory (50.0% of ",
    ):
        assert part in captions
    assert "last words" not in elements.text  # only a failure needs the log


def test_golden_predictions_that_cannot_be_drawn_are_left_out(tmp_path: Path) -> None:
    validation = validations.make_validation(tmp_path, [BAD])
    expected = np.zeros(4)
    for other in (np.array([0, 1e308, -1e308, 0]), np.array([0, 0, 0, np.nan])):
        evidence = validate.Evidence(golden=(expected, other))
        page = compose.compose(dataclasses.replace(validation, evidence=evidence))
        assert Elements(page).tags.count("svg") == 1, "only the headroom"


def test_the_verdict_names_exemptions(tmp_path: Path) -> None:
    validation = validations.make_validation(tmp_path, [GOOD])
    task = dataclasses.replace(validation.task, exempt={"shuffle": f"ranks by first {HOSTILE}"})
    page = compose.compose(dataclasses.replace(validation, task=task)).decode()
    assert "<p>exempt from shuffle: ranks by first &lt;script&gt;" in page.partition("</header>")[0]


def test_the_verdict_names_an_image_of_the_sandbox(tmp_path: Path) -> None:
    validation = validations.make_validation(tmp_path, [BAD])
    for source, is_named in (("127.0.0.1:41/numerai/a:b", True), ("ghcr.io/numerai/a:b", False)):
        image = dataclasses.replace(validation.task.image, source=source)
        task = dataclasses.replace(validation.task, image=image)
        page = compose.compose(dataclasses.replace(validation, task=task)).decode()
        assert ("from a registry on this computer" in page) is is_named


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    elements = Elements(compose.compose(validations.make_validation(tmp_path, [GOOD, BAD])))
    assert not {"script", "link", "img", "iframe", "object"} & set(elements.tags)
    assert "src" not in elements.attributes
    assert all(value.startswith("#") for value in elements.attributes["href"])
    ids = elements.attributes["id"]
    assert len(ids) == len(set(ids))


def test_the_same_result_is_the_same_page(tmp_path: Path) -> None:
    pages = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pages.append(compose.compose(validations.make_validation(tmp_path / name, [GOOD])))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("field", ["name", "detail", "log", "benchmark"])
def test_what_a_container_or_a_file_says_cannot_change_the_page(tmp_path: Path, field: str) -> None:
    check = Check(name="x", good=False, detail="y")
    if field in {"name", "detail"}:
        check = Check(**{"name": "x", "good": False, "detail": "y", field: HOSTILE})  # type: ignore[arg-type]
        validation = validations.make_validation(tmp_path, [check])
    else:
        options: Any = {field: HOSTILE}
        validation = validations.make_validation(tmp_path, [check], **options)
    page = compose.compose(validation)
    elements = Elements(page)
    assert "script" not in elements.tags
    assert "<script>alert(1)</script>" in elements.text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page.decode())
