"""Compare the predictions of a new pickle and of a slot's current one; each runs on this machine in its own image.

Neither is unpickled outside of its container; the predictions come from the CSV that the image's entry point writes.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from builder import errors
from builder.text import sanitize
from builder.validate import checks, container_run, diagnose, rerun, runner_log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.config import model as config
    from builder.engine import protocol
    from builder.image import resolve as image_


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """The correlation of two models' predictions, None if there are fewer than two rows or one model is constant.

    Attributes:
        rows: Number of rows that both predicted.
    """

    rows: int
    pearson: float | None
    spearman: float | None

    def __str__(self) -> str:
        if self.rows < 2:
            return f"no correlation: they have {self.rows} rows in common"
        if self.pearson is None or self.spearman is None:
            return f"no correlation on {self.rows:,} rows: one of them is constant"
        return f"correlation {self.pearson:.4f} (Spearman {self.spearman:.4f}) on {self.rows:,} rows"


def predict(
    pickle: Path,
    image: image_.ResolvedImage,
    live: Path,
    *,
    benchmarks: Path | None,
    limits: config.LimitsConfig,
    engine: protocol.Engine,
    run: str,
) -> dict[str, float]:
    """Run a pickle as the tournament does; return its predictions by id.

    Raises:
        errors.DataError: It fails on this data, or its predictions cannot be read.
        errors.EngineError: The engine failed.
        errors.ImageError: The image has no entry point.
    """
    rows = rerun.count_rows(live)
    files = {
        container_run.MODEL: pickle,
        container_run.LIVE: live,
        container_run.BENCHMARKS: benchmarks or live,
    }
    with container_run.create_volume(image, files, engine, run) as volume:
        result = container_run.run_entry(volume, image, limits, engine, run=run, rows=rows)
    failure = None
    if result.get_end(limits.seconds).timed_out:
        failure = f"it exceeded the limit of {limits.seconds:g} seconds"
    elif result.exit.code != 0:
        message = runner_log.find_last_message(result.log)
        failure = f"exit {result.exit.code}{f', {message}' if message else ''}"
    if failure:
        raise errors.DataError([f"the pickle fails on this data: {failure}"])
    if result.problem:
        raise errors.DataError([result.problem])
    if result.csv is None:
        raise errors.DataError([str(diagnose.explain_no_csv(result.log))])
    return read_csv(result.csv, rows=rows)


def read_csv(content: bytes, *, rows: int) -> dict[str, float]:
    """Return predictions by id, skipping rows without a finite number.

    Args:
        content: The file.
        rows: How many rows it should have.

    Raises:
        errors.DataError: The CSV is invalid or has no predictions.
    """
    try:
        _, ids, values = checks.read_csv(content, rows=rows)
    except ValueError as error:
        raise errors.DataError([f"cannot read its CSV: {sanitize(str(error))}"]) from error
    predictions = {name: value for name, value in zip(ids, values.tolist(), strict=True) if math.isfinite(value)}
    if not predictions:
        raise errors.DataError(["its CSV has no predictions"])
    return predictions


def compare(new: Mapping[str, float], old: Mapping[str, float]) -> Similarity:
    """Correlate two models' predictions of the rows that both predicted."""
    common = sorted(new.keys() & old.keys())
    first, second = (_scale([predictions[row] for row in common]) for predictions in (new, old))
    return Similarity(
        rows=len(common),
        pearson=_correlate(first, second),
        spearman=_correlate(_compute_ranks(first), _compute_ranks(second)),
    )


def _scale(values: list[float]) -> list[float]:
    """Scale to at most 1, so that squares of very large or small values neither overflow nor underflow."""
    largest = max(map(abs, values), default=0.0) or 1.0
    return [value / largest for value in values]


def _compute_ranks(values: list[float]) -> list[float]:
    """Return the ranks, averaged for ties."""
    _, indices, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return [float(rank) for rank in (ends - (counts - 1) / 2)[indices]]


def _correlate(first: list[float], second: list[float]) -> float | None:
    try:
        return statistics.correlation(first, second)
    except statistics.StatisticsError:  # fewer than two rows, or constant values
        return None
