"""A real engine, fresh copies of the repository, and the proof that nothing is left on the engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from builder.engine import docker_engine, run
from builder.engine import protocol as engine
from builder.sandbox import server
from tests.support import clones, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package", autouse=True)
def _cache(own_cache: None) -> None:
    """Use it everywhere here."""


@pytest.fixture(scope="session")
def on() -> docker_engine.DockerEngine:
    """The engine of this machine; a missing one fails the tests."""
    return docker_engine.connect()


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
def nothing_left(on: docker_engine.DockerEngine) -> Iterator[None]:
    """Whatever the test does, the engine has afterwards what it had before."""
    yield
    labels = [one.labels.get(engine.RUN_LABEL, "") for one in on.list_leftovers()]
    assert [label for label in labels if label.startswith(run.get_owner_id())] == []


@pytest.fixture(scope="module")
def tournament_environment(on: docker_engine.DockerEngine) -> Iterator[dict[str, str]]:
    """The environment of a user of the sandbox, whose registry has the default image, without the stand-in label."""
    with registry.start() as address, server.start() as sandbox:
        default = sandbox.state.get_image("numerai_predict_py_3_11")
        name = f"{address}/numerai/{default.image}:{default.tag}"
        by_digest = registry.publish(on, name, release=1)
        yield {**sandbox.environment(), "NUMERAI_REGISTRY": f"{address}/numerai"}
        for image in (name, by_digest):
            on.remove_image(image)
