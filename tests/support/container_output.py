"""What ``inside.supervise`` prints to standard output when the command has ended."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def make(files: Mapping[str, bytes] | None = None, /, **changes: Any) -> bytes:
    """Return the report and the contents of these files, with ``changes`` of the report."""
    files = files or {}
    report = {
        "format": 1,
        "peak_bytes": 150_000_000,
        "cpu_seconds": 1.25,
        "count": len(files),
        "files": [{"name": name, "kind": "file", "size": len(content)} for name, content in files.items()],
        **changes,
    }
    return b"".join(line + b"\n" for line in (json.dumps(report).encode(), *map(base64.b64encode, files.values())))


def make_csv(ids: Sequence[str], values: Any = None, *, name: str = "prediction") -> bytes:
    """Return a CSV as the runner writes it; without values, they are different ones from 1/8 to 1."""
    values = np.linspace(0.125, 1, len(ids)) if values is None else values
    text: str = pd.DataFrame({name: values}, index=pd.Index(ids, name="id")).to_csv()
    return text.encode()


def make_entry(csv: bytes | None) -> bytes:
    """Return the output of a run of the entry point that wrote this CSV, or none."""
    return make({} if csv is None else {"live_predictions-0a.csv": csv})


def make_predictions(golden: Any, *others: Any) -> bytes:
    """Return the output of ``inside.predict_inputs``: the golden rows, the same in float64, then other inputs."""
    predictions = {str(number): item for number, item in enumerate([golden, *others])} | {"0.float64": golden}
    return make({f"{name}.f64": np.asarray(item, "<f8").tobytes() for name, item in predictions.items()})
