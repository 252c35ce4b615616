"""The engine of this machine. A missing one fails the tests: to skip them would say that all is well.

The cache folder stays the user's own, so that look-alikes that are there are found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.engine import docker_engine, run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.register_assert_rewrite("tests.support.engine_cases")


@pytest.fixture(scope="session")
def engine() -> docker_engine.DockerEngine:
    """The engine that DOCKER_HOST, or docker's own context, names."""
    return docker_engine.connect()


@pytest.fixture
def run_id(engine: docker_engine.DockerEngine) -> Iterator[str]:
    """A run: what carries its id is gone after the test."""
    with run.start(engine) as identity:
        yield identity
