"""``check``: read any pickle without executing it: what is dangerous in it, what it is, and why it would fail."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import filesize
from typer import Argument

from builder import text
from builder.cli import terminal
from builder.cli.parameters import Json

if TYPE_CHECKING:
    from builder.validate.reading.read import Reading

PickleFile = Annotated[Path, Argument(metavar="PICKLE", help="a file: a pickle, from any program")]
_MAX_ROWS = 12


def run(*, path: PickleFile, json_wanted: Json = False) -> int:
    """Print what a pickle is; exit 1 if it would fail, if something is dangerous in it, or if it cannot be read."""
    from builder.validate.reading import read  # noqa: PLC0415

    reading = read.read(path)
    if json_wanted:
        terminal.print_json(
            {"format": 1, "file": str(path), "good": reading.is_good, "reading": dataclasses.asdict(reading)}
        )
    else:
        print_reading(path, reading)
    return 0 if reading.is_good else 1


def print_reading(path: Path, reading: Reading) -> None:
    """Print a reading for a person: dangers first, the cause and the fix of each problem last."""
    protocol = "" if reading.protocol is None else f", pickle protocol {reading.protocol}"
    terminal.print_lines(f"{path}  ({filesize.decimal(reading.size)}{protocol})")
    if rows := list_rows(reading):
        terminal.print_table(rows)
    for problem in reading.notes:
        terminal.print_lines(f"note:  {problem}")
    for problem in reading.problems:
        terminal.print_lines(f"cause: {problem.text}", f"fix:   {problem.fix}")
    if reading.is_good:
        terminal.print_lines("nothing was found that would fail; only a run in its image shows that it works")


def list_rows(reading: Reading) -> list[tuple[str, str]]:
    """Return the facts of a reading as rows of a table."""
    rows = _shorten([("DANGER" if danger.is_severe else "look", str(danger)) for danger in reading.dangers])
    if reading.root:
        rows.append(("contains", reading.root))
    if reading.pythons:
        rows.append(("made by", f"Python {' or '.join(reading.pythons)}"))
    for when in ("load", "call"):
        imports = [item for item in reading.imports if item.when == when and item.provider != "Python"]
        names = dict.fromkeys(item.provider or f"{item.module} (missing)" for item in imports)
        if names:
            rows.append((f"at {when}", f"imports {text.format_list(list(names), most=_MAX_ROWS)}"))
    captures = [
        ("captures", f"{filesize.decimal(capture.size)}  {capture.name}: {capture.kind}".replace(" : ", " "))
        for capture in reading.captures
    ]
    return rows + _shorten(captures)


def _shorten(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    more = len(rows) - _MAX_ROWS
    return [*rows[:_MAX_ROWS], ("", f"and {more:,} more (--json lists all)")] if more > 0 else rows
