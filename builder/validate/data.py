"""Provide live data to validate on: shaped data for any features, or the parquet files that the config names.

Shaped data look like live data: index ``id``; ``era``, always ``X``; ``data_type``; int8 features from 0 to 4, where a
feature that is not available yet is 2 in all rows; targets, NaN. Benchmark predictions are in another frame, in another
order, and not for exactly the same ids.

They contradict a model that reads them wrong: both frames have columns that the model does not read, before, between
and after its own, which are in another order than the model's.

This module imports neither numpy nor pandas: files that are in the cache take no time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import data_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SEED = 20_260
ROWS = 6_000

_SHAPE_FORMAT = 2  # to be raised if the same arguments give other values; part of the names in the cache
_MAGIC = b"PAR1"  # the first and the last bytes of a parquet file
_UNREAD_FEATURES = tuple(f"feature_unread_{number}" for number in range(30))
_UNREAD_BENCHMARKS = (
    data_versions.DEFAULT_BENCHMARK,
    *(f"{data_versions.DEFAULT_BENCHMARK}_unread_{number}" for number in range(3)),
)
_MAX_UNREAD = 10_000  # three times as many as v5.3 has
_MAX_FILES, _SECONDS_IN_USE = 40, 3600  # in the cache; a run has started to read its files long before an hour


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
    known: Sequence[str] = (),
    rows: int = ROWS,
    seed: int = SEED,
    cache: Path,
) -> LiveFiles:
    """Make data that look like live data, or find them in the cache; the same arguments always give the same values.

    Args:
        features: The features that the model reads.
        benchmarks: The benchmark models that it reads.
        known: All features of the data version, which the live rows then have. If these are unknown, or are not of the
            model's version, there are made-up ones.
        rows: How many live rows, at least one.
        seed: Seed of the random numbers, 0 or more.
        cache: The folder of the cache; created if missing.

    Raises:
        errors.DataError: The files cannot be written.
        ValueError: No rows.
    """
    if rows < 1:
        raise ValueError(f"rows={rows}: expected at least one row")
    has_all = set(features) <= set(known)
    unread = _remove_names(known if has_all else _UNREAD_FEATURES, features)[:_MAX_UNREAD]
    unread_benchmarks = _remove_names(_UNREAD_BENCHMARKS, benchmarks)
    key = [_SHAPE_FORMAT, list(features), unread, list(benchmarks), unread_benchmarks, rows, seed]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    live_path, benchmark_path = (cache / f"shaped-{digest}-{name}.parquet" for name in ("live", "benchmarks"))
    if _is_whole(live_path) and _is_whole(benchmark_path):
        for path in (live_path, benchmark_path):
            with contextlib.suppress(OSError):  # a read-only cache can be used too; the time only delays its removal
                os.utime(path)
    else:
        from builder.validate import shaped_frames  # noqa: PLC0415 - pandas and pyarrow take a second to load

        _remove_unused(cache)
        live_frame, benchmark_frame = shaped_frames.make_frames(
            features, unread, benchmarks, unread_benchmarks, rows=rows, seed=seed
        )
        shaped_frames.write_frames([(live_frame, live_path), (benchmark_frame, benchmark_path)])
    return LiveFiles(live=live_path, benchmarks=benchmark_path, rows=rows)


def _remove_names(names: Sequence[str], others: Sequence[str]) -> list[str]:
    removed = set(others)
    return [name for name in names if name not in removed]


def _remove_unused(cache: Path) -> None:
    """Remove the files that were used longest ago, and those that a killed process left, until few are there."""
    used: dict[Path, float] = {}
    for path in cache.glob("shaped-*"):
        with contextlib.suppress(OSError):
            used[path] = path.stat().st_mtime
    for path in sorted(used, key=used.__getitem__, reverse=True)[_MAX_FILES:]:
        if time.time() - used[path] > _SECONDS_IN_USE:
            with contextlib.suppress(OSError):
                path.unlink()


def _is_whole(path: Path) -> bool:
    """Return whether a file is in the cache and complete: after a crash of the machine it may be truncated."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(-4, 2)
            return start == file.read(4) == _MAGIC
    except OSError:
        return False
