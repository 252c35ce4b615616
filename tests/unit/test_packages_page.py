"""The page of the images' packages is as its script writes it."""

from __future__ import annotations

import runpy

from builder import published_pins
from tests.support import clones


def test_the_page_is_as_the_script_writes_it() -> None:
    page = (clones.ROOT / "docs" / "packages.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(clones.ROOT / ".ci" / "write_packages.py"))
    assert page == script["render"](), "run: .venv/bin/python .ci/write_packages.py > docs/packages.md"
    version = published_pins.get_versions(published_pins.DEFAULT)["torchmetrics"]
    assert f" | {version} | " in page.partition("| torchmetrics | ")[2].partition("\n")[0]
