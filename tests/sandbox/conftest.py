"""Fixtures: a sandbox for each test, and a client for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder import progress
from builder.engine import docker_engine
from builder.image import stand_in
from builder.sandbox import live, registry, run_in_container, server
from builder.sandbox import state as sandbox_state
from tests.sandbox import client
from tests.support import clones, stand_ins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.sandbox.status_words import StatusWords


@pytest.fixture(scope="session")
def data() -> Iterator[live.LiveData]:
    """Live data with few rows."""
    with live.LiveData(rows=50) as data:
        yield data


@pytest.fixture(scope="session")
def stand_in_registry() -> Iterator[str]:
    """A registry with two stand-in images published as runner images, and without their stand-in labels."""
    with registry.start() as address:
        newer = stand_in.find_or_build(docker_engine.connect(), "3.13", progress.Silent())
        registry.publish(stand_ins.get_default().tag, f"{address}/numerai/numerai_predict_py_3_12:a78dedd")
        registry.publish(newer.tag, f"{address}/numerai/numerai_predict_py_3_13:03624a6")
        registry.remove_images_of(address)  # so that the tests pull them
        yield f"{address}/numerai"
        registry.remove_images_of(address)


@pytest.fixture(scope="session")
def example_pickle(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The example's pickle, built for the default image."""
    clone = clones.clone(tmp_path_factory.mktemp("clone"))
    result = clones.run_builder(clone, "pickle", "configs/mlp.yaml")
    assert result.returncode == 0, result.stderr
    return (clone / "dist" / "mlp" / "model.pkl").read_bytes()


@pytest.fixture
def sandbox(data: live.LiveData, words: StatusWords) -> Iterator[server.Sandbox]:
    """A sandbox whose runs pass at once."""
    with server.start(data=data, state=sandbox_state.create_default_state(words)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def large_data() -> Iterator[live.LiveData]:
    """Live data with enough rows for meaningful predictions."""
    with live.LiveData(rows=500) as data:
        yield data


@pytest.fixture
def container_sandbox(
    stand_in_registry: str, large_data: live.LiveData, words: StatusWords
) -> Iterator[server.Sandbox]:
    """A sandbox that runs registered pickles in containers; checks that none is left."""
    runner = run_in_container.ContainerRunner(registry=stand_in_registry, data=large_data)
    with server.start(runner=runner, data=large_data, state=sandbox_state.create_default_state(words)) as sandbox:
        yield sandbox
    with registry.connect_engine() as api:
        assert api.containers(all=True, filters={"label": runner.label}) == []
        assert not api.volumes(filters={"label": runner.label})["Volumes"]


@pytest.fixture
def ask(sandbox: server.Sandbox) -> client.Client:
    """A client of the sandbox, with the token that has all scopes."""
    return client.Client(sandbox)
