"""``data-versions``: list the tournament's data versions."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from builder.cli import terminal
from builder.cli.parameters import Json
from builder.tournament import session

if TYPE_CHECKING:
    from builder import tournament


def run(*, json_wanted: Json = False) -> int:
    """List the data versions; works without a token."""
    with terminal.progress() as progress, session.connect(progress) as api:
        versions = api.list_data_versions()
    if json_wanted:
        terminal.print_json({"format": 1, "data_versions": [dataclasses.asdict(version) for version in versions]})
    elif versions:
        rows = [(version.version, version.name, _format_marks(version), version.id) for version in versions]
        terminal.print_list(("version", "name", "", "id"), rows)
    else:
        terminal.print_lines("the API listed no data versions; try again later")
    return 0


def _format_marks(version: tournament.DataVersion) -> str:
    marks = {"default": version.default, "deprecated": version.deprecated, "experimental": version.experimental}
    return ", ".join(name for name, is_so in marks.items() if is_so)
