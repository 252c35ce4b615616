"""The Python blocks of each page in docs/ run, top to bottom, in an empty folder.

Those of the frameworks' pages are run by ``tests/system/test_newcomer.py``, which also builds and validates the pickle.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import clones, docs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "page", [page for page in docs.PAGES_WITH_PYTHON if page.stem not in docs.FRAMEWORKS], ids=lambda page: page.stem
)
def test_snippets_run(page: Path, tmp_path: Path) -> None:
    script, folder = tmp_path / "snippets.py", tmp_path / "empty"
    script.write_text(docs.extract_python(page), encoding="utf-8")
    folder.mkdir()
    result = clones.run(folder, sys.executable, str(script), PYTHONPATH=str(clones.ROOT))
    assert result.returncode == 0, f"{page.name}:\n{result.stderr[-3000:]}"


def test_each_framework_has_a_page() -> None:
    assert {page.stem for page in docs.PAGES_WITH_PYTHON} >= set(docs.FRAMEWORKS)


@pytest.mark.parametrize("page", [clones.ROOT / "README.md", *docs.PAGES], ids=lambda page: page.stem)
def test_linked_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
