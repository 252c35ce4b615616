"""A command in a locked container, with files of the test's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.engine import protocol as engine
from builder.engine import tar_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.engine import docker_engine

# pandas 2.0.0, the oldest, calls what numpy 1.26 is about to drop.
STRICT = ("python", "-W", "error", "-W", "ignore:np.find_common_type:DeprecationWarning")


def run(
    on: docker_engine.DockerEngine,
    image: str,
    identity: str,
    files: Mapping[str, bytes],
    *command: str,
    cpus: float = 1,
) -> str:
    """Run a command in a locked container with these files; return what it printed."""
    limits = engine.ContainerLimits(cpus=cpus, memory=2 << 30)
    with on.create_container(image, command, run=identity, limits=limits, network=False) as container:
        container.put(
            tar_stream.pack(tar_stream.TarEntry(name=name, content=content) for name, content in files.items())
        )
        ended = container.run(300)
        said = container.read_log()
    assert ended.code == 0, said
    return said
