"""Every page of docs/ runs as it is printed: its Python blocks, top to bottom, in an empty folder.

Those of the frameworks are run by ``tests/system/test_newcomer.py``, which goes on to a valid pickle.
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
def test_its_snippets_run(page: Path, tmp_path: Path) -> None:
    script, folder = tmp_path / "snippets.py", tmp_path / "empty"
    script.write_text(docs.extract_python(page), encoding="utf-8")
    folder.mkdir()
    done = clones.run(folder, sys.executable, str(script), PYTHONPATH=str(clones.ROOT))
    assert done.returncode == 0, f"{page.name}:\n{done.stderr[-3000:]}"


def test_there_is_a_page_for_each_framework() -> None:
    assert {page.stem for page in docs.PAGES_WITH_PYTHON} >= set(docs.FRAMEWORKS)


@pytest.mark.parametrize("page", [clones.ROOT / "README.md", *docs.PAGES], ids=lambda page: page.stem)
def test_what_it_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
