"""Check that the parquet files in a config's ``validate.data`` have what the pickle needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder import errors, lfs
from builder.text import format_list
from builder.validate.data import LiveFiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FIX = "set other files under validate.data, or use data: shaped"
_EXAMPLES_FOLDER = ("configs", "train", "fetched")

READ_ERRORS = (pa.ArrowException, OSError, ValueError, TypeError, RecursionError)
"""What reading a damaged parquet file raises; the last three from its column names or the metadata of pandas."""


def check_files(
    live: Path,
    benchmarks: Path | None,
    *,
    features: Sequence[str],
    benchmark_columns: Sequence[str],
    needs_era: bool,
    data_version: str,
) -> LiveFiles:
    """Check that files have what a model and its post-processing need; only their schemas, ids and eras are read.

    Args:
        live: A parquet file like ``live.parquet``.
        benchmarks: A parquet file like ``live_benchmark_models.parquet``, or None.
        features: Columns that must be in ``live``.
        benchmark_columns: Columns that must be in ``benchmarks``.
        data_version: Such as ``v5.3``, for the message about a missing file.
        needs_era: Whether a post-processing step uses the eras.

    Raises:
        errors.DataError: All problems, each with its file, names and counts.
    """
    live_columns = ["era", *features] if needs_era else list(features)
    rows, problems = _check_file(live, live_columns, fetch=f"{data_version}/live.parquet")
    if benchmarks is not None:
        fetch = f"{data_version}/live_benchmark_models.parquet"
        wrong = _check_file(benchmarks, benchmark_columns, fetch=fetch)[1]
        swapped = find_swap(benchmarks)
        problems += [f"{swapped}; set validate.data.benchmarks to {fetch}"] if swapped else wrong
    elif benchmark_columns:
        problems.append(
            f"{live}: the benchmark file is missing, and the pickle takes {format_list(benchmark_columns)}; "
            "set validate.data.benchmarks"
        )
    if problems:
        raise errors.DataError(problems)
    return LiveFiles(live=live, benchmarks=benchmarks, rows=rows)


def read_columns(*files: Path | None) -> frozenset[str]:
    """Return the names of the columns of parquet files that were checked before; None for one that is not there."""
    return frozenset(name for file in files if file for name in pq.read_schema(file).names)


def find_swap(benchmarks: Path) -> str:
    """Return why a parquet file is not one of benchmark predictions: it has features; empty if it may be one."""
    try:
        names = [name for name in pq.read_schema(benchmarks).names if name.startswith("feature_")]
    except READ_ERRORS:
        return ""
    if not names:
        return ""
    shown = format_list(names, most=3)
    return f"{benchmarks}: is a file of live features ({shown}), but expected one of benchmark predictions"


def _check_file(path: Path, columns: Sequence[str], *, fetch: str) -> tuple[int, list[str]]:
    """Return the number of rows of a file and its problems."""
    if not path.exists():
        fix = f"fetch it (numerapi: download_dataset('{fetch}')), {_FIX}"
        if path.parts[-4:-1] == _EXAMPLES_FOLDER:
            fix = f"run `make rows` to fetch the rows of the examples, or {_FIX}"
        return 0, [f"{path}: does not exist; {fix}"]
    if not path.is_file():
        return 0, [f"{path}: is not a file; {_FIX}"]
    try:
        with pq.ParquetFile(path) as file:
            rows = file.metadata.num_rows
            problems = _check_schema(path, file.schema_arrow, columns)
            if rows == 0:
                problems.append(f"{path}: has no rows; {_FIX}")
            return rows, problems + _check_values(path, file, columns)
    except READ_ERRORS as error:
        reason = str(error).split("\n", 1)[0][:200]
        if pointer := lfs.find_pointer_problem(path):
            return 0, [f"{path}: {pointer}"]
        return 0, [f"{path}: is not a readable parquet file ({reason}); fetch it again, or {_FIX}"]


def _check_schema(path: Path, schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    problems = []
    types: dict[str, list[pa.DataType]] = {}  # by name: the schema's own lookup is linear
    for field in schema:
        types.setdefault(field.name, []).append(field.type)
    index = _get_index_names(schema)
    if index != ["id"]:
        names = ", ".join(map(str, index)) if index else "none"
        problems.append(f"{path}: index: is {names}; expected id: write the frame with its ids as the index, named id")
    missing = [name for name in columns if name not in types]
    if "era" in missing:  # a message of its own: another data version would not help
        missing.remove("era")
        problems.append(f"{path}: era: is missing, and the post-processing uses it; add it, or use scope: frame")
    if missing:
        count = sum(name != "era" for name in columns)
        problems.append(
            f"{path}: {len(missing)} of {count} columns that the pickle takes are missing: {format_list(missing)}; "
            "fetch the data version that the model was trained on"
        )
    duplicates = [name for name in columns if len(types.get(name, ())) > 1]
    if duplicates:
        problems.append(f"{path}: {format_list(duplicates)}: duplicate columns; expected one column per name")
    typed = [(name, column_type) for name in columns if name != "era" for column_type in types.get(name, ())]
    not_numeric = [f"{name} ({column_type})" for name, column_type in typed if not _is_numeric(column_type)]
    if not_numeric:
        problems.append(
            f"{path}: {len(not_numeric)} columns are not numeric: {format_list(not_numeric)}; use int8 or float32"
        )
    return problems


def _get_index_names(schema: pa.Schema) -> list[object]:
    # pandas stores the names of the index, or a description of a range, in the file's metadata:
    # https://pandas.pydata.org/docs/development/developer.html
    metadata = schema.pandas_metadata
    columns = metadata.get("index_columns") if isinstance(metadata, dict) else None
    return [name if isinstance(name, str) else "a range of numbers" for name in columns or []]


def _is_numeric(column_type: pa.DataType) -> bool:
    return any(predicate(column_type) for predicate in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean))


def _check_values(path: Path, file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    problems = []
    # Only ids and eras are read: a file has thousands of features.
    names = file.schema_arrow.names
    if names.count("id") == 1:
        ids = file.read(columns=["id"], use_pandas_metadata=False).column("id")
        if ids.null_count:
            problems.append(
                f"{path}: id: empty in {ids.null_count:,} of {len(ids):,} rows; expected an id in every row"
            )
        values, counts = pc.value_counts(ids.drop_null()).flatten()
        duplicates = values.filter(pc.greater(counts, 1)).to_pylist()
        if duplicates:
            problems.append(
                f"{path}: id: {len(duplicates):,} duplicate ids: {format_list(duplicates)}; remove the repeated rows"
            )
    if "era" in columns and names.count("era") == 1:
        eras = file.read(columns=["era"], use_pandas_metadata=False).column("era")
        if eras.null_count:
            problems.append(
                f"{path}: era: empty in {eras.null_count:,} of {len(eras):,} rows; expected an era in every row"
            )
    return problems
