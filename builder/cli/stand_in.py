"""``stand-in``: build an image that imitates the runner."""

from __future__ import annotations

from typing import Annotated

from rich import filesize
from typer import Option

from builder import commands, errors
from builder.cli import engine_session, image_kinds, terminal
from builder.cli.parameters import Json, StartEngine
from builder.image import stand_in


def run(
    *,
    python: Annotated[
        str, Option("--python", metavar="PYTHON", help="3.10 to 3.13; oldest, newest or more (boosters, full) packages")
    ],
    yes: StartEngine = False,
    json_wanted: Json = False,
) -> int:
    """Build a stand-in image unless it exists."""
    try:
        stand_in.check_python(python)
    except errors.ImageError as error:
        raise errors.UsageError(f"{commands.format_option(f'--python={python}')}: {error}") from error
    with terminal.progress() as progress:
        image = stand_in.find_or_build(engine_session.connect(progress, yes=yes), python, progress)
    if json_wanted:
        terminal.print_json({"format": 1, "tag": image.tag, "spec": image.spec, "python": image.python})
    else:
        terminal.print_lines(f"{image.tag}  (spec {image.spec}, {filesize.decimal(image.image.size)})")
        terminal.print_lines(*image_kinds.format_warning("stand_in"))
    return 0
