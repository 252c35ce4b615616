"""``init``: write a config for a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from builder import commands, errors, paths
from builder.cli import terminal
from builder.cli.parameters import Json


def run(
    *,
    bundle: Annotated[
        str | None, Option("--from", "--bundle", metavar="BUNDLE", help="a NAME.bundle.zip or a folder")
    ] = None,
    name: Annotated[
        str | None, Option("--name", metavar="NAME", help="the config's name; default: the bundle's name")
    ] = None,
    root: Annotated[str, Option("--root", metavar="FOLDER", help="the folder that contains configs/")] = ".",
    features: Annotated[
        str | None,
        Option(
            "--features",
            metavar="FILE",
            help="a features.json; default: those in FOLDER and FOLDER/v*, else in the cache",
        ),
    ] = None,
    force: Annotated[bool, Option("--force", help="replace an existing config")] = False,
    json_wanted: Json = False,
) -> int:
    """Write a config for a bundle and print the next commands."""
    from builder.config import init  # noqa: PLC0415 - numpy

    if not bundle:  # Path("") would be the current folder
        raise errors.UsageError(f"no bundle given; pass {commands.format_option('--bundle=mymodel.bundle.zip')}")
    request = init.InitRequest(
        bundle=Path(bundle),
        root=Path(root),
        name=name,
        features=Path(features) if features else None,
        force=force,
    )
    result = init.init(request, cache=paths.cache_folder())
    next_commands = [commands.suggest(name, result.config) for name in ("pickle", "validate")]
    if json_wanted:
        answer = {"format": 1, "config": str(result.config), "name": result.name, "bundle": str(result.bundle)}
        terminal.print_json({**answer, "notes": result.notes, "next": next_commands})
        return 0
    terminal.print_lines(f"{result.config}  (written)")
    for note in result.notes:
        terminal.print_lines(f"  {note}")
    terminal.print_lines("next:")
    for command in next_commands:
        terminal.print_lines(f"  {command}")
    return 0
