"""``engine``: find a container engine, or install and start one."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from builder.cli import engine_session, terminal
from builder.cli.parameters import Json, StartEngine
from builder.engine import install


def run(
    *,
    stop: Annotated[bool, Option("--stop", help="stop the engine that this tool started")] = False,
    yes: StartEngine = False,
    json_wanted: Json = False,
) -> int:
    """Find a container engine, or install and start one; with ``--stop``, stop the one that this tool started."""
    if stop:
        stopped = install.stop()
        terminal.print_lines(
            "stopped the engine that this tool started" if stopped else "this tool did not start an engine"
        )
        return 0
    with terminal.progress() as progress:
        facts = engine_session.connect(progress, yes=yes).get_facts()
    if json_wanted:
        terminal.print_json({"format": 1, "version": facts.version, "api": facts.api, "platform": facts.platform})
    else:
        terminal.print_lines(f"the engine is running: version {facts.version}, API {facts.api}, {facts.platform}")
    return 0
