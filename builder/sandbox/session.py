"""All parts of a sandbox together: the API, a registry with look-alikes of the runner, and what runs uploads."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors
from builder.sandbox import example, live, registry, runner, server
from builder.sandbox import state as sandbox_state

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping

    from builder.progress import Progress
    from builder.sandbox.status_words import StatusWords

PYTHONS = ("3.11", "3.13")  # Debian's own: the others cannot be made where no image can be pulled


def get_image_name(python: str) -> str:
    """Return the name of the tournament's image for a Python."""
    return f"numerai_predict_py_{python.replace('.', '_')}"


def start(
    undo: contextlib.ExitStack, *, tags: Mapping[str, str], words: StatusWords, port: int, progress: Progress
) -> tuple[server.Sandbox, str]:
    """Start a sandbox; ``undo`` ends it.

    Args:
        undo: Takes what ends each part.
        tags: The look-alike of each Python, on the engine.
        words: The status words that it speaks.
        port: Of the API; 0 takes a free one.
        progress: Receives a line for each step.

    Returns:
        The sandbox, and what stands for ``ghcr.io/numerai``.

    Raises:
        errors.EngineError: The registry could not be installed or started, or an image could not be pushed.
        errors.UsageError: The port is in use.
    """
    state = sandbox_state.default_state(words)
    address = undo.enter_context(registry.start(progress=progress))
    undo.callback(registry.forget_all, address)
    name = f"{address}/numerai"
    for python, tag in tags.items():
        image = state.get_image(get_image_name(python))
        progress.step(f"publishing the look-alike of Python {python}")
        registry.publish(tag, f"{name}/{image.image}:{image.tag}")
    registry.forget_all(address)  # so that a pin or a pull has something to do
    # What is uploaded here may read the features of any bundle of this folder.
    bundles = [example.EXAMPLE.parent / "bundles" / "mlp", *live.find_bundles(Path("configs", "bundles"))]
    data = undo.enter_context(live.Live(bundles))
    judge = runner.Runner(registry=name, data=data)
    try:
        return undo.enter_context(server.start(judge=judge, data=data, state=state, port=port)), name
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise errors.UsageError(f"port {port} is in use: name another with --port, or none") from error
