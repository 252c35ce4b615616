"""How commands name the kind of an image, and what they warn of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from builder import commands
from builder.image import resolve as image
from builder.tournament import session, settings

if TYPE_CHECKING:
    from builder.image import resolve as image
    from builder.image import runner_image


_KINDS = {"exact": "the exact runner image", "local": "a local image", "stand_in": "A STAND-IN, not the runner image"}


_LOCAL = (
    "note: this image has no digest of its registry, so a pickle built in it cannot be uploaded; "
    "pull the tournament's image to build one that can"
)


_STAND_IN = """\
********************************************************************************
  BUILT IN A STAND-IN, an image that imitates the runner: good to try things out,
  never to be uploaded. Where the image can be pulled:
  {again}
********************************************************************************"""


def warning(kind: image.Kind, folder: Path | None = None) -> str:
    """Return what to know of an image that is not exact, and of the pickle in ``dist/NAME`` that was built in it."""
    again = commands.suggest("pickle", folder, "--pull")
    return _LOCAL if kind == "local" else _STAND_IN.format(again=again)


def describe_kind(resolved: image.ResolvedImage | runner_image.RunnerImage, root: Path) -> str:
    """Return what an image is, for a person: only one of the tournament's is called the runner image."""
    if resolved.kind == "exact" and not settings.is_tournament_image(resolved.base, session.read_registry(root)):
        return "NOT one of the tournament's images"
    return _KINDS[resolved.kind]
