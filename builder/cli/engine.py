"""``engine``: find a container engine, or install and start one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder.cli import engine_session, terminal
from builder.engine import install

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
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
