"""Test pulls from an absent registry and from one that never answers."""

from __future__ import annotations

import socket

import pytest

from builder import errors, progress
from builder.engine import docker_engine, protocol


def pull(engine: docker_engine.DockerEngine, reference: str) -> None:
    engine.pull(reference, platform=protocol.PLATFORM, seconds=2, progress=progress.Silent())


def test_an_absent_registry_is_an_error_with_its_reason(engine: docker_engine.DockerEngine) -> None:
    with pytest.raises(errors.EngineError, match=r"could not pull 127\.0\.0\.1:9/numerai/predict:1: .*refused"):
        pull(engine, "127.0.0.1:9/numerai/predict:1")


def test_a_registry_that_never_answers_is_an_error(engine: docker_engine.DockerEngine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reference = f"127.0.0.1:{silent.getsockname()[1]}/numerai/predict:1"
        with pytest.raises(errors.EngineError, match=f"{reference}: its registry sent no data for 2 seconds"):
            pull(engine, reference)


def test_the_engine_still_answers_afterwards(engine: docker_engine.DockerEngine) -> None:
    assert engine.get_facts().platform == "linux/amd64"


def test_the_free_disk_space_of_a_local_engine_is_known(engine: docker_engine.DockerEngine) -> None:
    free = engine.get_free_disk()
    assert free is not None
    assert 0 < free < 1 << 60
