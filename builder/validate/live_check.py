"""Parquet files that a config names as live data: whether they have what a pickle needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder import errors
from builder.text import format_list
from builder.validate.data import LiveFiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HOW = "name other files under validate.data, or use data: shaped"
_EXAMPLE_ROWS = ("configs", "train", "fetched")

READ_ERRORS = (pa.ArrowException, OSError, ValueError, TypeError, RecursionError)
"""What reading a damaged parquet file raises; the last three where its names or the metadata of pandas are read."""


def check_files(
    live: Path,
    benchmarks: Path | None,
    *,
    features: Sequence[str],
    benchmark_columns: Sequence[str],
    needs_era: bool,
    data_version: str,
) -> LiveFiles:
    """Make sure that files have what a model and its post-processing need; reads their schemas, ids and eras alone.

    Args:
        live: Parquet in the shape of ``live.parquet``.
        benchmarks: Parquet in the shape of ``live_benchmark_models.parquet``.
        features: Columns that must be in ``live``.
        benchmark_columns: Columns that must be in ``benchmarks``.
        data_version: Such as ``v5.2``: what is said to be fetched where a file is absent.
        needs_era: Whether a step of the post-processing goes by era.

    Raises:
        errors.DataError: All that is missing, each fault with its file, names and counts.
    """
    live_columns = ["era", *features] if needs_era else list(features)
    rows, found = _file_faults(live, live_columns, fetch=f"{data_version}/live.parquet")
    if benchmarks is not None:
        found += _file_faults(benchmarks, benchmark_columns, fetch=f"{data_version}/live_benchmark_models.parquet")[1]
    elif benchmark_columns:
        found.append(
            f"{live}: comes without a benchmark file, and the pickle takes {format_list(benchmark_columns)}; "
            "name one as validate.data.benchmarks"
        )
    if found:
        raise errors.DataError(found)
    return LiveFiles(live=live, benchmarks=benchmarks, rows=rows)


def _file_faults(path: Path, columns: Sequence[str], *, fetch: str) -> tuple[int, list[str]]:
    """Return how many rows a file has, and what is wrong with it."""
    if not path.exists():
        how = f"fetch it (numerapi: download_dataset('{fetch}')), {_HOW}"
        if path.parts[-4:-1] == _EXAMPLE_ROWS:
            how = f"run `make rows`, which fetches the examples' rows, or {_HOW}"
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
    except READ_ERRORS as error:
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
        found.append(f"{path}: era: missing, and the post-processing goes by era; add it, or use scope: frame")
    if absent:
        wanted = sum(name != "era" for name in columns)
        found.append(
            f"{path}: {len(absent)} of {wanted} columns that the pickle takes are missing: {format_list(absent)}; "
            "fetch the data version that the model was trained on"
        )
    twice = [name for name in columns if len(kinds.get(name, ())) > 1]
    if twice:
        found.append(f"{path}: {format_list(twice)}: there twice; one column a name")
    numbered = [(name, kind) for name in columns if name != "era" for kind in kinds.get(name, ())]
    unfit = [f"{name} ({kind})" for name, kind in numbered if not _is_number(kind)]
    if unfit:
        found.append(
            f"{path}: {len(unfit)} columns are not numbers: {format_list(unfit)}; store them as int8 or float32"
        )
    return found


def _index_names(schema: pa.Schema) -> list[object]:
    metadata = schema.pandas_metadata
    columns = metadata.get("index_columns") if isinstance(metadata, dict) else None
    return [name if isinstance(name, str) else "a range of numbers" for name in columns or []]


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
            found.append(
                f"{path}: id: {len(twice):,} ids are there more than once: {format_list(twice)}; drop the repeats"
            )
    if "era" in columns and names.count("era") == 1:
        eras = file.read(columns=["era"], use_pandas_metadata=False).column("era")
        if eras.null_count:
            found.append(f"{path}: era: empty in {eras.null_count:,} of {len(eras):,} rows; give every row its era")
    return found
