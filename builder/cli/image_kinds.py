"""How commands name the kind of an image, and what they warn of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from builder import commands

if TYPE_CHECKING:
    from builder.image import resolve as image


KINDS = {"exact": "the exact runner image", "local": "a local image", "stand_in": "A STAND-IN, not the runner image"}


_LOCAL = (
    "note: this image has no digest of its registry, so a pickle built in it cannot be uploaded; "
    "pull the tournament's image to build one that can"
)


_STAND_IN = """\
********************************************************************************
  MADE IN A STAND-IN, a look-alike of the runner image: good to try things out,
  never to be uploaded. Where the image can be pulled:
  {again}
********************************************************************************"""


def warning(kind: image.Kind, folder: Path | None = None) -> str:
    """Return what to know of an image that is not exact, and of the pickle in ``dist/NAME`` that was built in it."""
    again = commands.with_config("pickle", folder, "--pull") if folder else "make pickle CONFIG=... PULL=1"
    return _LOCAL if kind == "local" else _STAND_IN.format(again=again)
