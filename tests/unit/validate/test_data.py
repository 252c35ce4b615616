"""Shaped data look like live data; files of the user are checked before a container is started."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any

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

FEATURES = tuple(f"feature_{index}" for index in range(120))


def read_frames(files: data.LiveFiles) -> tuple[pd.DataFrame, pd.DataFrame]:
    assert files.benchmarks is not None
    return pd.read_parquet(files.live), pd.read_parquet(files.benchmarks)


def test_shaped_data_has_the_shape_of_live_data(tmp_path: Path) -> None:
    files = data.make_shaped_data(features=FEATURES, benchmarks=(), rows=1500, cache=tmp_path)
    live, benchmarks = read_frames(files)
    assert files.rows == len(live) == 1500
    assert live.index.name == "id"
    assert live.index.is_unique
    assert live.index.str.fullmatch("n[0-9a-f]{15}").all()
    assert list(live.columns[:2]) == ["era", "data_type"]
    assert set(live["era"]) == {"X"}
    assert set(live["data_type"]) == {"live"}
    assert (live[list(FEATURES)].dtypes == np.int8).all()
    assert np.unique(live[list(FEATURES)]).tolist() == [0, 1, 2, 3, 4]
    targets = [name for name in live.columns if name.startswith("target")]
    assert targets
    assert live[targets].isna().all(axis=None)
    unavailable = [name for name in FEATURES if (live[name] == 2).all()]
    assert 0 < len(unavailable) < 10
    assert "v53_lgbm_ender20" in benchmarks.columns
    assert (benchmarks.drop(columns="era").dtypes == np.float32).all()


@pytest.mark.parametrize("features", [FEATURES, FEATURES[:3], FEATURES[:2], FEATURES[:1]])
def test_unread_features_are_before_between_and_after_those_of_the_model(
    features: tuple[str, ...], tmp_path: Path
) -> None:
    live, _ = read_frames(data.make_shaped_data(features=features, benchmarks=(), rows=20, cache=tmp_path))
    names = [name for name in live.columns if name.startswith("feature_")]
    positions = [names.index(name) for name in features]
    assert len(set(names)) == len(names) == len(features) + 30
    assert (min(positions) > 0, max(positions) < len(names) - 1) == (True, True)
    if len(features) > 1:
        assert positions != sorted(positions)
        assert max(positions) - min(positions) >= len(features)


def test_live_rows_have_all_features_of_a_known_data_version(tmp_path: Path) -> None:
    known = [f"feature_{index}" for index in range(200)]
    files = data.make_shaped_data(features=FEATURES, benchmarks=(), known=known, rows=20, cache=tmp_path)
    live = read_frames(files)[0]
    columns = list(live.columns[2:202])
    assert set(columns) == set(known)
    assert columns != known
    assert (live[columns[0]] != live[columns[1]]).any()
    # Only those of the model: in another order than the model's, which may read them all.
    files = data.make_shaped_data(features=FEATURES, benchmarks=(), known=FEATURES[::-1], rows=20, cache=tmp_path)
    columns = list(read_frames(files)[0].columns[2:122])
    assert set(columns) == set(FEATURES)
    assert columns not in (list(FEATURES), list(FEATURES[::-1]))
    # Of another data version: it does not have the model's features, so nothing is known of its own.
    files = data.make_shaped_data(features=FEATURES, benchmarks=(), known=["other"], rows=20, cache=tmp_path)
    assert files == data.make_shaped_data(features=FEATURES, benchmarks=(), rows=20, cache=tmp_path)


def test_benchmarks_come_in_another_order_and_for_other_ids(tmp_path: Path) -> None:
    live, benchmarks = read_frames(
        data.make_shaped_data(features=FEATURES, benchmarks=["one", "two"], rows=1500, cache=tmp_path)
    )
    names = list(benchmarks.columns)
    assert 1 < names.index("two") < names.index("one") - 1 < len(names) - 2
    assert benchmarks.index.name == "id"
    assert benchmarks.index.is_unique
    assert 0 < len(live.index.difference(benchmarks.index)) < 15
    assert 0 < len(benchmarks.index.difference(live.index)) < 15
    shared = live.index.intersection(benchmarks.index)
    assert list(shared) != [name for name in benchmarks.index if name in live.index]
    assert benchmarks[["one", "two"]].ge(0).all(axis=None)
    assert benchmarks[["one", "two"]].lt(1).all(axis=None)


@pytest.mark.parametrize(("rows", "uncovered"), [(1, 0), (2, 1), (20, 1), (1500, 3)])
def test_few_rows_have_partial_benchmarks_too(rows: int, uncovered: int, tmp_path: Path) -> None:
    files = data.make_shaped_data(features=FEATURES[:2], benchmarks=["one"], rows=rows, cache=tmp_path)
    live, benchmarks = read_frames(files)
    assert len(live.index.difference(benchmarks.index)) == uncovered
    assert len(benchmarks.index.difference(live.index)) == max(1, uncovered)


def test_the_same_arguments_give_the_same_values_on_any_machine(tmp_path: Path) -> None:
    first, second = (
        data.make_shaped_data(features=FEATURES, benchmarks=["b"], rows=50, cache=tmp_path / name)
        for name in ("one", "two")
    )
    assert first.live.read_bytes() == second.live.read_bytes()
    assert first.benchmarks is not None
    assert second.benchmarks is not None
    assert first.benchmarks.read_bytes() == second.benchmarks.read_bytes()
    # Known values: a later numpy that changed them would change what is validated on.
    live, benchmarks = read_frames(first)
    digest = hashlib.sha256(live[list(FEATURES)].to_numpy().tobytes()).hexdigest()
    assert (live.index[0], digest[:16]) == ("n416f46735a60a33", "485ccef7da64dff0")
    assert benchmarks["b"].iloc[0] == np.float32("0.05452937")


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"rows": 51}, {"benchmarks": ["c"]}, {"features": FEATURES[::-1]}, {"known": FEATURES}]
)
def test_other_arguments_give_other_files(change: dict[str, object], tmp_path: Path) -> None:
    usual: dict[str, object] = {"features": FEATURES, "benchmarks": ["b"], "rows": 50}
    first = data.make_shaped_data(**usual, cache=tmp_path)  # type: ignore[arg-type]
    second = data.make_shaped_data(**(usual | change), cache=tmp_path)  # type: ignore[arg-type]
    assert first.live != second.live
    assert len(list(tmp_path.iterdir())) == 4


def test_files_are_cached_and_made_again_if_damaged(tmp_path: Path) -> None:
    first = data.make_shaped_data(features=FEATURES, benchmarks=(), rows=20, cache=tmp_path)
    content, stamp = first.live.read_bytes(), first.live.stat().st_ino
    assert data.make_shaped_data(features=FEATURES, benchmarks=(), rows=20, cache=tmp_path) == first
    assert first.live.stat().st_ino == stamp
    first.live.write_bytes(content[:-100])
    data.make_shaped_data(features=FEATURES, benchmarks=(), rows=20, cache=tmp_path)
    assert first.live.read_bytes() == content
    assert {path.suffix for path in tmp_path.iterdir()} == {".parquet"}


def test_the_cache_keeps_only_the_files_that_were_used_last(tmp_path: Path) -> None:
    def set_age(path: Path, hours: float) -> None:
        os.utime(path, (time.time() - 3600 * hours,) * 2)

    used = data.make_shaped_data(features=FEATURES, benchmarks=(), rows=20, cache=tmp_path)
    for path in tmp_path.iterdir():
        set_age(path, 100)
    others = [tmp_path / f"shaped-{number}-live.parquet" for number in range(50)]
    for number, path in enumerate(others):
        path.write_bytes(b"")
        set_age(path, 2 + number)
    (tmp_path / "kept").write_bytes(b"")
    set_age(tmp_path / "kept", 200)
    assert data.make_shaped_data(features=FEATURES, benchmarks=(), rows=20, cache=tmp_path) == used
    data.make_shaped_data(features=FEATURES, benchmarks=(), rows=21, cache=tmp_path)
    assert used.live.exists()
    assert [path.exists() for path in others] == [True] * 38 + [False] * 12
    assert (tmp_path / "kept").exists()
    # More than that, but in use.
    for path in others:
        path.write_bytes(b"")
    data.make_shaped_data(features=FEATURES, benchmarks=(), rows=22, cache=tmp_path)
    assert all(path.exists() for path in others)


@settings(max_examples=12)
@given(rows=st.integers(1, 30), features=st.integers(1, 60), seed=st.integers(0, 2**64))
def test_any_size_passes_its_own_check(
    rows: int, features: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = [f"f{index}" for index in range(features)]
    cache = tmp_path_factory.mktemp("cache")
    files = data.make_shaped_data(features=names, benchmarks=["b"], rows=rows, seed=seed, cache=cache)
    checked = live_check.check_files(
        files.live, files.benchmarks, features=names, benchmark_columns=["b"], needs_era=True, data_version="v5.3"
    )
    assert checked == files


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.DataError, match="cannot write shaped data"):
        data.make_shaped_data(features=["a"], benchmarks=(), rows=2, cache=tmp_path / "file")


def test_zero_rows_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows=0"):
        data.make_shaped_data(features=["a"], benchmarks=(), rows=0, cache=tmp_path)


def write_live(folder: Path, frame: pd.DataFrame | None = None) -> Path:
    """Write a small valid frame, or ``frame``."""
    path = folder / "live.parquet"
    (make_frame() if frame is None else frame).to_parquet(path)
    return path


def make_frame(rows: int = 3) -> pd.DataFrame:
    index = pd.Index([f"n{index:015x}" for index in range(rows)], name="id")
    return pd.DataFrame({"era": "X", "a": np.int8(1), "b": np.int8(2)}, index=index)


def check_invalid(path: Path, benchmarks: Path | None = None, **changes: object) -> str:
    arguments = {"features": ["a", "b"], "benchmark_columns": [], "needs_era": True, "data_version": "v5.3"} | changes
    with pytest.raises(errors.DataError) as caught:
        live_check.check_files(path, benchmarks, **arguments)  # type: ignore[arg-type]
    assert all(problem.startswith((f"{path}: ", f"{benchmarks}: ")) for problem in caught.value.problems)
    return str(caught.value)


def test_good_files_are_returned_with_their_rows(tmp_path: Path) -> None:
    path = write_live(tmp_path)
    expected = data.LiveFiles(live=path, benchmarks=None, rows=3)
    assert (
        live_check.check_files(path, None, features=["a"], benchmark_columns=[], needs_era=True, data_version="v5.3")
        == expected
    )


def test_the_message_for_a_missing_file_says_how_to_fetch_it(tmp_path: Path) -> None:
    message = check_invalid(tmp_path / "live.parquet")
    assert "does not exist" in message
    assert "download_dataset" in message
    assert "validate.data" in message


@pytest.mark.parametrize("content", [b"", b"id,era\n", b"PAR1 and nothing more PAR1"])
def test_a_file_that_is_not_parquet_is_rejected(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "live.parquet"
    path.write_bytes(content)
    assert "is not a readable parquet file" in check_invalid(path)


def test_a_folder_is_rejected(tmp_path: Path) -> None:
    assert "is not a file" in check_invalid(tmp_path)


def test_missing_features_are_listed_and_counted(tmp_path: Path) -> None:
    message = check_invalid(write_live(tmp_path), features=["a", *(f"z{index}" for index in range(7))])
    assert "7 of 8 columns" in message
    assert "z0, z1, z2, z3, z4 and 2 more" in message


def test_live_features_are_not_taken_for_benchmarks(tmp_path: Path) -> None:
    path, benchmarks = write_live(tmp_path), tmp_path / "benchmarks.parquet"
    make_frame().rename(columns={"a": "feature_a"}).to_parquet(benchmarks)
    expected = (
        f"{benchmarks}: is a file of live features (feature_a), but expected one of benchmark predictions; "
        "set validate.data.benchmarks to v5.3/live_benchmark_models.parquet"
    )
    assert check_invalid(path, benchmarks) == expected
    assert check_invalid(path, benchmarks, benchmark_columns=["v53_lgbm_ender20"]) == expected
    make_frame().rename(columns={"a": "v53_lgbm_ender20"}).to_parquet(benchmarks)
    arguments: dict[str, Any] = {"features": ["a"], "needs_era": True, "data_version": "v5.3"}
    assert live_check.check_files(path, benchmarks, benchmark_columns=["v53_lgbm_ender20"], **arguments).rows == 3


def test_era_is_only_required_if_ranks_need_it(tmp_path: Path) -> None:
    path = write_live(tmp_path, make_frame().drop(columns="era"))
    assert "era: is missing" in check_invalid(path)
    assert (
        live_check.check_files(
            path, None, features=["a"], benchmark_columns=[], needs_era=False, data_version="v5.3"
        ).rows
        == 3
    )


def test_empty_eras_are_counted(tmp_path: Path) -> None:
    frame = make_frame()
    frame.loc[frame.index[:2], "era"] = None
    assert "era: empty in 2 of 3 rows" in check_invalid(write_live(tmp_path, frame))


def test_zero_rows_are_a_problem(tmp_path: Path) -> None:
    assert "has no rows" in check_invalid(write_live(tmp_path, make_frame(0)))


def test_duplicate_ids_are_listed(tmp_path: Path) -> None:
    frame = pd.concat([make_frame(), make_frame(1)])
    assert "1 duplicate ids: n000000000000000" in check_invalid(write_live(tmp_path, frame))


def test_ids_as_a_column_are_not_an_index(tmp_path: Path) -> None:
    assert "index: is a range of numbers; expected id" in check_invalid(
        write_live(tmp_path, make_frame().reset_index())
    )


def test_an_index_with_another_name_is_a_problem(tmp_path: Path) -> None:
    assert "index: is key; expected id" in check_invalid(write_live(tmp_path, make_frame().rename_axis("key")))


def test_a_file_of_another_tool_has_no_index(tmp_path: Path) -> None:
    path = tmp_path / "live.parquet"
    pq.write_table(pa.table({"id": ["n1"], "era": ["X"], "a": [1], "b": [2]}), path)
    assert "index: is none; expected id" in check_invalid(path)


def test_text_in_a_feature_is_a_problem(tmp_path: Path) -> None:
    message = check_invalid(write_live(tmp_path, make_frame().assign(b="2")))
    assert "1 columns are not numeric: b (string)" in message or "b (large_string)" in message


def test_benchmark_columns_are_expected_in_their_own_file(tmp_path: Path) -> None:
    live = write_live(tmp_path)
    benchmarks = tmp_path / "benchmarks.parquet"
    make_frame()[["era", "a"]].to_parquet(benchmarks)
    message = check_invalid(live, benchmarks, benchmark_columns=["v53_lgbm_ender20"])
    assert message.startswith(str(benchmarks))
    assert "v53_lgbm_ender20" in message
    assert "validate.data.benchmarks" in check_invalid(live, None, benchmark_columns=["v53_lgbm_ender20"])


def test_all_problems_of_both_files_are_reported_at_once(tmp_path: Path) -> None:
    live = write_live(tmp_path, make_frame(0).drop(columns=["era", "a"]).rename_axis("key"))
    with pytest.raises(errors.DataError) as caught:
        live_check.check_files(
            live, tmp_path / "absent", features=["a"], benchmark_columns=["v"], needs_era=True, data_version="v5.3"
        )
    assert len(caught.value.problems) == 5
