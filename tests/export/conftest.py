"""What the tests of exports share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import threadpoolctl

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Train small models on one thread: starting more takes longer than they do."""
    with threadpoolctl.threadpool_limits(1):
        yield
