"""``render``: write the Dockerfile of a config and its context."""

from __future__ import annotations

from pathlib import Path

from builder.build import artifact, pipeline
from builder.cli import terminal
from builder.cli.parameters import Config, Json, Locked
from builder.config import model, project


def run(*, config: Config = None, locked: Locked = False, json_wanted: Json = False) -> int:
    """Write the Dockerfile and its context; takes no engine."""
    with terminal.progress() as progress:
        source = pipeline.resolve_source(
            model.load(Path(project.choose_config(config))), locked=locked, progress=progress
        )
        rendering = pipeline.render(source, progress)
    dockerfile, context = rendering.folder / artifact.DOCKERFILE, rendering.folder / artifact.CONTEXT
    if json_wanted:
        files = {"dockerfile": str(dockerfile), "context": str(context)}
        terminal.print_json({"format": 1, "folder": str(rendering.folder), "base": rendering.base, **files})
        return 0
    terminal.print_lines(f"{dockerfile}: builds FROM {rendering.base}")
    terminal.print_lines(f"by hand: docker build --network none -f {dockerfile} {context}")
    return 0
