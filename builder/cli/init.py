"""``init``: write the config of a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from typer import Option

from builder import commands, errors, paths
from builder.cli.parameters import Json
from builder.text import escape


def run(
    *,
    bundle: Annotated[
        str | None, Option("--from", "--bundle", metavar="BUNDLE", help="NAME.bundle.zip, or a folder")
    ] = None,
    name: Annotated[str | None, Option("--name", metavar="NAME", help="of the config; default: the bundle's")] = None,
    root: Annotated[str, Option("--root", metavar="FOLDER", help="what holds configs/")] = ".",
    features: Annotated[
        str | None, Option("--features", metavar="FILE", help="a features.json; default: FOLDER's own, or its v5.2's")
    ] = None,
    force: Annotated[bool, Option("--force", help="replace the config that is there")] = False,
    json_wanted: Json = False,
) -> int:
    """Write the config of a bundle and say what to do next."""
    from builder.config import init  # noqa: PLC0415 - numpy

    if not bundle:  # Path("") would be the current folder
        raise errors.UsageError(
            f"no bundle is named; name one with {commands.format_option('--bundle=mymodel.bundle.zip')}"
        )
    request = init.InitRequest(
        bundle=Path(bundle),
        root=Path(root),
        name=name,
        features=Path(features) if features else None,
        force=force,
    )
    done = init.init(request, cache=paths.cache_folder())
    following = [commands.suggest(name, done.config) for name in ("pickle", "validate")]
    if json_wanted:
        answer = {"format": 1, "config": str(done.config), "name": done.name, "bundle": str(done.bundle)}
        print(json.dumps({**answer, "notes": done.notes, "next": following}))
        return 0
    print(f"{done.config}  (written)")
    for note in done.notes:
        print(f"  {escape(note)}")
    print("next:")
    for line in following:
        print(f"  {line}")
    return 0
