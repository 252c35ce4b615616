"""Pulling, where nothing can be pulled: a registry that is not there, and one that never answers."""

from __future__ import annotations

import socket

import pytest

from builder import errors, progress
from builder.engine import docker_engine
from builder.engine import protocol as engine


def pull(on: docker_engine.DockerEngine, reference: str) -> None:
    on.pull(reference, platform=engine.PLATFORM, seconds=2, progress=progress.Silent())


def test_a_registry_that_refuses_is_an_error_with_its_words(engine: docker_engine.DockerEngine) -> None:
    with pytest.raises(errors.EngineError, match=r"could not pull 127\.0\.0\.1:9/numerai/predict:1: .*refused"):
        pull(engine, "127.0.0.1:9/numerai/predict:1")


def test_a_registry_that_never_answers_does_not_hold_a_build(engine: docker_engine.DockerEngine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reference = f"127.0.0.1:{silent.getsockname()[1]}/numerai/predict:1"
        with pytest.raises(errors.EngineError, match=f"{reference}: its registry sent no data for 2 seconds"):
            pull(engine, reference)


def test_the_engine_is_still_there_afterwards(engine: docker_engine.DockerEngine) -> None:
    assert engine.get_facts().platform == "linux/amd64"


def test_the_room_on_the_disk_of_an_engine_of_this_machine_is_known(engine: docker_engine.DockerEngine) -> None:
    free = engine.get_free_disk()
    assert free is not None
    assert 0 < free < 1 << 60
