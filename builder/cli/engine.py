"""``engine`` and ``stand-in``: what this machine needs, done by itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder.cli import engine_session, image_kinds, terminal
from builder.engine import install
from builder.image import stand_in

if TYPE_CHECKING:
    import argparse


def engine(options: argparse.Namespace) -> int:
    """Find an engine; install and start one where that is possible; or stop the one that this started."""
    if options.stop:
        stopped = install.stop()
        print("stopped the engine that this tool started" if stopped else "this tool has started no engine here")
        return 0
    with terminal.progress() as progress:
        facts = engine_session.connect(progress, yes=options.yes).facts()
    if options.json:
        print(json.dumps({"format": 1, "version": facts.version, "api": facts.api, "platform": facts.platform}))
    else:
        print(f"an engine answers: version {facts.version}, API {facts.api}, {facts.platform}")
    return 0


def make_stand_in(options: argparse.Namespace) -> int:
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
