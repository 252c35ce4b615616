"""The tournament's live data of a version, fetched once a round and kept in the cache."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder import data, download, errors

if TYPE_CHECKING:
    from pathlib import Path

    from builder.progress import Progress
    from builder.tournament import Tournament

LIVE, BENCHMARKS = "live.parquet", "live_benchmark_models.parquet"


def fetch(api: Tournament, version: str, cache: Path, progress: Progress) -> data.LiveFiles:
    """Return the live data of the current round.

    Args:
        api: The tournament.
        version: Such as ``v5.2``.
        cache: Folder for what can be fetched again.
        progress: Told how far it is.

    Raises:
        errors.NetworkError: It could not be fetched.
        errors.DataError: What came is no parquet file.
        OSError: The cache cannot be written.
    """
    current = api.current_round()
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", version) or version.startswith("."):
        raise errors.ApiError(f"the data version {version[:40]!r} cannot be one; name live data by hand")
    folder = cache / "live" / version / (str(current.number) if current else "unnumbered")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (LIVE, BENCHMARKS):
        # Without a round's number nobody can tell whether what is kept is of today.
        if current is None or not (folder / name).is_file():
            progress.step(f"fetching {version}/{name}")
            url = api.dataset_url(f"{version}/{name}")
            download.download(url, folder / name, what=f"{version}/{name}", progress=progress)
    return data.LiveFiles(live=folder / LIVE, benchmarks=folder / BENCHMARKS, rows=_rows(folder / LIVE))


def _rows(path: Path) -> int:
    import pyarrow as pa  # noqa: PLC0415 - half a second, where there is data
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        path.unlink(missing_ok=True)
        raise errors.DataError([f"{path.name}: what was fetched is no parquet file; run it again"]) from error
