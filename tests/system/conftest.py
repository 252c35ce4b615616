"""Fixtures: a real engine, fresh copies of the repository, and a check that nothing is left on the engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from builder.engine import docker_engine, protocol, run
from builder.sandbox import server
from tests.support import clones, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package", autouse=True)
def _cache(own_cache: None) -> None:
    """Use it everywhere here."""


@pytest.fixture(scope="session")
def engine() -> docker_engine.DockerEngine:
    """The engine of this machine; the tests fail if there is none."""
    return docker_engine.connect()


@pytest.fixture(scope="session")
def rows_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example's real rows, fetched once."""
    folder = tmp_path_factory.mktemp("fetched") / "rows"
    result = clones.run(clones.ROOT, sys.executable, "-m", "configs.train.rows", "--out", str(folder))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh copy of the repository."""
    return clones.clone(tmp_path / "clone")


@pytest.fixture
def nothing_left(engine: docker_engine.DockerEngine) -> Iterator[None]:
    """Check after the test that no container or image of a run is left on the engine."""
    yield
    labels = [leftover.labels.get(protocol.RUN_LABEL, "") for leftover in engine.list_leftovers()]
    assert [label for label in labels if label.startswith(run.get_owner_id())] == []


@pytest.fixture(scope="module")
def tournament_environment(engine: docker_engine.DockerEngine) -> Iterator[dict[str, str]]:
    """The environment of a user of the sandbox, whose registry has the default image, without the stand-in label."""
    with registry.start() as address, server.start() as sandbox:
        # Not the image of configs/mlp.yaml: a page builds that by hand, and `docker build` knows no NUMERAI_REGISTRY.
        sandbox.state.set_default_image("numerai_predict_py_3_11")
        default = next(image for image in sandbox.state.images if image.default)
        name = f"{address}/numerai/{default.image}:{default.tag}"
        by_digest = registry.publish(engine, name, release=1)
        yield {**sandbox.create_environment(), "NUMERAI_REGISTRY": f"{address}/numerai"}
        for image in (name, by_digest):
            engine.remove_image(image)
