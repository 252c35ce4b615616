"""Which tests may run beside one another: those of a shared engine do so one after the other, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Write down nowhere in this user's home what the slots of tests ran."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
