"""Connects a command to the container engine; installs and starts one if it can."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from builder import errors
from builder.cli import terminal
from builder.engine import docker_engine, install, run

if TYPE_CHECKING:
    from builder.progress import Progress


def find() -> docker_engine.DockerEngine:
    """Return the running engine, without starting one.

    Raises:
        errors.EngineError: No engine is running.
    """
    return docker_engine.connect()


def remove_leftovers() -> None:
    """Remove what killed commands left on the engine, if there is anything and an engine is running."""
    with contextlib.suppress(errors.BuilderError):  # the command may not use an engine, or reports the error itself
        if run.find_ended():
            with run.start(find()):
                pass  # a run removes what others left


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
