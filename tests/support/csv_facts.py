"""The summary of a valid CSV, as ``inside.collect_results`` writes it."""

from __future__ import annotations

from typing import Any


def make_facts(rows: int, /, **changes: Any) -> dict[str, Any]:
    """Return the summary of different predictions from 1/8 to 1, with ``changes``."""
    return {
        "rows": rows,
        "columns": ["prediction"],
        "index_equal": True,
        "duplicate_ids": 0,
        "first_duplicate": None,
        "missing_ids": [],
        "extra_ids": [],
        "not_finite": 0,
        "first_not_finite": None,
        "lowest": 0.125,
        "highest": 1.0,
        "first_outside": None,
        "distinct": rows,
        **changes,
    }
