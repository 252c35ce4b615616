"""A real engine, fresh copies of the repository, and the proof that nothing is left on the engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from builder import engine
from tests.support import clones

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def on() -> engine.DockerEngine:
    """The engine of this machine; a missing one fails the tests."""
    return engine.connect()


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's real rows, fetched once."""
    folder = tmp_path_factory.mktemp("fetched") / "rows"
    done = clones.run(clones.ROOT, sys.executable, "-m", "configs.train.rows", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh copy of the repository."""
    return clones.clone(tmp_path / "clone")


@pytest.fixture
def nothing_left(on: engine.DockerEngine) -> Iterator[None]:
    """Whatever the test does, the engine has afterwards what it had before."""
    before = {(one.kind, one.id) for one in on.leftovers()}
    yield
    assert {(one.kind, one.id) for one in on.leftovers()} - before == set()
