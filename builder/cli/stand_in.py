"""``stand-in``: make a look-alike of the runner image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder.cli import engine_session, image_kinds, terminal
from builder.image import stand_in

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Make a look-alike image, unless it is there."""
    stand_in.check_python(options.python)
    with terminal.progress() as progress:
        made = stand_in.make(engine_session.connect(progress, yes=options.yes), options.python, progress)
    if options.json:
        print(json.dumps({"format": 1, "tag": made.tag, "spec": made.spec, "python": made.python}))
    else:
        print(f"{made.tag}  (spec {made.spec}, {terminal.size(made.image.size)})")
        print(image_kinds.warning("stand_in"))
    return 0
