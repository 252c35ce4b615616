"""Run a benchmark script in the 3.12 stand-in image with one CPU and 4 GB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import progress
from builder.engine import docker_engine, run, tar_stream
from builder.engine import protocol as engine
from builder.image import stand_in

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKDIR = engine.WORKDIR
"""The folder in the container that files are copied to."""


def measure(script: str, plan: Mapping[str, Any], files: Mapping[str, bytes | Path], *, seconds: float = 600) -> Any:
    """Run a script from this folder in a container; return the JSON of its last line.

    Args:
        script: The script's file name.
        plan: The content of ``plan.json``, whose path is the script's argument.
        files: Files to copy to ``WORKDIR``, by name.
        seconds: Time limit.

    Raises:
        RuntimeError: The script failed.
    """
    # Copied, not mounted: the engine may run on another machine.
    contents: dict[str, bytes | Path] = {
        **files,
        script: Path(__file__).with_name(script),
        "plan.json": json.dumps(plan).encode(),
    }
    connection = docker_engine.connect()
    stand_in_image = stand_in.find_or_build(connection, "3.12", progress.Silent())
    limits = engine.ContainerLimits(cpus=1, memory=4 << 30)
    command = ("python", f"{WORKDIR}/{script}", f"{WORKDIR}/plan.json")
    tar = tar_stream.pack(tar_stream.TarEntry(name=name, content=content) for name, content in contents.items())
    image = stand_in_image.image.id
    with (
        run.start(connection) as identity,
        connection.create_volume(image, tar, run=identity) as volume,
        connection.create_container(
            image, command, run=identity, limits=limits, network=False, volume=volume
        ) as container,
    ):
        outcome = container.run(seconds)
        log = container.read_log()
    if outcome.code != 0:
        raise RuntimeError(f"{script} failed with exit code {outcome.code}: {log[-1500:]}")
    return json.loads(log.strip().splitlines()[-1])
