"""How many rows the scenarios have, and what is estimated from frames of 200 eras."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.validate import diagnostics, scenario_run


@pytest.mark.parametrize(
    ("row_seconds", "rows"),
    [
        (0.0, 1000),
        (1.2 / 6000, 1000),
        (96 / 6000, 1000),  # 30,000 LightGBM trees
        (511 / 6000, 905),  # four of those
        (600 / 20, 20),
    ],
)
def test_the_rows_of_slow_models_are_cut(row_seconds: float, rows: int) -> None:
    assert scenario_run.compute_max_rows(row_seconds, 7, 540) == rows


def make_results(*frames: Any) -> dict[str, bytes]:
    return {"eras.json": json.dumps({"frames": frames}).encode()}


def test_the_diagnostics_run_is_estimated_from_the_largest_frame() -> None:
    first = {"rows": 200, "seconds": 0.3, "peak_bytes": 50_000_000}
    second = {"rows": 800, "seconds": 0.052, "peak_bytes": 106_000_000}
    last = {"rows": 3200, "seconds": 0.1, "peak_bytes": 130_000_000}
    (note,) = diagnostics.estimate(make_results(first, second, last), rows=6000, row_bytes=3600)
    assert (note.name, note.good) == ("diagnostics run", None)
    assert note.detail == (
        "estimated from a frame of 200 eras with 3,200 rows, reported from inside: 32,000 rows a second; "
        "200 eras of 6,000 rows in one frame: 24 s and 12.1 GB; "
        "how the tournament divides its validation data is not published"
    )
    same = {**last, "seconds": 0.04, "peak_bytes": 99_000_000}
    (note,) = diagnostics.estimate(make_results(first, second, same), rows=6000, row_bytes=3600)
    assert "in one frame: 15 s and 4.4 GB;" in note.detail
    (note,) = diagnostics.estimate(make_results(first, second, last), rows=1, row_bytes=1e6)
    assert "200 eras of 1 rows in one frame: 0 s and 0 bytes;" in note.detail
    (note,) = diagnostics.estimate(make_results(first, second), rows=6000, row_bytes=3600)
    assert "with 800 rows, reported from inside: 15,385 rows a second; how the tournament" in note.detail


@pytest.mark.parametrize(
    "results",
    [
        {},
        {"eras.json": b""},
        {"eras.json": b"x" * 100_000},
        {"eras.json": b"[1, 2]"},
        make_results(),
        make_results({"rows": 0, "seconds": 1.0, "peak_bytes": 1}),
        make_results({"rows": 200, "seconds": -1.0, "peak_bytes": 1}),
        make_results({"rows": 200, "seconds": 1.0, "peak_bytes": "1"}),
    ],
)
def test_nothing_is_estimated_from_other_data(results: dict[str, bytes]) -> None:
    assert diagnostics.estimate(results, rows=6000, row_bytes=3600) == []
