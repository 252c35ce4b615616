"""``check``: read any pickle without executing it: what is dangerous in it, what it is, and why it would fail."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from rich import filesize
from typer import Argument

from builder.cli import reading_rows, terminal
from builder.cli.parameters import Json

PickleFile = Annotated[Path, Argument(metavar="PICKLE", help="a file: a pickle, from any program")]


def run(*, path: PickleFile, json_wanted: Json = False) -> int:
    """Print what a pickle is; exit 1 if it would fail, if something is dangerous in it, or if it cannot be read."""
    from builder.validate.reading import read  # noqa: PLC0415

    reading = read.read(path)
    if json_wanted:
        answer = {"format": 1, "file": str(path), "good": reading.is_good}
        terminal.print_json({**answer, "reading": dataclasses.asdict(reading)})
        return 0 if reading.is_good else 1
    protocol = "" if reading.protocol is None else f", pickle protocol {reading.protocol}"
    terminal.print_lines(f"{path}  ({filesize.decimal(reading.size)}{protocol})")
    if rows := reading_rows.list_summary(reading) + reading_rows.list_details(reading):
        terminal.print_table(rows)
    terminal.print_lines(*reading_rows.list_problems(reading))
    if reading.is_good:
        terminal.print_lines("nothing was found that would fail; only a run in its image shows that it works")
    return 0 if reading.is_good else 1
