"""Which tests may run beside one another: those of a shared engine do so one after the other, in their order."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
# What is pushed, pulled and removed by one of these is looked for by another.
GROUPS = {"engine": "engine", "system": "engine"}
# Of the sandbox's tests, those that run containers; the others only talk to a server of their own.
RUNNING = ("test_runner.py", "test_registry.py", "test_seat_why.py", "test_real.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each group in one process."""
    for item in items:
        suite = item.path.relative_to(TESTS).parts[0]
        group = "sandbox" if suite == "sandbox" and item.path.name in RUNNING else GROUPS.get(suite)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
