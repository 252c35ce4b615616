"""A reading of a pickle as rows of a table, for ``check``, ``why`` and ``download``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import filesize

from builder import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.validate.reading.read import Reading

_MAX_ROWS = 12


def list_summary(reading: Reading) -> list[tuple[str, str]]:
    """Return what is dangerous in a pickle, what it contains and which Python made it."""
    rows = _shorten([("DANGER" if danger.is_severe else "look", str(danger)) for danger in reading.dangers])
    if reading.root:
        rows.append(("contains", reading.root))
    if reading.pythons:
        rows.append(("made by", f"Python {' or '.join(reading.pythons)}"))
    return rows


def list_details(reading: Reading) -> list[tuple[str, str]]:
    """Return which packages a pickle imports, and its largest parts."""
    captures = [
        ("captures", f"{filesize.decimal(capture.size)}  {capture.name}: {capture.kind}".replace(" : ", " "))
        for capture in reading.captures
    ]
    return [*_list_imports(reading), *_shorten(captures)]


def list_notes(reading: Reading) -> list[str]:
    """Return the notes of a reading as lines."""
    return [f"note:  {note}" for note in reading.notes]


def list_problems(reading: Reading) -> list[str]:
    """Return the notes of a reading, then the cause and the fix of each problem, as lines."""
    return list_notes(reading) + [
        f"{label} {line}" for item in reading.problems for label, line in (("cause:", item.text), ("fix:  ", item.fix))
    ]


def _list_imports(reading: Reading) -> Iterator[tuple[str, str]]:
    for when in ("load", "call"):
        imports = [item for item in reading.imports if item.when == when and item.provider != "Python"]
        names = dict.fromkeys(item.provider or f"{item.module} (missing)" for item in imports)
        if names:
            yield f"at {when}", f"imports {text.format_list(list(names), most=_MAX_ROWS)}"


def _shorten(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    more = len(rows) - _MAX_ROWS
    return [*rows[:_MAX_ROWS], ("", f"and {more:,} more (`check --json` lists all)")] if more > 0 else rows
