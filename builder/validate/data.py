"""Live data to validate on: made in its shape for any features, or parquet files that the config names.

What live data looks like: index ``id``; ``era``, always ``X``; ``data_type``; int8 features from 0 to 4, of which one
that is not available yet is all 2, or NaN; targets, NaN. Benchmark predictions come in a frame of their own, in another
order, and not for exactly the same ids. This module stays light: files that were made before cost no import.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SEED = 20_260
ROWS = 6_000
DEFAULT_BENCHMARKS = ("v52_lgbm_ender20",)

_SHAPE_FORMAT = 1  # raised whenever the same arguments give other values
_MAGIC = b"PAR1"  # how a parquet file begins and ends


@dataclass(frozen=True, kw_only=True)
class LiveFiles:
    """Parquet files as the runner reads them.

    Attributes:
        live: Index ``id``; era, features and more.
        benchmarks: Index ``id``; a column per benchmark model. None where the config names none.
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
    """Make data in the shape of live data; the same arguments always give the same values.

    Args:
        features: Names of the feature columns.
        benchmarks: Names of the benchmark columns; none: one that no model uses, since the runner wants a file.
        rows: How many live rows, at least one.
        seed: Of the random numbers, 0 or more.
        missing: Those of the features that are NaN in every row, hence floats; others may be all 2.
        cache: Folder where the files are kept by what determines them; made when absent.

    Raises:
        errors.DataError: The files cannot be written.
        ValueError: No rows, or ``missing`` names no feature.
    """
    if rows < 1 or not set(missing) <= set(features):
        raise ValueError(f"rows={rows}, missing={list(missing)}: at least one row, and only features can be missing")
    columns = tuple(benchmarks) or DEFAULT_BENCHMARKS
    key = [_SHAPE_FORMAT, list(features), list(columns), rows, seed, sorted(set(missing))]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    live_path, benchmark_path = (cache / f"shaped-{digest}-{which}.parquet" for which in ("live", "benchmarks"))
    if not (_is_whole(live_path) and _is_whole(benchmark_path)):
        from builder.validate import shaped_frames  # noqa: PLC0415 - pandas and pyarrow take a second to load

        live, others = shaped_frames.make(features, columns, rows=rows, seed=seed, missing=set(missing))
        shaped_frames.store([(live, live_path), (others, benchmark_path)])
    return LiveFiles(live=live_path, benchmarks=benchmark_path, rows=rows)


def _is_whole(path: Path) -> bool:
    """Tell whether a file is in the cache, to its end: it came there whole, but a disk can lose the end of one."""
    try:
        with path.open("rb") as file:
            begins = file.read(4)
            file.seek(-4, 2)
            return begins == file.read(4) == _MAGIC
    except OSError:
        return False
