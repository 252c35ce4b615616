"""``data-versions``: list the tournament's data versions."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from builder.cli import terminal
from builder.cli.parameters import Json
from builder.tournament import session

if TYPE_CHECKING:
    from builder import tournament


def run(*, json_wanted: Json = False) -> int:
    """List the data versions; takes no token."""
    with terminal.progress() as progress, session.connect(progress) as api:
        found = api.list_data_versions()
    if json_wanted:
        print(json.dumps({"format": 1, "data_versions": [dataclasses.asdict(one) for one in found]}))
    elif found:
        rows = [(one.version, one.name, _marks(one), one.id) for one in found]
        terminal.print_list(("version", "name", "", "id"), rows)
    else:
        print("the API names no data version; run it again later")
    return 0


def _marks(one: tournament.DataVersion) -> str:
    marks = {"default": one.default, "deprecated": one.deprecated, "experimental": one.experimental}
    return ", ".join(name for name, is_so in marks.items() if is_so)
