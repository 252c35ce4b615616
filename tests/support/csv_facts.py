"""What ``inside.collect_results`` says of a CSV that is as it has to be."""

from __future__ import annotations

from typing import Any


def make_facts(rows: int, /, **changes: Any) -> dict[str, Any]:
    """Return the facts of so many predictions between 1/8 and 1, all of them different; some changed."""
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
