"""A script of the benchmarks, run in the 3.11 look-alike on one CPU and 4 GB."""

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

BOX = engine.WORKDIR
"""The folder that the files come to."""


def measure(script: str, plan: Mapping[str, Any], files: Mapping[str, bytes | Path], *, seconds: float = 600) -> Any:
    """Return what a script beside this file printed last, as JSON.

    Args:
        script: Its name.
        plan: What it is told: ``plan.json``, its one argument.
        files: What it finds in ``BOX``, by name.
        seconds: It may take no longer.

    Raises:
        RuntimeError: it did not end well.
    """
    named: dict[str, bytes | Path] = {
        **files,
        script: Path(__file__).with_name(script),
        "plan.json": json.dumps(plan).encode(),
    }
    on = docker_engine.connect()
    look_alike = stand_in.find_or_build(on, "3.11", progress.Silent())
    limits = engine.ContainerLimits(cpus=1, memory=4 << 30)
    command = ("python", f"{BOX}/{script}", f"{BOX}/plan.json")
    with (
        run.start(on) as identity,
        on.create_container(look_alike.image.id, command, run=identity, limits=limits, network=False) as container,
    ):
        container.put(
            tar_stream.pack(tar_stream.TarEntry(name=name, content=content) for name, content in named.items())
        )
        ended = container.run(seconds)
        printed = container.read_log()
    if ended.code != 0:
        raise RuntimeError(f"the measurement ended with exit {ended.code}: {printed[-1500:]}")
    return json.loads(printed.strip().splitlines()[-1])
