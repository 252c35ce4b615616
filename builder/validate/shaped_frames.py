"""Makes frames in the shape of live data, and stores them as the oldest images can read them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_TARGETS = ("target", "target_ender_20", "target_ender_60")
_UNAVAILABLE_EVERY = 50  # one feature in so many is all 2
_UNCOVERED_EVERY = 500  # one live id in so many has no benchmark row, and as many foreign ids have one


def make(
    features: Sequence[str], benchmarks: Sequence[str], *, rows: int, seed: int, missing: set[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return live features and benchmark predictions; the same arguments always give the same values.

    Args:
        features: Names of the feature columns: int8 from 0 to 4, or float32 NaN where ``missing`` has the name.
        benchmarks: Names of the benchmark columns: float32 in [0, 1).
        rows: How many live rows.
        seed: Of the random numbers.
        missing: Names of features.
    """
    random = _Random(seed)
    ids = random.ids(rows + rows // _UNCOVERED_EVERY)
    live = _live_frame(random, ids[:rows], features, missing)
    return live, _benchmark_frame(random, ids, rows, benchmarks)


def store(frames: Iterable[tuple[pd.DataFrame, Path]]) -> None:
    """Write frames as parquet files, each whole or not at all.

    Raises:
        errors.DataError: One cannot be written.
    """
    for frame, path in frames:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _store_one(frame, path)
        except OSError as error:
            reason = error.strerror or error
            raise errors.DataError(
                [f"{path}: shaped data cannot be written there ({reason}); free space, or set XDG_CACHE_HOME"]
            ) from error


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
    uncovered = rows // _UNCOVERED_EVERY
    covered = [ids[place] for place in random.order(len(ids)) if place >= uncovered]
    values = {name: random.fractions(len(covered)) for name in columns}
    return pd.DataFrame({"era": "X", **values}, index=pd.Index(covered, name="id"))


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
