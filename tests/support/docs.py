"""List the pages of docs/, and extract the Python of a page as one script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted((clones.ROOT / "docs").rglob("*.md"))
PAGES_WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
FRAMEWORKS = ("custom", "ensembles", "lightgbm", "pytorch", "scikit-learn")


def extract_python(page: Path) -> str:
    """Return the page's Python blocks at the lines that they have in the page, so that tracebacks show these."""
    lines, is_python = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            is_python = line == "```python"
            lines.append("")
        else:
            lines.append(line if is_python else "")
    return "\n".join(lines)
