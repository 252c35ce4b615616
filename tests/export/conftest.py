"""Fixtures for the tests of exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import threadpoolctl

from builder.export import frameworks

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Limit training to one thread: for small models, starting more takes longer than training."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def numbers_only() -> Iterator[None]:
    """Let an export fail if the model cannot be written as numbers, instead of storing it, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frameworks, "find_storing", lambda _framework: None)
        yield
