"""The pages of docs/, and the Python in them as one script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted((clones.ROOT / "docs").rglob("*.md"))
PAGES_WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
FRAMEWORKS = ("custom", "ensembles", "lightgbm", "pytorch", "scikit-learn")


def extract_python(page: Path) -> str:
    """Return the page's Python blocks, each on the lines that it has in the page, so that an error names them."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            lines.append("")
        else:
            lines.append(line if inside else "")
    return "\n".join(lines)
