"""``data``: fetch the live data of the last round into the cache."""

from __future__ import annotations

import re
from pathlib import Path

from rich import filesize

from builder import data_versions, errors
from builder.cli import terminal
from builder.cli.parameters import Configs, Json
from builder.config import model, project, strict_yaml
from builder.tournament import session, times


def run(*, config: Configs = None, json_wanted: Json = False) -> int:
    """Fetch the live data; works without a token."""
    from builder.tournament import live_files  # noqa: PLC0415 - httpx

    paths = [Path(item) for item in config or project.list_configs()]
    versions = dict.fromkeys(map(_read_version, paths)) or {model.Config.data_version: None}
    with terminal.progress() as progress, session.connect(progress) as api:
        fetched = [live_files.fetch(api, version, progress) for version in versions]
        now = api.now()
    if json_wanted:
        data = [
            {
                "data_version": item.version,
                "round": item.round,
                "open_time": item.open_time,
                "files": [str(path) for path in item.files],
            }
            for item in fetched
        ]
        terminal.print_json({"format": 1, "data": data})
        return 0
    for item in fetched:
        terminal.print_lines(f"{item.version}, round {item.round}, opened {times.format_time(item.open_time, now)}")
        terminal.print_table([(str(path), filesize.decimal(path.stat().st_size)) for path in item.files])
    return 0


def _read_version(path: Path) -> str:
    """Return the data version of a config; one with `neutralize: {group: ...}` loads only after this fetch."""
    try:
        return model.load(path).data_version
    except errors.ConfigError:
        with path.open("rb") as file:
            document = strict_yaml.read(file.read(strict_yaml.MAX_BYTES + 1))
        version = document.data.get("data_version", model.Config.data_version)
        if document.problems or not re.fullmatch(data_versions.PATTERN, str(version)):
            raise
        return str(version)
