"""Make frames that look like live data, and write them as parquet files that the oldest images can read."""

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
_UNAVAILABLE_EVERY = 50  # one feature in 50 is 2 in all rows, like one that is not available yet
_UNCOVERED_EVERY = 500  # one live id in 500, but at least one, has no benchmark row, and as many other ids have one


def make_frames(
    features: Sequence[str],
    unread: Sequence[str],
    benchmarks: Sequence[str],
    unread_benchmarks: Sequence[str],
    *,
    rows: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the frames of live features and benchmark predictions; the same arguments always give the same values.

    Args:
        features: The features that the model reads: int8 from 0 to 4.
        unread: The other features: the same.
        benchmarks: The benchmark models that it reads: float32 in [0, 1).
        unread_benchmarks: The other benchmark models: the same.
        rows: How many live rows.
        seed: Seed of the random numbers.
    """
    random = _Random(seed)
    uncovered = min(rows - 1, max(1, rows // _UNCOVERED_EVERY))  # a single row has its benchmarks
    ids = random.draw_ids(rows + max(1, uncovered))
    live = _make_live_frame(random, ids[:rows], features, unread)
    return live, _make_benchmark_frame(random, ids[uncovered:], random.mix_names(benchmarks, unread_benchmarks))


def write_frames(frames: Iterable[tuple[pd.DataFrame, Path]]) -> None:
    """Write frames as parquet files, each complete or missing, never partial.

    Raises:
        errors.DataError: A file cannot be written.
    """
    for frame, path in frames:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_frame(frame, path)
        except OSError as error:
            reason = error.strerror or error
            raise errors.DataError(
                [f"{path}: cannot write shaped data ({reason}); free disk space, or set XDG_CACHE_HOME"]
            ) from error


class _Random:
    """Random numbers from the raw 64-bit words of PCG64.

    numpy guarantees that this stream is the same in all versions, but not what its distributions make of it:
    https://numpy.org/devdocs/reference/random/bit_generators/pcg64.html
    """

    def __init__(self, seed: int) -> None:
        self._words = np.random.PCG64(seed)

    def draw_words(self, count: int) -> NDArray[np.uint64]:
        """Return uint64 (count,)."""
        return self._words.random_raw(count)

    def draw_fifths(self, rows: int, columns: int) -> NDArray[np.int8]:
        """Return int8 (rows, columns), in Fortran order, from 0 to 4."""
        count = rows * columns
        octets = self.draw_words(-(-count // 8)).astype("<u8", copy=False).view(np.uint8)[:count]
        return (octets % np.uint8(5)).view(np.int8).reshape(columns, rows).T

    def draw_fractions(self, count: int) -> NDArray[np.float32]:
        """Return float32 (count,) in [0, 1)."""
        return (self.draw_words(count) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)

    def draw_ids(self, count: int) -> list[str]:
        """Return distinct ids: ``n`` and 15 hexadecimal digits."""
        ids: dict[str, None] = {}
        while len(ids) < count:  # again if there were duplicates
            ids.update((f"n{word >> 4:015x}", None) for word in self.draw_words(count - len(ids)).tolist())
        return list(ids)

    def draw_order(self, count: int) -> NDArray[np.intp]:
        """Return a permutation of ``range(count)``."""
        return np.argsort(self.draw_words(count), kind="stable")

    def mix_names(self, names: Sequence[str], others: Sequence[str]) -> list[str]:
        """Return all names: the first ones in another order, with the others before, between and after them."""
        order, other_order = self.draw_order(len(names)), self.draw_order(len(others))
        if (order[:-1] < order[1:]).all():  # another order of two names is their reverse half of the time
            order = order[::-1]
        mixed = [*(names[index] for index in order), *(others[index] for index in other_order)]
        positions = np.arange(1, len(names) + 1) / (len(names) + 1), np.linspace(0, 1, len(others))
        return [mixed[index] for index in np.argsort(np.concatenate(positions), kind="stable")]


def _make_live_frame(random: _Random, ids: list[str], features: Sequence[str], unread: Sequence[str]) -> pd.DataFrame:
    columns = random.mix_names(features, unread)
    values = random.draw_fifths(len(ids), len(columns))
    # Of both kinds, so that a model with few features does not read constants only.
    unavailable = {
        names[index]
        for names in (features, unread)
        for index in random.draw_order(len(names))[: len(names) // _UNAVAILABLE_EVERY]
    }
    values[:, [name in unavailable for name in columns]] = 2
    index = pd.Index(ids, name="id")
    head = pd.DataFrame({"era": "X", "data_type": "live"}, index=index)
    body = pd.DataFrame(values, index=index, columns=columns)
    tail = pd.DataFrame(np.float32("nan"), index=index, columns=list(_TARGETS), dtype="float32")
    return pd.concat([head, body, tail], axis=1)


def _make_benchmark_frame(random: _Random, ids: list[str], columns: Sequence[str]) -> pd.DataFrame:
    index = pd.Index([ids[row] for row in random.draw_order(len(ids))], name="id")
    values = {name: random.draw_fractions(len(ids)) for name in columns}
    return pd.DataFrame({"era": "X", **values}, index=index)


def _write_frame(frame: pd.DataFrame, path: Path) -> None:
    handle, name = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        # 2.4 is the oldest format that keeps int8; the oldest images have pyarrow 11.
        pq.write_table(pa.Table.from_pandas(frame), part, version="2.4", compression="snappy", data_page_version="1.0")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
