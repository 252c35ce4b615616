"""``init``: write the config of a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from builder import commands, errors, paths
from builder.text import escape

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Write the config of a bundle and say what to do next."""
    from builder.config import init  # noqa: PLC0415 - numpy

    if not options.bundle:  # Path("") would be the current folder
        raise errors.UsageError(f"no bundle is named; name one with {commands.option('--bundle=mymodel.bundle.zip')}")
    wish = init.InitRequest(
        bundle=Path(options.bundle),
        root=Path(options.root),
        name=options.name,
        features=Path(options.features) if options.features else None,
        force=options.force,
    )
    done = init.init(wish, cache=paths.cache_folder())
    following = [commands.with_config(name, done.config) for name in ("pickle", "validate")]
    if options.json:
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
