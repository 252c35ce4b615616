"""Fixtures for tests with the engine of this machine; without an engine the tests fail instead of being skipped.

The user's cache folder is used, so that existing stand-in images are found.
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
    """The configured engine."""
    return docker_engine.connect()


@pytest.fixture
def run_id(engine: docker_engine.DockerEngine) -> Iterator[str]:
    """The id of a run, whose containers, images and volumes are removed after the test."""
    with run.start(engine) as identity:
        yield identity
