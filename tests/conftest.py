"""Which tests may run beside one another: those of a shared engine do so one after the other, in their order."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
# What is pushed, pulled and removed by one of these is looked for by another.
GROUPS = {"engine": "engine", "system": "engine", "sandbox": "sandbox"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each group in one process."""
    for item in items:
        group = GROUPS.get(item.path.relative_to(TESTS).parts[0])
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
