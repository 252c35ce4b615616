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
        versions = api.list_data_versions()
    if json_wanted:
        print(
            json.dumps({"format": 1, "data_versions": [dataclasses.asdict(data_version) for data_version in versions]})
        )
    elif versions:
        rows = [
            (data_version.version, data_version.name, _marks(data_version), data_version.id)
            for data_version in versions
        ]
        terminal.print_list(("version", "name", "", "id"), rows)
    else:
        print("the API names no data version; run it again later")
    return 0


def _marks(data_version: tournament.DataVersion) -> str:
    marks = {
        "default": data_version.default,
        "deprecated": data_version.deprecated,
        "experimental": data_version.experimental,
    }
    return ", ".join(name for name, is_so in marks.items() if is_so)
