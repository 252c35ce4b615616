"""Describes the kind of an image (exact, local or stand-in) and warns about the last two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from builder import commands
from builder.tournament import session, settings

if TYPE_CHECKING:
    from builder.image import resolve as image
    from builder.image import runner_image


_KINDS = {"exact": "the exact runner image", "local": "a local image", "stand_in": "A STAND-IN, not the runner image"}


_LOCAL = (
    "note: this image has no digest from its registry, so a pickle built in it cannot be uploaded; "
    "pull the tournament's image to build one that can"
)


_STAND_IN = """\
********************************************************************************
  PICKLE FOR A STAND-IN, an image that imitates the runner. It is for tests and
  cannot be uploaded. When the runner image is available, run:
  {again}
********************************************************************************"""


def format_warning(kind: image.Kind, folder: Path | None = None) -> list[str]:
    """Return the lines of the warning about an image that is not exact.

    Args:
        kind: ``local`` or ``stand_in``.
        folder: The ``dist/NAME`` of the pickle that was built in the image, for the command to build it again.
    """
    again = commands.suggest("pickle", folder, "--pull")
    return [_LOCAL] if kind == "local" else _STAND_IN.format(again=again).split("\n")


def describe_kind(resolved: image.ResolvedImage | runner_image.RunnerImage, root: Path) -> str:
    """Return what an image is; only the tournament's own images are called the runner image."""
    if resolved.kind == "exact" and session.is_sandbox(root):
        return "exact, but of the sandbox: not the runner image"
    if resolved.kind == "exact" and not settings.is_tournament_image(resolved.base, session.read_registry(root)):
        return "NOT one of the tournament's images"
    return _KINDS[resolved.kind]
