"""Start a complete sandbox: the API, a registry with stand-in images, and runs of uploaded pickles on the engine."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors
from builder.sandbox import example, live, registry, run_in_container, server
from builder.sandbox import state as sandbox_state

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping

    from builder.progress import Progress
    from builder.sandbox.status_words import StatusWords

PYTHONS = ("3.12", "3.13")  # the tournament's default, and a newer one


def get_image_name(python: str) -> str:
    """Return the repository name of the tournament's image for a Python version."""
    return f"numerai_predict_py_{python.replace('.', '_')}"


def start(
    undo: contextlib.ExitStack, *, tags: Mapping[str, str], words: StatusWords, port: int, progress: Progress
) -> tuple[server.Sandbox, str]:
    """Start a sandbox; ``undo`` ends it.

    Args:
        undo: Receives the callbacks that stop the parts.
        tags: The tag of the stand-in image on the engine, by Python version; the first is the default image.
        words: The status words that the API returns.
        port: The port of the API; 0 selects a free one.
        progress: Receives each step.

    Returns:
        The sandbox, and the registry that replaces ``ghcr.io/numerai``.

    Raises:
        errors.EngineError: The registry could not be installed or started, or an image could not be pushed.
        errors.UsageError: The port is in use.
    """
    state = sandbox_state.create_default_state(words)
    if tags:
        state.set_default_image(get_image_name(next(iter(tags))))
    address = undo.enter_context(registry.start(progress=progress))
    undo.callback(registry.remove_images_of, address)
    name = f"{address}/numerai"
    for python, tag in tags.items():
        image = state.get_image(get_image_name(python))
        progress.step(f"publishing the stand-in image of Python {python}")
        registry.publish(tag, f"{name}/{image.image}:{image.tag}")
    registry.remove_images_of(address)  # so that pin and pull fetch them from the registry
    # Uploaded pickles may use the features of any bundle in the current folder.
    bundles = [example.EXAMPLE.parent / "bundles" / "mlp", *live.find_bundles(Path("configs", "bundles"))]
    data = undo.enter_context(live.LiveData(bundles))
    runner = run_in_container.ContainerRunner(registry=name, data=data)
    try:
        return undo.enter_context(server.start(runner=runner, data=data, state=state, port=port)), name
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise errors.UsageError(
            f"port {port} is in use; choose another with --port, or omit it for a free port"
        ) from error
