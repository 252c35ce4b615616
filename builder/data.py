"""Live data to validate on: made in its shape for any features, or parquet files that the config names.

What live data looks like: index ``id``; ``era``, always ``X``; ``data_type``; int8 features from 0 to 4, of which one
that is not available yet is all 2, or NaN; targets, NaN. Benchmark predictions come in a frame of their own, in another
order, and not for exactly the same ids.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder import errors

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SEED = 20_260
ROWS = 6_000
DEFAULT_BENCHMARKS = ("v52_lgbm_ender20",)

_SHAPE_FORMAT = 1  # raised whenever the same arguments give other values
_TARGETS = ("target", "target_ender_20", "target_ender_60")
_UNAVAILABLE_EVERY = 50  # one feature in so many is all 2
_UNCOVERED_EVERY = 500  # one live id in so many has no benchmark row, and as many foreign ids have one
_SHOWN = 5
_HOW = "name other files under validate.data, or use data: shaped"


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


def shaped(
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
    made = LiveFiles(
        live=cache / f"shaped-{digest}-live.parquet",
        benchmarks=cache / f"shaped-{digest}-benchmarks.parquet",
        rows=rows,
    )
    if not _is_whole(made):
        random = _Random(seed)
        ids = random.ids(rows + rows // _UNCOVERED_EVERY)
        live = _live_frame(random, ids[:rows], features, set(missing))
        others = _benchmark_frame(random, ids, rows, columns)
        _store(cache, [(live, made.live), (others, made.benchmarks)])
    return made


def check(
    live: Path,
    benchmarks: Path | None,
    *,
    features: Sequence[str],
    benchmark_columns: Sequence[str],
    needs_era: bool,
) -> LiveFiles:
    """Make sure that files have what a model needs; reads their schemas, ids and eras alone.

    Args:
        live: Parquet in the shape of ``live.parquet``.
        benchmarks: Parquet in the shape of ``live_benchmark_models.parquet``.
        features: Columns that must be in ``live``.
        benchmark_columns: Columns that must be in ``benchmarks``.
        needs_era: Whether a step of the post-processing goes by era.

    Raises:
        errors.DataError: All that is missing, each fault with its file, names and counts.
    """
    live_columns = ["era", *features] if needs_era else list(features)
    rows, found = _file_faults(live, live_columns, fetch="live.parquet")
    if benchmarks is not None:
        found += _file_faults(benchmarks, benchmark_columns, fetch="live_benchmark_models.parquet")[1]
    elif benchmark_columns:
        found.append(
            f"{live}: comes without a benchmark file, and the model takes {_listed(benchmark_columns)}; "
            "name one as validate.data.benchmarks"
        )
    if found:
        raise errors.DataError(found)
    return LiveFiles(live=live, benchmarks=benchmarks, rows=rows)


class _Random:
    """Random numbers from the raw words of PCG64: numpy keeps that stream the same in all versions, and no other."""

    def __init__(self, seed: int) -> None:
        self._words = np.random.PCG64(seed)

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return uint64 (count,)."""
        return self._words.random_raw(count)

    def fifths(self, rows: int, columns: int) -> NDArray[np.int8]:
        """Return int8 (rows, columns), in Fortran order, from 0 to 4."""
        count = rows * columns
        octets = self.words(-(-count // 8)).astype("<u8", copy=False).view(np.uint8)[:count]
        return (octets % np.uint8(5)).view(np.int8).reshape(columns, rows).T

    def fractions(self, count: int) -> NDArray[np.float32]:
        """Return float32 (count,) in [0, 1)."""
        return (self.words(count) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)

    def ids(self, count: int) -> list[str]:
        """Return distinct ids: ``n`` and 15 hexadecimal digits."""
        found: dict[str, None] = {}
        while len(found) < count:
            found.update((f"n{word >> 4:015x}", None) for word in self.words(count - len(found)).tolist())
        return list(found)

    def order(self, count: int) -> NDArray[np.intp]:
        """Return a permutation of ``range(count)``."""
        return np.argsort(self.words(count), kind="stable")


def _live_frame(random: _Random, ids: list[str], features: Sequence[str], missing: set[str]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - 0.3 s that a cached file need not pay

    values = random.fifths(len(ids), len(features))
    unavailable = random.order(len(features))[: len(features) // _UNAVAILABLE_EVERY]
    values[:, unavailable] = 2
    index = pd.Index(ids, name="id")
    head = pd.DataFrame({"era": "X", "data_type": "live"}, index=index)
    body = pd.DataFrame(values, index=index, columns=list(features))
    if missing:
        body = body.astype(dict.fromkeys(missing, "float32"))
        body[sorted(missing)] = np.float32("nan")
    tail = pd.DataFrame(np.float32("nan"), index=index, columns=list(_TARGETS), dtype="float32")
    return pd.concat([head, body, tail], axis=1)


def _benchmark_frame(random: _Random, ids: list[str], rows: int, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - as above

    uncovered = rows // _UNCOVERED_EVERY
    covered = [ids[place] for place in random.order(len(ids)) if place >= uncovered]
    values = {name: random.fractions(len(covered)) for name in columns}
    return pd.DataFrame({"era": "X", **values}, index=pd.Index(covered, name="id"))


def _is_whole(made: LiveFiles) -> bool:
    """Tell whether both files are in the cache; they are renamed into it whole, but a disk can lose the end of one."""
    try:
        return all(pq.read_metadata(path) is not None for path in (made.live, made.benchmarks))
    except (OSError, pa.ArrowException):
        return False


def _store(cache: Path, frames: Iterable[tuple[pd.DataFrame, Path | None]]) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for frame, path in frames:
            if path is not None:
                _store_one(frame, path)
    except OSError as error:
        reason = error.strerror or error
        raise errors.DataError(
            [f"{cache}: shaped data cannot be written there ({reason}); free space, or set XDG_CACHE_HOME"]
        ) from error


def _store_one(frame: pd.DataFrame, path: Path) -> None:
    handle, name = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        # 2.4: the oldest format that keeps int8, for the pyarrow 11 of the oldest images.
        pq.write_table(pa.Table.from_pandas(frame), part, version="2.4", compression="snappy", data_page_version="1.0")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _file_faults(path: Path, columns: Sequence[str], *, fetch: str) -> tuple[int, list[str]]:
    """Return how many rows a file has, and what is wrong with it."""
    if not path.exists():
        how = f"fetch it (numerapi: download_dataset('v5.2/{fetch}')), {_HOW}"
        return 0, [f"{path}: does not exist; {how}"]
    if not path.is_file():
        return 0, [f"{path}: is not a file; {_HOW}"]
    try:
        with pq.ParquetFile(path) as file:
            rows = file.metadata.num_rows
            found = _schema_faults(path, file.schema_arrow, columns)
            if rows == 0:
                found.append(f"{path}: has no rows; {_HOW}")
            return rows, found + _value_faults(path, file, columns)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).split("\n", 1)[0][:200]
        return 0, [f"{path}: is not a parquet file that can be read ({reason}); fetch it again, or {_HOW}"]


def _schema_faults(path: Path, schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    found = []
    kinds: dict[str, list[pa.DataType]] = {}  # asking the schema itself by name is quadratic
    for field in schema:
        kinds.setdefault(field.name, []).append(field.type)
    index = _index_names(schema)
    if index != ["id"]:
        came = ", ".join(map(str, index)) if index else "none"
        found.append(f"{path}: index: is {came}, not id; write the frame with its ids as the index, named id")
    absent = [name for name in columns if name not in kinds]
    if "era" in absent:
        absent.remove("era")
        found.append(f"{path}: era: missing, and the model ranks by era; add it, or rank with scope: frame")
    if absent:
        wanted = sum(name != "era" for name in columns)
        found.append(
            f"{path}: {len(absent)} of {wanted} columns that the model takes are missing: {_listed(absent)}; "
            "fetch the data version that the model was trained on"
        )
    twice = [name for name in columns if len(kinds.get(name, ())) > 1]
    if twice:
        found.append(f"{path}: {_listed(twice)}: there twice; one column a name")
    numbered = [(name, kind) for name in columns if name != "era" for kind in kinds.get(name, ())]
    unfit = [f"{name} ({kind})" for name, kind in numbered if not _is_number(kind)]
    if unfit:
        found.append(f"{path}: {len(unfit)} columns are not numbers: {_listed(unfit)}; store them as int8 or float32")
    return found


def _index_names(schema: pa.Schema) -> list[object]:
    metadata = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name if isinstance(name, str) else "a range of numbers" for name in metadata]


def _is_number(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean))


def _value_faults(path: Path, file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    found = []
    names = file.schema_arrow.names
    if names.count("id") == 1:
        ids = file.read(columns=["id"], use_pandas_metadata=False).column("id")
        if ids.null_count:
            found.append(f"{path}: id: empty in {ids.null_count:,} of {len(ids):,} rows; give every row its id")
        counted = pc.value_counts(ids.drop_null()).flatten()
        twice = counted[0].filter(pc.greater(counted[1], 1)).to_pylist()
        if twice:
            found.append(f"{path}: id: {len(twice):,} ids are there more than once: {_listed(twice)}; drop the repeats")
    if "era" in columns and names.count("era") == 1:
        eras = file.read(columns=["era"], use_pandas_metadata=False).column("era")
        if eras.null_count:
            found.append(f"{path}: era: empty in {eras.null_count:,} of {len(eras):,} rows; give every row its era")
    return found


def _listed(names: Sequence[object]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(str(name) for name in names[:_SHOWN]) + more
