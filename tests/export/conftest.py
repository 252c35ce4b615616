"""Fixtures for the tests of exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import threadpoolctl

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Limit training to one thread: for small models, starting more takes longer than training."""
    with threadpoolctl.threadpool_limits(1):
        yield
