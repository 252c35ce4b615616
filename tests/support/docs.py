"""README and the pages of docs/: their Python as one script, and their commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support import clones

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = clones.ROOT / "README.md"
PAGES = sorted((clones.ROOT / "docs").rglob("*.md"))
PAGES_WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
FRAMEWORKS = ("custom", "ensembles", "lightgbm", "predict-function", "pytorch", "scikit-learn")


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


def list_commands(page: Path, *, account: bool = False) -> list[str]:
    """Return the commands of the page's ``sh`` blocks without comments: those that need an account, or the others."""
    commands = []
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        if block.startswith("# needs an account\n") == account:
            commands += [line.split(" #")[0].strip() for line in block.splitlines() if not line.startswith("#")]
    return commands


def list_mentions(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the program and the arguments of each ``make`` and ``builder`` command in code, inline or in a block."""
    text = page.read_text(encoding="utf-8")
    fenced = "\n".join(re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).splitlines()
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for code in [*inline, *fenced]:
        match = re.match(r"(?:\$ )?(?:\S*python -m builder|numerai-builder|(make)) ([a-z-].*)", code.split(" #")[0])
        if match:
            yield match[1] or "builder", match[2].split()
