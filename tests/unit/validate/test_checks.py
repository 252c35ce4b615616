"""How predictions in a CSV are judged: each violated rule is a failed check with the number and the id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.validate import checks
from tests.support.container_output import make_csv

if TYPE_CHECKING:
    from pathlib import Path

IDS = [f"n{row:015x}" for row in range(6)]


def judge(values: Any = None, ids: list[str] = IDS, name: str = "prediction") -> dict[str, str]:
    """Return the details of the failed checks by name; each has a fix, and no other check has one."""
    results = checks.judge_csv(make_csv(ids, values, name=name), IDS)
    assert all(bool(check.fix) == (check.good is False) for check in results)
    return {check.name: check.detail for check in results if check.good is False}


def test_a_good_csv() -> None:
    results = checks.judge_csv(make_csv(IDS, [0.25, 0.5, 0.75, 1.0, 0.5, 0.125]), IDS)
    assert [check.name for check in results] == ["column", "index", "ids", "finite", "in [0, 1]", "not constant"]
    assert all(check.good for check in results)
    assert [check.detail for check in results] == [
        "prediction",
        "6 of 6 ids, in their order",
        "no duplicate ids",
        "no NaN, no infinity",
        "0.125 to 1",
        "5 different values",
    ]


@pytest.mark.parametrize(
    ("options", "failed"),
    [
        ({"name": "Prediction"}, {"column": "Prediction; expected one column, prediction"}),
        ({"ids": IDS[::-1]}, {"index": "6 of 6 ids, in another order than in live_features"}),
        ({"ids": IDS[:5]}, {"index": f"5 rows for 6 ids; missing: {IDS[5]}; unexpected: none"}),
        ({"ids": [*IDS, "n1"]}, {"index": "7 rows for 6 ids; missing: none; unexpected: n1"}),
        (
            {"ids": [*IDS[:5], IDS[0]]},
            {
                "index": f"6 rows for 6 ids; missing: {IDS[5]}; unexpected: none",
                "ids": f"1 duplicate ids, the first is {IDS[0]}",
            },
        ),
        (
            {"values": [0.5, "text", np.inf, None, 0.25, -np.inf]},
            {"finite": f"4 values are not finite, the first at id {IDS[1]}"},
        ),
        (
            {"values": [0.5, np.inf, 1.0, 1.5, -1.0, 0.0]},
            {
                "finite": f"1 values are not finite, the first at id {IDS[1]}",
                "in [0, 1]": f"-1 to 1.5, the first outside at id {IDS[3]}",
            },
        ),
        ({"values": [0.5] * 6}, {"not constant": "1 value in all rows"}),
        ({"values": ["0_1", *[0.5, 0.25] * 2, 1]}, {"finite": f"1 values are not finite, the first at id {IDS[0]}"}),
        (
            {"values": [np.nan] * 6},
            {
                "finite": f"6 values are not finite, the first at id {IDS[0]}",
                "in [0, 1]": "no values",
                "not constant": "0 different values",
            },
        ),
    ],
)
def test_each_violated_rule_is_a_failed_check(options: dict[str, Any], failed: dict[str, str]) -> None:
    assert judge(**options) == failed


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its first line has 0 columns"),
        (b"id\nn1\n", "its first line has 1 columns"),
        (b"id,prediction\nn\xff,0.5\n", "byte 15 is not UTF-8"),
        (b"id,prediction\nn\0,0.5\n", "it contains a NUL byte"),
        (b"id,prediction\nn1,0.5\nn2\n", "line 3 has 1 fields; expected 2"),
        (b"id,prediction\n\nn1,0.5\n", "line 2 has 0 fields; expected 2"),
        (b"id,prediction\nn1,0.5,0.5\n", "line 2 has 3 fields; expected 2"),
        (b"id,prediction\n" + b"x" * 100_200, "it has 100,214 bytes; expected at most 100,200"),
        (b"id,prediction\n" + b"a,1\n" * 1003, "it has more than 1,002 rows"),
        (b'id,prediction\n"n1,0.5\n', "unexpected end of data"),
    ],
)
def test_what_is_not_a_csv_is_one_failed_check(content: bytes, reason: str) -> None:
    (check,) = checks.judge_csv(content, ["n1"])
    assert (check.name, check.good) == ("csv", False)
    assert reason in check.detail
    assert check.detail.isprintable()


def test_a_huge_field_is_refused() -> None:
    (check,) = checks.judge_csv(b"id,prediction\n" + b"x" * 140_000 + b",0.5\n", IDS * 100)
    assert "field larger than field limit" in check.detail


def test_a_csv_without_a_header_has_the_wrong_column() -> None:
    failed = [check.name for check in checks.judge_csv(make_csv(IDS).split(b"\n", 1)[1], IDS) if not check.good]
    assert failed == ["column", "index"]


def test_two_columns_are_refused() -> None:
    content = pd.DataFrame({"id": IDS, "prediction": np.arange(6) / 6, "\x1b[2J": 1}).to_csv(index=False).encode()
    failed = {check.name: check.detail for check in checks.judge_csv(content, IDS) if not check.good}
    assert failed == {"column": "prediction, [2J; expected one column, prediction"}


def test_one_row_may_be_constant() -> None:
    assert all(check.good for check in checks.judge_csv(b"id,prediction\nn1,0.5\n", ["n1"]))


@pytest.mark.parametrize("ids", [["007", "1e5", "NA", "", "nan", "n1"], list(range(6)), [3, 1, 2, 5, 4, 0]])
def test_ids_that_look_like_numbers_stay_text(tmp_path: Path, ids: list[Any]) -> None:
    frame = pd.DataFrame({"feature_0": [1] * 6}, index=pd.Index(ids, name="id"))
    frame.to_parquet(tmp_path / "odd.parquet")
    assert checks.read_ids(tmp_path / "odd.parquet") == [str(item) for item in ids]
    results = checks.judge_csv(make_csv([str(item) for item in ids]), checks.read_ids(tmp_path / "odd.parquet"))
    assert all(check.good for check in results)


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    pd.DataFrame({"feature_0": [1] * 3}).to_parquet(tmp_path / "a.parquet")
    assert checks.read_ids(tmp_path / "a.parquet") == ["0", "1", "2"]


@given(content=st.binary(max_size=200))
def test_any_bytes_are_judged(content: bytes) -> None:
    for prefix in (b"", b"id,prediction\n"):
        results = checks.judge_csv(prefix + content, ["n1", "n2"])
        assert any(check.good is False for check in results)
        assert all(check.detail.isprintable() for check in results)


@given(values=st.lists(st.floats(), min_size=2, max_size=6))
def test_values_are_read_exactly(values: list[float]) -> None:
    good = all(0 <= value <= 1 for value in values) and len(set(values)) > 1
    ids = IDS[: len(values)]
    assert all(check.good for check in checks.judge_csv(make_csv(ids, values), ids)) == good
