"""A sandbox for each test, and a plain way to ask it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import live, registry, runner, server
from builder.sandbox import state as sandbox_state
from tests.sandbox import client
from tests.support import clones

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.sandbox.status_words import StatusWords


@pytest.fixture(scope="session")
def data() -> Iterator[live.Live]:
    """Few rows of live data, made once."""
    with live.Live(rows=50) as built:
        yield built


@pytest.fixture(scope="session")
def look_alikes() -> Iterator[str]:
    """A registry with two look-alikes that nothing tells from what they look like; yields what it is called."""
    with registry.start() as address:
        for python, name in (("3.11", "numerai_predict_py_3_11:a78dedd"), ("3.13", "numerai_predict_py_3_13:03624a6")):
            done = clones.run_builder(clones.ROOT, "stand-in", "--python", python, "--json")
            assert done.returncode == 0, done.stderr
            registry.publish(json.loads(done.stdout)["tag"], f"{address}/numerai/{name}")
        registry.forget_all(address)  # so that they have to be pulled
        yield f"{address}/numerai"
        registry.forget_all(address)


@pytest.fixture(scope="session")
def example_pickle(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The example's pickle, made for Python 3.11."""
    clone = clones.clone(tmp_path_factory.mktemp("clone"))
    done = clones.run_builder(clone, "pickle", "configs/mlp.yaml")
    assert done.returncode == 0, done.stderr
    return (clone / "dist" / "mlp" / "model.pkl").read_bytes()


@pytest.fixture
def sandbox(data: live.Live, words: StatusWords) -> Iterator[server.Sandbox]:
    """A sandbox by which everything that was stored passes."""
    with server.start(data=data, state=sandbox_state.default_state(words)) as built:
        yield built


@pytest.fixture(scope="session")
def enough_data() -> Iterator[live.Live]:
    """Live data of so many rows that a run on it means something."""
    with live.Live(rows=500) as built:
        yield built


@pytest.fixture
def judging_sandbox(look_alikes: str, enough_data: live.Live, words: StatusWords) -> Iterator[server.Sandbox]:
    """A sandbox that really runs what is registered, and leaves nothing on the engine."""
    judge = runner.Runner(registry=look_alikes, data=enough_data)
    with server.start(judge=judge, data=enough_data, state=sandbox_state.default_state(words)) as built:
        yield built
    with registry.connect_engine() as api:
        assert api.containers(all=True, filters={"label": judge.label}) == []
        assert not api.volumes(filters={"label": judge.label})["Volumes"]


@pytest.fixture
def ask(sandbox: server.Sandbox) -> client.Client:
    """Who asks it, with the token of full scopes."""
    return client.Client(sandbox)
