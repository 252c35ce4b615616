"""Fetch the live data of a round, and keep them in the cache.

The cache has a folder per data version and round, such as ``live/v5.3/1234/``. ``round.json`` is written last, so a
folder without it is incomplete; a download that was cut off continues there. The data of the newest rounds are kept,
others are removed.
"""

from __future__ import annotations

import filecmp
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import errors, locks, paths, schema
from builder.net import download
from builder.tournament import settings, versions

if TYPE_CHECKING:
    from pathlib import Path

    from builder.progress import Progress
    from builder.tournament.api import Tournament

LIVE, BENCHMARKS, FEATURES = "live.parquet", "live_benchmark_models.parquet", "features.json"
_ROUND = "round.json"
_KEPT_ROUNDS, _ATTEMPTS = 2, 2
_MAX_BYTES = 1 << 31


@dataclass(frozen=True, kw_only=True)
class LiveData:
    """The files of a round.

    Attributes:
        version: The data version, such as ``v5.3``.
        round: The number of the round.
        open_time: When it opened, ISO 8601.
        folder: The folder of the files.
    """

    version: str
    round: int
    open_time: str
    folder: Path

    @property
    def live(self) -> Path:
        """The live features, a parquet file."""
        return self.folder / LIVE

    @property
    def benchmarks(self) -> Path:
        """The predictions of the benchmark models, a parquet file."""
        return self.folder / BENCHMARKS

    @property
    def features(self) -> Path:
        """The names of the features by feature set, a JSON file."""
        return self.folder / FEATURES

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return self.live, self.benchmarks, self.features


def fetch(api: Tournament, version: str, progress: Progress) -> LiveData:
    """Return the live data of the last round; download what the cache does not have.

    If a round opens but its data are not published yet, the data are those of the round before it, with a note.

    Raises:
        errors.DataError: A file is not what its name says.
        errors.NetworkError: A file cannot be downloaded, or there is no round.
        errors.UsageError: The tournament has no such data version.
    """
    parent = _get_version_folder(version, api.client.display_url)
    for _ in range(_ATTEMPTS):
        data = _get_last_round(api, version, parent)
        data.folder.mkdir(parents=True, exist_ok=True)
        with locks.acquire(
            parent / "lock", lambda holder: progress.step(f"waiting: {holder} is fetching {version} live data")
        ):
            if (data.folder / _ROUND).is_file():
                return data
            try:
                for path in data.files:
                    _fetch_file(api, f"{version}/{path.name}", path, progress)
            except errors.UnavailableError:
                raise
            except errors.NetworkError:
                _check_version(api, version)
                raise
            if _get_last_round(api, version, parent) == data:
                return _keep(api, data, parent, progress)
            shutil.rmtree(data.folder)  # of which round each file is cannot be known
            progress.step(f"another round opened: fetching {version} live data again")
    raise errors.ApiError(
        f"{api.client.display_url}: another round opened twice while its live data were fetched; run it again"
    )


def _get_last_round(api: Tournament, version: str, parent: Path) -> LiveData:
    newest = api.get_last_round()
    if newest is None:
        raise errors.ApiError(f"{api.client.display_url}: the API lists no round, so there are no live data")
    # Rounds of sandboxes have one number.
    folder = parent / f"{newest.number}-{download.to_file_name(newest.open_time)}"
    return LiveData(version=version, round=newest.number, open_time=newest.open_time, folder=folder)


def _keep(api: Tournament, data: LiveData, parent: Path, progress: Progress) -> LiveData:
    """Record downloaded files as those of their round; return the data of the round before if they are those."""
    previous = find_cached(data.version, api.client.display_url)
    if previous and previous.round != data.round and filecmp.cmp(previous.live, data.live, shallow=False):
        shutil.rmtree(data.folder)
        progress.note(
            f"note: the live data of round {data.round} are not published yet; using those of round {previous.round}: "
            "run it again later"
        )
        return previous
    facts = {"round": data.round, "open_time": data.open_time}
    paths.write_atomically(data.folder / _ROUND, json.dumps(facts).encode())
    if api.client.display_url == settings.DEFAULT_API:
        _publish_features(data)
    _remove_old_rounds(parent)
    return data


def find_cached(version: str, api_url: str) -> LiveData | None:
    """Return the live data of the newest round in the cache; None if it has none.

    Args:
        version: The data version.
        api_url: The API that they were fetched from.
    """
    for folder in _list_rounds(_get_version_folder(version, api_url)):
        facts = schema.read_json((folder / _ROUND).read_bytes())
        if isinstance(facts, dict) and isinstance(facts.get("round"), int):
            open_time = str(facts.get("open_time", ""))
            return LiveData(version=version, round=facts["round"], open_time=open_time, folder=folder)
    return None


def _publish_features(data: LiveData) -> None:
    """Copy the names of the features to where ``init`` and ``validate`` look for them."""
    path = paths.cached_features_file(data.version)
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write_atomically(path, data.features.read_bytes())


def _get_version_folder(version: str, api_url: str) -> Path:
    """Return the folder of a data version; the data of other APIs, such as the sandbox's, have one of their own."""
    parent = paths.cache_folder() / "live"
    return (parent if api_url.rstrip("/") == settings.DEFAULT_API else parent / "other-api") / download.to_file_name(
        version
    )


def _list_rounds(parent: Path) -> list[Path]:
    """Return the complete folders of rounds, the last fetched first."""
    folders = [path.parent for path in parent.glob(f"*/{_ROUND}")]
    return sorted(folders, key=lambda folder: (folder / _ROUND).stat().st_mtime_ns, reverse=True)


def _remove_old_rounds(parent: Path) -> None:
    """Remove all folders of rounds but the newest complete ones."""
    kept = _list_rounds(parent)[:_KEPT_ROUNDS]
    for folder in parent.iterdir():
        if folder.is_dir() and folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _fetch_file(api: Tournament, name: str, path: Path, progress: Progress) -> None:
    if path.is_file():  # complete: it gets its name last
        return
    progress.step(f"fetching {name}")
    url = api.get_dataset_url(name)
    download.download(url, path, description=name, progress=progress, max_bytes=_MAX_BYTES, resume=True)
    try:
        _check_file(path)
    except errors.DataError:
        path.unlink()
        raise


def _check_version(api: Tournament, version: str) -> None:
    """Check that a data version exists.

    Raises:
        errors.UsageError: It does not.
    """
    offered = api.list_data_versions()
    if versions.find_version(version, offered) is None:
        raise errors.UsageError(f"{versions.find_problem(version, offered)}; set data_version in the config")


def _check_file(path: Path) -> None:
    """Check that a downloaded file is complete and what its name says.

    Raises:
        errors.DataError: It is not.
    """
    problem = ""
    if path.suffix == ".json":
        content: Any = schema.read_json(path.read_bytes())
        if not isinstance(content, dict) or "feature_sets" not in content:
            problem = "has no feature sets"
    else:
        import pyarrow as pa  # noqa: PLC0415 - takes a tenth of a second
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            with pq.ParquetFile(path) as file:
                problem = "" if file.metadata.num_rows else "has no rows"
        except (pa.ArrowException, OSError) as error:
            problem = f"is not a readable parquet file ({str(error).partition(chr(10))[0][:200]})"
    if problem:
        raise errors.DataError([f"{path.name}: the downloaded file {problem}; run it again, or write data: shaped"])
