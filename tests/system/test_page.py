"""Open the report of a validation in a real browser, at the widths of a phone and of a desk, in light and dark."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Literal

import pytest
from playwright import sync_api

from builder.validate.checks import Check
from tests.support import clones, validations
from tests.support.command import call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIDTHS = (390, 1280)
# The elements that reach over an edge of the window, and texts of plots that reach over an edge of theirs.
FIND_OVERFLOWING = """() => [...document.querySelectorAll("body *")].filter(element => {
    const box = element.getBoundingClientRect();
    const outer = element.closest("svg")?.getBoundingClientRect();
    const left = outer && element.tagName == "text" ? outer.left : 0;
    const right = outer && element.tagName == "text" ? outer.right : innerWidth;
    return box.width && (box.left < left - 1 || box.right > right + 1);
}).map(element => element.outerHTML.slice(0, 200))"""
GET_COLORS = "() => [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_api.sync_playwright() as playwright:
        # Its sandbox needs namespaces, which root does not have in a container; the page is our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def look_at(browser: sync_api.Browser, path: Path, screenshots: Path) -> None:
    """Open a page in each width and colour scheme; assert that nothing overflows, and that dark is dark."""
    for width in WIDTHS:
        text, ground = measure_brightness(browser, path, screenshots, width=width, scheme="light")
        assert text < ground
        text, ground = measure_brightness(browser, path, screenshots, width=width, scheme="dark")
        assert text > ground


def measure_brightness(
    browser: sync_api.Browser, path: Path, screenshots: Path, *, width: int, scheme: Literal["light", "dark"]
) -> tuple[int, int]:
    """Open a page; return the brightness of its text and its ground."""
    requests: list[str] = []

    def record(request: sync_api.Request) -> None:
        requests.append(request.url)

    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.on("request", record)
    page.goto(path.as_uri())
    assert requests == [path.as_uri()]
    assert page.evaluate(FIND_OVERFLOWING) == []
    screenshot = page.screenshot(path=screenshots / f"{path.stem}-{width}-{scheme}.png", full_page=True)
    assert screenshot.startswith(b"\x89PNG")
    text, ground = (sum(map(int, color[4:-1].split(", "))) for color in page.evaluate(GET_COLORS))
    context.close()
    return text, ground


@pytest.mark.usefixtures("nothing_left")
def test_the_report_of_a_validation_fits_every_screen(browser: sync_api.Browser, clone: Path, tmp_path: Path) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    result = clones.run_builder(clone, "validate", "configs/mlp.yaml")
    report = clone / "dist" / "mlp" / "report.html"
    assert str(report) in result.stdout
    look_at(browser, report, tmp_path)


def test_the_page_of_any_pickle_fits_every_screen(browser: sync_api.Browser, tmp_path: Path) -> None:
    parts = [b"cno_such_" + b"m" * 250 + b"\nthing\n", b"cos\nsystem\n(S'echo'\ntR", b"C\xff" + bytes(255)]
    (tmp_path / "model.pkl").write_bytes(b"".join(parts) + b"\x87.")
    report = tmp_path / "report.html"
    assert call("check", "--no-run", str(tmp_path / "model.pkl"), "--report", str(report)) == 1
    look_at(browser, report, tmp_path)


def test_long_names_and_many_lines_do_not_overflow(browser: sync_api.Browser, tmp_path: Path) -> None:
    shown = [Check(name="n" * 300, good=False, detail="d" * 1_000), Check(name="x", good=None, detail="a b " * 200)]
    log = "\n".join(f"line {number} " + "l" * 400 for number in range(30))
    validation = validations.make_validation(tmp_path, shown, log=log, benchmark="b" * 300, eras=150)
    path = tmp_path / "report.html"
    path.write_bytes(validations.compose_page(validation))
    look_at(browser, path, tmp_path)
