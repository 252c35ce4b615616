"""Test the page that shows a validation: what it says, that it is closed in itself, and that it escapes its texts."""

from __future__ import annotations

import dataclasses
import html.parser
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder.validate import known_causes, rerun
from builder.validate import run as validate
from builder.validate.checks import Check
from builder.validate.page import compose, content
from builder.validate.reading import read
from tests.support import validations

GOOD = Check(name="entry point", good=True, detail="exit 0")
BAD = Check(name="finite", good=False, detail="3 values are not finite")
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
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
    text = Elements(validations.compose_page(validations.make_validation(tmp_path, [GOOD, BAD], log="last words"))).text
    positions = [text.index(word) for word in ("not valid", "What to fix", BAD.detail, "All checks", GOOD.detail)]
    assert positions == sorted(positions)
    assert "1 of 2 checks failed" in text
    assert "last words" in text


def test_a_good_result_has_plots_with_their_figures_in_words(tmp_path: Path) -> None:
    elements = Elements(validations.compose_page(validations.make_validation(tmp_path, [GOOD], log="last words")))
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
        page = validations.compose_page(dataclasses.replace(validation, evidence=evidence))
        assert Elements(page).tags.count("svg") == 1, "only the headroom"


def test_the_verdict_names_exemptions(tmp_path: Path) -> None:
    validation = validations.make_validation(tmp_path, [GOOD])
    task = dataclasses.replace(validation.task, exempt={"shuffle": f"ranks by first {HOSTILE}"})
    page = validations.compose_page(dataclasses.replace(validation, task=task)).decode()
    assert "<p>exempt from shuffle: ranks by first &lt;script&gt;" in page.partition("</header>")[0]


def test_the_verdict_names_an_image_of_the_sandbox(tmp_path: Path) -> None:
    validation = validations.make_validation(tmp_path, [BAD])
    for source, is_named in (("127.0.0.1:41/numerai/a:b", True), ("ghcr.io/numerai/a:b", False)):
        image = dataclasses.replace(validation.task.image, source=source)
        task = dataclasses.replace(validation.task, image=image)
        page = validations.compose_page(dataclasses.replace(validation, task=task)).decode()
        assert ("from a registry on this computer" in page) is is_named


def test_the_packages_that_the_pickle_imports_are_listed_with_those_of_the_image(tmp_path: Path) -> None:
    validation = validations.make_validation(tmp_path, [GOOD])
    packages = {"scipy": "1.15.3", "cloudpickle": "3.1.1"}
    page = validations.compose_page(
        dataclasses.replace(validation, task=dataclasses.replace(validation.task, packages=packages))
    )
    imports = Elements(page).text.partition("What the pickle imports")[2].partition("Pickle and image")[0].split("\n")
    assert [line for line in imports if line] == [
        "cloudpickle 3.1.1",
        "at load: cloudpickle.cloudpickle",
        "scipy 1.15.3",
        "at call: scipy.stats",
        "Python",
        "at call: os",
    ]


def test_the_pickle_that_the_slot_runs_now_is_compared_in_the_plot(tmp_path: Path) -> None:
    validation = validations.make_validation(tmp_path, [GOOD])
    slot = content.SlotComparison(name="my_slot", text="correlation 0.9", correlation=0.875)
    text = Elements(validations.compose_page(validation, slot)).text
    assert "with the pickle that the slot runs now; the strongest is 0.875, slot my_slot now" in text
    assert "my_slot: correlation 0.9" in text
    unknown = content.SlotComparison(name="my_slot", text="not compared: no image")
    text = Elements(validations.compose_page(validation, unknown)).text
    assert "my_slot: not compared: no image" in text
    assert "slot runs now" not in text


def test_the_page_of_any_pickle_has_one_cause_and_what_is_dangerous_first() -> None:
    content_of_pickle = b"cos\nsystem\n(S'echo'\ntRcmissing_<b>\nx\nC\xff" + bytes(255) + b"\x86."
    reading = read.read_buffer(content_of_pickle, image_python="3.12")
    cause = known_causes.Cause(text="a module `missing` <b>", fix="pickle it too")
    answer = content.PickleAnswer(
        path=Path(f"model{HOSTILE}.pkl"), reading=reading, result=None, reason="--no-run", cause=cause, is_good=False
    )
    page = compose.compose_check(answer)
    assert b"a module <code>missing</code> &lt;b&gt;" in page
    elements = Elements(page)
    words = ("it would fail", "pickle it too", "runs a command when it is loaded: os.system", "missing in the image")
    positions = [elements.text.index(word) for word in (*words, "missing_<b>", "tuple of 2")]
    assert positions == sorted(positions)
    assert "not run: --no-run" in elements.text
    assert not {"script", "svg"} & set(elements.tags)
    assert not CONTROL.search(page.decode())


def test_a_pickle_that_was_only_read_has_no_good_verdict(tmp_path: Path) -> None:
    reading = read.read(validations.PICKLE)
    answer = content.PickleAnswer(
        path=validations.PICKLE, reading=reading, result=None, reason="--no-run", cause=None, is_good=reading.is_good
    )
    elements = Elements(compose.compose_check(answer))
    assert "only a run in its image shows that it works" in elements.text
    assert "verdict note" in elements.attributes["class"]
    validation = validations.make_validation(tmp_path, [GOOD])
    task = rerun.RerunTask(
        pickle=validations.PICKLE,
        image=validation.task.image,
        python="3.12",
        built_on="3.12",
        live=validation.task.files.live,
        benchmarks=validation.task.files.benchmarks,
        limits=validation.task.limits,
    )
    evidence = dataclasses.replace(validation.evidence, golden=None)
    result = rerun.RerunResult(task=task, checks=(GOOD,), usage=validation.usage, log="", cause=None, evidence=evidence)
    elements = Elements(compose.compose_check(dataclasses.replace(answer, result=result)))
    assert "verdict good" in elements.attributes["class"]
    assert elements.tags.count("svg") == 4


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    elements = Elements(validations.compose_page(validations.make_validation(tmp_path, [GOOD, BAD])))
    assert not {"script", "link", "img", "iframe", "object"} & set(elements.tags)
    assert "src" not in elements.attributes
    assert all(value.startswith("#") for value in elements.attributes["href"])
    ids = elements.attributes["id"]
    assert len(ids) == len(set(ids))


def test_the_same_result_is_the_same_page(tmp_path: Path) -> None:
    pages = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pages.append(validations.compose_page(validations.make_validation(tmp_path / name, [GOOD])))
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
    page = validations.compose_page(validation)
    elements = Elements(page)
    assert "script" not in elements.tags
    assert "<script>alert(1)</script>" in elements.text
    assert not CONTROL.search(page.decode())
