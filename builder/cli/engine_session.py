"""Connects a command to the container engine; installs and starts one if it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import errors
from builder.cli import terminal
from builder.engine import docker_engine, install

if TYPE_CHECKING:
    from builder.progress import Progress


def find() -> docker_engine.DockerEngine:
    """Return the running engine, without starting one.

    Raises:
        errors.EngineError: No engine is running.
    """
    return docker_engine.connect()


def connect(progress: Progress, *, yes: bool) -> docker_engine.DockerEngine:
    """Return the running engine; install and start one if there is none and this machine supports it.

    Raises:
        errors.EngineError: No engine could be found or started; the message says what to do.
        errors.RefusedError: The user declined to start one.
    """
    try:
        return find()
    except errors.EngineChoiceError:
        raise  # the user's settings select an engine: do not start another one
    except errors.EngineError:
        install.ensure_running(
            check=install.find_connection_problem,
            progress=progress,
            confirm=terminal.confirm if terminal.is_interactive() and not yes else None,
        )
    return docker_engine.connect()
