"""Provide live data to validate on: shaped data for any features, or the parquet files that the config names.

Shaped data look like live data: index ``id``; ``era``, always ``X``; ``data_type``; int8 features from 0 to 4, where a
feature that is not available yet is 2 or NaN in all rows; targets, NaN. Benchmark predictions are in another frame, in
another order, and not for exactly the same ids.

This module imports neither numpy nor pandas: files that are in the cache take no time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import data_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SEED = 20_260
ROWS = 6_000

_SHAPE_FORMAT = 1  # to be raised if the same arguments give other values; part of the names in the cache
_MAGIC = b"PAR1"  # the first and the last bytes of a parquet file


@dataclass(frozen=True, kw_only=True)
class LiveFiles:
    """Parquet files for the runner.

    Attributes:
        live: Index ``id``; era, features and more.
        benchmarks: Index ``id``; one column per benchmark model. None if the config has none.
        rows: How many rows ``live`` has.
    """

    live: Path
    benchmarks: Path | None
    rows: int


def make_shaped_data(
    *,
    features: Sequence[str],
    benchmarks: Sequence[str],
    rows: int = ROWS,
    seed: int = SEED,
    missing: Sequence[str] = (),
    cache: Path,
) -> LiveFiles:
    """Make data that look like live data, or find them in the cache; the same arguments always give the same values.

    Args:
        features: Names of the feature columns.
        benchmarks: Names of the benchmark columns; if empty there is one that no model uses, because the runner
            requires a file.
        rows: How many live rows, at least one.
        seed: Seed of the random numbers, 0 or more.
        missing: The features that are NaN in all rows, and so float32.
        cache: The folder of the cache; created if missing.

    Raises:
        errors.DataError: The files cannot be written.
        ValueError: No rows, or ``missing`` names no feature.
    """
    if rows < 1 or not set(missing) <= set(features):
        raise ValueError(f"rows={rows}, missing={list(missing)}: at least one row, and only features can be missing")
    columns = tuple(benchmarks) or (data_versions.DEFAULT_BENCHMARK,)
    key = [_SHAPE_FORMAT, list(features), list(columns), rows, seed, sorted(set(missing))]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    live_path, benchmark_path = (cache / f"shaped-{digest}-{name}.parquet" for name in ("live", "benchmarks"))
    if not (_is_whole(live_path) and _is_whole(benchmark_path)):
        from builder.validate import shaped_frames  # noqa: PLC0415 - pandas and pyarrow take a second to load

        live_frame, benchmark_frame = shaped_frames.make_frames(
            features, columns, rows=rows, seed=seed, missing=set(missing)
        )
        shaped_frames.write_frames([(live_frame, live_path), (benchmark_frame, benchmark_path)])
    return LiveFiles(live=live_path, benchmarks=benchmark_path, rows=rows)


def _is_whole(path: Path) -> bool:
    """Return whether a file is in the cache and complete: after a crash of the machine it may be truncated."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(-4, 2)
            return start == file.read(4) == _MAGIC
    except OSError:
        return False
