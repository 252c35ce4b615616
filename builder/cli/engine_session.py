"""Connects a command to the container engine; installs and starts one where that is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import errors
from builder.cli import terminal
from builder.engine import docker_engine, install

if TYPE_CHECKING:
    from builder.progress import Progress


def find() -> docker_engine.DockerEngine:
    """Return the engine that runs; nothing is started.

    Raises:
        errors.EngineError: None does.
    """
    return docker_engine.connect()


def connect(progress: Progress, *, yes: bool) -> docker_engine.DockerEngine:
    """Return the engine; where none runs and this machine can have one, it is installed and started.

    Raises:
        errors.EngineError: there is none, and the message says what to do.
        errors.RefusedError: the person did not want one started.
    """
    try:
        return find()
    except errors.EngineChoiceError:
        raise
    except errors.EngineError:
        install.ensure_running(
            check=install.find_connection_problem,
            progress=progress,
            confirm=terminal.confirm if terminal.is_interactive() and not yes else None,
        )
    return docker_engine.connect()
