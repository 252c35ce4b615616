"""How much a new pickle's predictions are like those of what the slot runs: both run here, each in its own image.

Neither is ever unpickled outside of its container; what comes out is the CSV that the entry point writes.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from builder import errors
from builder.engine import tar_stream
from builder.validate import diagnose, rerun
from builder.validate import run as validate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.config import model as config
    from builder.engine import protocol as engine
    from builder.image import resolve as image


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """How much two models' predictions are alike; None where one says the same of every row, or there are no two rows.

    Attributes:
        rows: How many rows both predicted.
    """

    rows: int
    pearson: float | None
    spearman: float | None

    def __str__(self) -> str:
        if self.rows < 2:
            return f"no correlation: they have {self.rows} rows in common"
        if self.pearson is None or self.spearman is None:
            return f"no correlation on {self.rows:,} rows: one of them predicts the same for every row"
        return f"correlation {self.pearson:.4f} (Spearman {self.spearman:.4f}) on {self.rows:,} rows"


def predict(
    pickle: Path,
    where: image.ResolvedImage,
    live: Path,
    *,
    benchmarks: Path | None,
    limits: config.LimitsConfig,
    on: engine.Engine,
    run: str,
) -> dict[str, float]:
    """Run a pickle as the tournament does; return its predictions by id.

    Raises:
        errors.DataError: It does not run on this data, or says nothing that can be read.
        errors.EngineError: The engine failed.
        errors.ImageError: The image has no entry point.
    """
    plan = validate.plan_children(where, limits)
    plan["children"] = plan["children"][:1]  # the CSV itself comes back: nothing is to be measured of it
    entries = [
        tar_stream.TarEntry(name="model.pkl", content=pickle),
        tar_stream.TarEntry(name="live.parquet", content=live),
        tar_stream.TarEntry(name="benchmarks.parquet", content=benchmarks or live),
    ]
    rows = rerun.count_rows(live)
    outcome = validate.run_children(plan, entries, where, limits, on, run=run, rows=rows)
    if outcome.entry is None or outcome.entry["code"] != 0:
        raise errors.DataError([f"it does not run on this data: {_cause(outcome)}"])
    if outcome.csv is None:
        raise errors.DataError([str(diagnose.explain_no_csv(str(outcome.entry["log"])))])
    return read_csv(outcome.csv)


def read_csv(content: bytes) -> dict[str, float]:
    """Return predictions by id; rows that hold none are left out.

    Raises:
        errors.DataError: There is not one.
    """
    found: dict[str, float] = {}
    text = content.decode("utf-8", "replace").replace("\0", "")
    try:
        for row in csv.reader(io.StringIO(text, newline="")):
            value = _number(row[1]) if len(row) > 1 else math.nan
            if math.isfinite(value):
                found[row[0]] = value
    except csv.Error as error:
        raise errors.DataError([f"its CSV cannot be read ({error})"]) from error
    if not found:
        raise errors.DataError(["its CSV has no predictions"])
    return found


def compare(new: Mapping[str, float], old: Mapping[str, float]) -> Similarity:
    """Correlate two models' predictions of the rows that both predicted."""
    common = sorted(new.keys() & old.keys())
    first, second = (_to_one([predictions[row] for row in common]) for predictions in (new, old))
    return Similarity(
        rows=len(common), pearson=_correlation(first, second), spearman=_correlation(_ranks(first), _ranks(second))
    )


def _cause(outcome: validate.ContainerResult) -> str:
    entry = outcome.entry or {"code": outcome.exit.code, "timed_out": outcome.exit.code is None, "log": ""}
    said = diagnose.find_last_message(str(entry["log"]))
    return f"exit {entry['code']}{f', {said}' if said else ''}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _to_one(values: list[float]) -> list[float]:
    """Scale to 1 at most: squares of very large or very small values would leave the range of a double."""
    largest = max(map(abs, values), default=0.0) or 1.0
    return [value / largest for value in values]


def _ranks(values: list[float]) -> list[float]:
    """Return average ranks."""
    _, indices, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return [float(rank) for rank in (ends - (counts - 1) / 2)[indices]]


def _correlation(first: list[float], second: list[float]) -> float | None:
    try:
        return statistics.correlation(first, second)
    except statistics.StatisticsError:  # fewer than two rows, or the same value in each
        return None
