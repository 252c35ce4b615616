"""Shaped data looks like live data; the user's own files are checked before a container is started."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors
from builder.validate import data, live_check

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = tuple(f"feature_{place}" for place in range(120))


def frames(files: data.LiveFiles) -> tuple[pd.DataFrame, pd.DataFrame]:
    assert files.benchmarks is not None
    return pd.read_parquet(files.live), pd.read_parquet(files.benchmarks)


def test_shaped_data_has_the_shape_of_live_data(tmp_path: Path) -> None:
    made = data.make_shaped_data(features=FEATURES, benchmarks=(), rows=1500, cache=tmp_path)
    live, benchmarks = frames(made)
    assert made.rows == len(live) == 1500
    assert live.index.name == "id"
    assert live.index.is_unique
    assert live.index.str.fullmatch("n[0-9a-f]{15}").all()
    assert list(live.columns[:2]) == ["era", "data_type"]
    assert set(live["era"]) == {"X"}
    assert set(live["data_type"]) == {"live"}
    assert list(live.columns[2:122]) == list(FEATURES)
    assert (live[list(FEATURES)].dtypes == np.int8).all()
    assert np.unique(live[list(FEATURES)]).tolist() == [0, 1, 2, 3, 4]
    targets = [name for name in live.columns if name.startswith("target")]
    assert targets
    assert live[targets].isna().all(axis=None)
    unavailable = [name for name in FEATURES if (live[name] == 2).all()]
    assert 0 < len(unavailable) < 10
    assert list(benchmarks.columns) == ["era", "v52_lgbm_ender20"]
    assert benchmarks["v52_lgbm_ender20"].dtype == np.float32


def test_benchmarks_come_in_another_order_and_for_other_ids(tmp_path: Path) -> None:
    live, benchmarks = frames(
        data.make_shaped_data(features=FEATURES, benchmarks=["one", "two"], rows=1500, cache=tmp_path)
    )
    assert list(benchmarks.columns) == ["era", "one", "two"]
    assert benchmarks.index.name == "id"
    assert benchmarks.index.is_unique
    assert 0 < len(live.index.difference(benchmarks.index)) < 15
    assert 0 < len(benchmarks.index.difference(live.index)) < 15
    shared = live.index.intersection(benchmarks.index)
    assert list(shared) != [name for name in benchmarks.index if name in live.index]
    assert benchmarks[["one", "two"]].ge(0).all(axis=None)
    assert benchmarks[["one", "two"]].lt(1).all(axis=None)


def test_the_same_arguments_give_the_same_values_on_any_machine(tmp_path: Path) -> None:
    one = frames(data.make_shaped_data(features=FEATURES, benchmarks=["b"], rows=50, cache=tmp_path / "one"))
    two = frames(data.make_shaped_data(features=FEATURES, benchmarks=["b"], rows=50, cache=tmp_path / "two"))
    for first, second in zip(one, two, strict=True):
        pd.testing.assert_frame_equal(first, second)
    # Known values: a later numpy that changed them would change what is validated on.
    live, benchmarks = one
    digest = hashlib.sha256(live[list(FEATURES)].to_numpy().tobytes()).hexdigest()
    assert (live.index[0], digest[:16]) == ("n416f46735a60a33", "1fad74b2085fbd05")
    assert benchmarks["b"].iloc[0] == np.float32("0.4441831")


@pytest.mark.parametrize("change", [{"seed": 1}, {"rows": 51}, {"benchmarks": ["c"]}, {"missing": ["feature_3"]}])
def test_other_arguments_give_other_files(change: dict[str, object], tmp_path: Path) -> None:
    usual: dict[str, object] = {"features": FEATURES, "benchmarks": ["b"], "rows": 50}
    first = data.make_shaped_data(**usual, cache=tmp_path)  # type: ignore[arg-type]
    second = data.make_shaped_data(**(usual | change), cache=tmp_path)  # type: ignore[arg-type]
    assert first.live != second.live
    assert len(list(tmp_path.iterdir())) == 4


def test_features_can_be_missing_in_every_row(tmp_path: Path) -> None:
    live, _ = frames(
        data.make_shaped_data(features=FEATURES, benchmarks=(), rows=9, missing=["feature_7"], cache=tmp_path)
    )
    assert live["feature_7"].isna().all()
    assert live["feature_7"].dtype == np.float32
    assert list(live.columns[2:122]) == list(FEATURES)


def test_made_once_and_made_again_when_damaged(tmp_path: Path) -> None:
    first = data.make_shaped_data(features=FEATURES, benchmarks=(), rows=20, cache=tmp_path)
    whole, stamp = first.live.read_bytes(), first.live.stat().st_ino
    assert data.make_shaped_data(features=FEATURES, benchmarks=(), rows=20, cache=tmp_path) == first
    assert first.live.stat().st_ino == stamp
    first.live.write_bytes(whole[:-100])
    data.make_shaped_data(features=FEATURES, benchmarks=(), rows=20, cache=tmp_path)
    assert first.live.read_bytes() == whole
    assert {path.suffix for path in tmp_path.iterdir()} == {".parquet"}


@settings(max_examples=12)
@given(rows=st.integers(1, 30), features=st.integers(1, 60), seed=st.integers(0, 2**64))
def test_any_size_passes_its_own_check(
    rows: int, features: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = [f"f{place}" for place in range(features)]
    cache = tmp_path_factory.mktemp("cache")
    made = data.make_shaped_data(features=names, benchmarks=["b"], rows=rows, seed=seed, cache=cache)
    checked = live_check.check_files(
        made.live, made.benchmarks, features=names, benchmark_columns=["b"], needs_era=True, data_version="v5.2"
    )
    assert checked == made


def test_a_cache_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.DataError, match="shaped data cannot be written"):
        data.make_shaped_data(features=["a"], benchmarks=(), rows=2, cache=tmp_path / "file")


def test_no_rows_and_strangers_among_the_missing_are_mistakes_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows=0"):
        data.make_shaped_data(features=["a"], benchmarks=(), rows=0, cache=tmp_path)
    with pytest.raises(ValueError, match="only features"):
        data.make_shaped_data(features=["a"], benchmarks=(), rows=1, missing=["b"], cache=tmp_path)


def write_live(folder: Path, frame: pd.DataFrame | None = None) -> Path:
    """Write a good little frame, or the one given."""
    path = folder / "live.parquet"
    (good_frame() if frame is None else frame).to_parquet(path)
    return path


def good_frame(rows: int = 3) -> pd.DataFrame:
    index = pd.Index([f"n{place:015x}" for place in range(rows)], name="id")
    return pd.DataFrame({"era": "X", "a": np.int8(1), "b": np.int8(2)}, index=index)


def faults(path: Path, benchmarks: Path | None = None, **wanted: object) -> str:
    arguments = {"features": ["a", "b"], "benchmark_columns": [], "needs_era": True, "data_version": "v5.2"} | wanted
    with pytest.raises(errors.DataError) as caught:
        live_check.check_files(path, benchmarks, **arguments)  # type: ignore[arg-type]
    assert all(fault.startswith((f"{path}: ", f"{benchmarks}: ")) for fault in caught.value.problems)
    return str(caught.value)


def test_good_files_are_returned_with_their_rows(tmp_path: Path) -> None:
    path = write_live(tmp_path)
    wanted = data.LiveFiles(live=path, benchmarks=None, rows=3)
    assert (
        live_check.check_files(path, None, features=["a"], benchmark_columns=[], needs_era=True, data_version="v5.2")
        == wanted
    )


def test_an_absent_file_says_how_to_fetch_it(tmp_path: Path) -> None:
    said = faults(tmp_path / "live.parquet")
    assert "does not exist" in said
    assert "download_dataset" in said
    assert "validate.data" in said


@pytest.mark.parametrize("content", [b"", b"id,era\n", b"PAR1 and nothing more PAR1"])
def test_a_file_that_is_no_parquet_says_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "live.parquet"
    path.write_bytes(content)
    assert "is not a parquet file" in faults(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "is not a file" in faults(tmp_path)


def test_missing_features_come_with_names_and_counts(tmp_path: Path) -> None:
    said = faults(write_live(tmp_path), features=["a", *(f"z{place}" for place in range(7))])
    assert "7 of 8 columns" in said
    assert "z0, z1, z2, z3, z4 and 2 more" in said


def test_era_is_missed_only_where_ranks_need_it(tmp_path: Path) -> None:
    path = write_live(tmp_path, good_frame().drop(columns="era"))
    assert "era: missing" in faults(path)
    assert (
        live_check.check_files(
            path, None, features=["a"], benchmark_columns=[], needs_era=False, data_version="v5.2"
        ).rows
        == 3
    )


def test_empty_eras_are_counted(tmp_path: Path) -> None:
    frame = good_frame()
    frame.loc[frame.index[:2], "era"] = None
    assert "era: empty in 2 of 3 rows" in faults(write_live(tmp_path, frame))


def test_no_rows_is_a_fault(tmp_path: Path) -> None:
    assert "has no rows" in faults(write_live(tmp_path, good_frame(0)))


def test_repeated_ids_are_named(tmp_path: Path) -> None:
    frame = pd.concat([good_frame(), good_frame(1)])
    assert "1 ids are there more than once: n000000000000000" in faults(write_live(tmp_path, frame))


def test_ids_as_a_column_are_not_an_index(tmp_path: Path) -> None:
    assert "index: is a range of numbers, not id" in faults(write_live(tmp_path, good_frame().reset_index()))


def test_an_index_of_another_name_is_told(tmp_path: Path) -> None:
    assert "index: is key, not id" in faults(write_live(tmp_path, good_frame().rename_axis("key")))


def test_a_file_of_another_tool_has_no_index(tmp_path: Path) -> None:
    path = tmp_path / "live.parquet"
    pq.write_table(pa.table({"id": ["n1"], "era": ["X"], "a": [1], "b": [2]}), path)
    assert "index: is none, not id" in faults(path)


def test_text_in_a_feature_is_told(tmp_path: Path) -> None:
    said = faults(write_live(tmp_path, good_frame().assign(b="2")))
    assert "1 columns are not numbers: b (string)" in said or "b (large_string)" in said


def test_benchmark_columns_are_asked_for_in_their_own_file(tmp_path: Path) -> None:
    live = write_live(tmp_path)
    benchmarks = tmp_path / "benchmarks.parquet"
    good_frame()[["era", "a"]].to_parquet(benchmarks)
    said = faults(live, benchmarks, benchmark_columns=["v52_lgbm_ender20"])
    assert said.startswith(str(benchmarks))
    assert "v52_lgbm_ender20" in said
    assert "validate.data.benchmarks" in faults(live, None, benchmark_columns=["v52_lgbm_ender20"])


def test_all_faults_of_both_files_come_at_once(tmp_path: Path) -> None:
    live = write_live(tmp_path, good_frame(0).drop(columns=["era", "a"]).rename_axis("key"))
    with pytest.raises(errors.DataError) as caught:
        live_check.check_files(
            live, tmp_path / "absent", features=["a"], benchmark_columns=["v"], needs_era=True, data_version="v5.2"
        )
    assert len(caught.value.problems) == 5
