"""Estimate the tournament's diagnostics run, which runs a pickle over the validation data.

How these are divided is not published, so frames of 200 eras are measured (``builder/inside/predict_inputs.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from rich import filesize

from builder import schema
from builder.validate import checks

if TYPE_CHECKING:
    from collections.abc import Mapping

_ERAS = 200  # as in predict_inputs.py
_MIN_FRAMES = 3  # of 200, 800 and 3,200 rows: what two small frames take is mostly what any frame takes
_MAX_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class _Frame:
    rows: Annotated[int, schema.require_between(_ERAS, 1 << 40)]
    seconds: Annotated[float, schema.require_between(0, 1e6)]
    peak_bytes: Annotated[int, schema.require_between(0, 1 << 50)]


@dataclass(frozen=True, kw_only=True)
class _Measured:
    frames: tuple[_Frame, ...]


def estimate(results: Mapping[str, bytes], *, rows: int, row_bytes: float) -> list[checks.Check]:
    """Return a note with rows a second, seconds and memory; none without measurements. The pickle can change them.

    Args:
        results: The files of the run of the scenarios.
        rows: The rows of a whole era, those of the live data.
        row_bytes: The bytes of a row of the live data. A small frame fits into memory that the process has already.
    """
    content = results.get("eras.json", b"")[:_MAX_BYTES]
    data = schema.read_json(content)
    measured = data if isinstance(data, list) else schema.parse(_Measured, data)
    if isinstance(measured, list) or not measured.frames:
        return []
    last = measured.frames[-1]
    detail = (
        f"estimated from a frame of {_ERAS} eras with {last.rows:,} rows, reported from inside: "
        f"{last.rows / max(last.seconds, 1e-6):,.0f} rows a second"
    )
    if len(measured.frames) >= _MIN_FRAMES and last.rows > (previous := measured.frames[-2]).rows:
        more, difference = _ERAS * rows - last.rows, last.rows - previous.rows
        # The last frame can have more rows than whole eras have.
        row_seconds = (last.seconds - previous.seconds) / difference
        if row_seconds <= 0:  # too fast to measure the difference
            row_seconds = last.seconds / last.rows
        seconds = max(0.0, last.seconds + more * row_seconds)
        memory = last.peak_bytes + more * max(row_bytes, (last.peak_bytes - previous.peak_bytes) / difference)
        memory = max(0.0, memory)
        whole = f"{seconds:,.0f} s and {filesize.decimal(int(memory))}"
        detail += f"; {_ERAS} eras of {rows:,} rows in one frame: {whole}"
    detail += "; how the tournament divides its validation data is not published"
    return [checks.Check(name="diagnostics run", good=None, detail=detail)]
