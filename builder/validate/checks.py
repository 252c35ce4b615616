"""Judge predictions that came out of a container: untrusted bytes, read strictly."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from builder.text import format_list, sanitize
from builder.validate import known_causes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_COLUMN = "prediction"
_AGAIN = ", then run `make pickle CONFIG=...`"
_SAME_INDEX = f"return one row for each row of live_features, such as by `.reindex(live_features.index)`{_AGAIN}"
_MAX_ROW_BYTES, _EXTRA_ROWS = 100, 1000  # a row has about 40 bytes


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check.

    Attributes:
        name: What is checked.
        good: None for a note, which passes or fails nothing.
        detail: The evidence: the figure, or what is wrong.
        fix: What to do; empty if nothing.
    """

    name: str
    good: bool | None
    detail: str
    fix: str = ""

    @property
    def text(self) -> str:
        """The detail and the fix in one sentence."""
        return f"{self.detail}; {self.fix}" if self.fix else self.detail


def read_ids(live: Path) -> list[str]:
    """Return the ids of live features, a parquet file that pandas wrote, as they are in a CSV."""
    with pq.ParquetFile(live) as file:
        metadata = file.schema_arrow.pandas_metadata or {}
        names = [name for name in metadata.get("index_columns", ()) if isinstance(name, str)]
        if len(names) != 1:  # a range of numbers
            return [str(row) for row in range(file.metadata.num_rows)]
        return [str(value) for value in file.read(columns=names, use_pandas_metadata=False).column(0).to_pylist()]


def judge_csv(content: bytes, ids: Sequence[str]) -> list[Check]:
    """Return the checks of the CSV that the entry point wrote.

    Args:
        content: The file.
        ids: The ids that it should have, in this order.
    """
    try:
        columns, names, values = read_csv(content, rows=len(ids))
    except ValueError as error:
        detail = f"is not a CSV of predictions: {sanitize(str(error))}"
        return [Check(name="csv", good=False, detail=detail, fix=f"let only the runner write the CSV{_AGAIN}")]
    return [
        _judge_columns(columns),
        _judge_index(names, ids),
        _judge_duplicates(names),
        *judge_values(values, names),
    ]


def judge_values(values: NDArray[np.float64], ids: Sequence[str]) -> list[Check]:
    """Return the checks of predictions: finite, from 0 to 1, and not all equal."""
    is_finite = np.isfinite(values)
    finite = values[is_finite]
    outside = is_finite & ((values < 0) | (values > 1))
    missing = "no NaN, no infinity"
    if not is_finite.all():
        first = sanitize(ids[int((~is_finite).argmax())])
        missing = f"{int((~is_finite).sum())} values are not finite, the first at id {first}"
    bounds = f"{finite.min():.6g} to {finite.max():.6g}" if len(finite) else "no values"
    if outside.any():
        bounds += f", the first outside at id {sanitize(ids[int(outside.argmax())])}"
    distinct = len(np.unique(finite))
    is_constant = distinct < 2 and len(ids) != 1  # a single row is constant
    values_text = "1 value in all rows" if distinct == 1 else f"{distinct} different values"
    return [
        _judge("finite", known_causes.FILL_MISSING, missing, good=is_finite.all()),
        _judge(
            "in [0, 1]",
            known_causes.END_WITH_RANK,
            bounds,
            good=len(finite) > 0 and not outside.any(),
        ),
        _judge(
            "not constant",
            f"check that the predictions depend on the features, and that no step removes all spread{_AGAIN}",
            values_text,
            good=not is_constant,
        ),
    ]


def _judge(name: str, fix: str, detail: str, *, good: bool | np.bool) -> Check:
    """Return a check, with the fix if it failed."""
    return Check(name=name, good=bool(good), detail=detail, fix="" if good else fix)


def read_csv(content: bytes, *, rows: int) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Return the names of the columns after the id, the ids, and the values of the first column, NaN for any text.

    Args:
        content: The file.
        rows: How many rows it should have; a file with many more is refused.

    Raises:
        ValueError: It is not a CSV in UTF-8 with a header and as many fields in each row.
    """
    max_rows = 2 * rows + _EXTRA_ROWS
    if len(content) > _MAX_ROW_BYTES * max_rows:
        raise ValueError(f"it has {len(content):,} bytes; expected at most {_MAX_ROW_BYTES * max_rows:,}")
    if b"\0" in content:
        raise ValueError("it contains a NUL byte")
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
        header = next(reader, [])
        if len(header) < 2:
            raise ValueError(f"its first line has {len(header)} columns; expected id and {_COLUMN}")
        ids, values = [], []
        for row in reader:
            if len(row) != len(header):
                raise ValueError(f"line {reader.line_num:,} has {len(row)} fields; expected {len(header)}")
            ids.append(row[0])
            values.append(_parse_number(row[1]))
            if len(ids) > max_rows:
                raise ValueError(f"it has more than {max_rows:,} rows")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is not UTF-8") from error
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return header[1:], ids, np.array(values, dtype=np.float64)


def _parse_number(text: str) -> float:
    try:
        return float(text) if "_" not in text else math.nan  # Python's own notation, which no CSV reader takes
    except ValueError:
        return math.nan


def _judge_columns(columns: list[str]) -> Check:
    detail = format_list([sanitize(name) for name in columns])
    if columns != [_COLUMN]:
        detail += f"; expected one column, {_COLUMN}"
    fix = f"return a DataFrame with one column, named `prediction`{_AGAIN}"
    return _judge("column", fix, detail, good=columns == [_COLUMN])


def _judge_index(names: list[str], ids: Sequence[str]) -> Check:
    if names == list(ids):
        return Check(name="index", good=True, detail=f"{len(names)} of {len(ids)} ids, in their order")
    missing, extra = set(ids) - set(names), set(names) - set(ids)
    if not missing and not extra and len(names) == len(ids):
        detail = f"{len(ids)} of {len(ids)} ids, in another order than in live_features"
    else:
        lists = (", ".join(sanitize(name) for name in sorted(group)[:3]) or "none" for group in (missing, extra))
        detail = "{} rows for {} ids; missing: {}; unexpected: {}".format(len(names), len(ids), *lists)
    return Check(name="index", good=False, detail=detail, fix=_SAME_INDEX)


def _judge_duplicates(names: list[str]) -> Check:
    count = len(names) - len(set(names))
    if not count:
        return Check(name="ids", good=True, detail="no duplicate ids")
    known: set[str] = set()
    first = next(name for name in names if name in known or known.add(name))  # type: ignore[func-returns-value]
    return Check(
        name="ids", good=False, detail=f"{count} duplicate ids, the first is {sanitize(first)}", fix=_SAME_INDEX
    )
