"""Run a command in a locked container with files of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.engine import protocol, tar_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.engine import docker_engine

# pandas 2.0.0, the oldest version in an image, calls a function that numpy 1.26 has deprecated.
STRICT = ("python", "-W", "error", "-W", "ignore:np.find_common_type:DeprecationWarning")


def run(
    engine: docker_engine.DockerEngine,
    image: str,
    identity: str,
    files: Mapping[str, bytes],
    *command: str,
    cpus: float = 1,
) -> str:
    """Run a command in a locked container with these files, check that it ends with 0, and return its output."""
    limits = protocol.ContainerLimits(cpus=cpus, memory=2 << 30)
    tar = tar_stream.pack(tar_stream.TarEntry(name=name, content=content) for name, content in files.items())
    with (
        engine.create_volume(image, tar, run=identity) as volume,
        engine.create_container(image, command, run=identity, limits=limits, network=False, volume=volume) as container,
    ):
        container_exit = container.run(300)
        output = container.read_log()
    assert container_exit.code == 0, output
    return output
