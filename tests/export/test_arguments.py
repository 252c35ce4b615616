"""What ``export`` is called with: a mistake is told by the argument's name, before anything is written."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model

from builder import errors
from builder.bundle import post
from builder.bundle.storage import read
from builder.export import export

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [f"feature_{place}" for place in range(3)]
ROWS = np.random.default_rng(3).integers(0, 5, size=(60, 3)).astype(float)
X = pd.DataFrame(ROWS, columns=NAMES)
Y = ROWS @ [0.1, 0.2, 0.3]
MODEL = linear_model.Ridge().fit(X, Y)
NAMELESS = linear_model.Ridge().fit(ROWS, Y)
PAIR = [NAMELESS, linear_model.Ridge(5.0).fit(ROWS, Y)]


def exported(folder: Path, model: Any = MODEL, **changes: Any) -> Any:
    export(model, folder / "bundle", **{"sample": X, **changes})
    return read.read(folder / "bundle")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": "feature_0"}, "features='feature_0'; expected a list of the names of columns"),
        ({"features": 5}, "features=5; expected a list of the names"),
        ({"features": ["feature_0", 1]}, "features: 1 is no name of a column; they are text"),
        ({"benchmark": 3}, "benchmark=3; expected a list of the names"),
        ({"imputation": [1, 2]}, "imputation=[1, 2]; expected one finite number, or a list of 3, one for each input"),
        ({"imputation": "median"}, "imputation='median'; expected one finite number"),
        ({"imputation": {"feature_0": 1}}, "imputation={'feature_0': 1}; expected one finite number"),
        ({"imputation": np.nan}, "imputation=nan; expected one finite number"),
        ({"neutralize": "medium"}, "neutralize='medium'; expected what to neutralise to: {\"features\": [...]}"),
        (
            {"neutralize": ["feature_0", "feature_1"]},
            "neutralize=['feature_0', 'feature_1']; expected what to neutralise to",
        ),
        ({"neutralize": True}, "neutralize=True; expected what to neutralise to"),
        ({"post": "rank"}, "post='rank'; expected a list of steps, such as [{\"rank\": {}}]"),
        ({"post": {"rank": {}}}, "post={'rank': {}}; expected a list of steps"),
        ({"post": ["rank"]}, "post: 'rank': a step is a mapping of its name to its options"),
        ({"eras": "0001"}, "eras='0001'; expected a list of the eras it was trained on"),
        ({"eras": 5}, "eras=5; expected a list of the eras"),
        ({"target": ["target", "target_2"]}, "target=['target', 'target_2']; expected the name of one column"),
        (
            {"sample": pd.concat([X, X], axis=1)},
            "the sample has feature_0, feature_1, feature_2 more than once; each input",
        ),
        ({"sample": "x"}, "the sample has columns that are no numbers (could not convert string to float: 'x')"),
        ({"sample": np.array([["a", "b", "c"]])}, "the sample has columns that are no numbers"),
        ({"sample": X.assign(feature_1="a")}, "the sample has columns that are no numbers"),
        ({"sample": X.assign(feature_1=pd.Timestamp("2026-01-01"))}, "that are no numbers (feature_1: times)"),
        ({"sample": pd.DataFrame(ROWS)}, "feature_0, feature_1, feature_2; its columns are no text (0), as live"),
        ({"sample": None}, "export: the sample is"),
        ({"post": [{"rank": {}}], "neutralize": {"features": NAMES}}, "neutralize= and post= are both given"),
        (
            {"post": [{"clip": {}}], "rank": "frame"},
            "rank='frame' and post= are both given, and post= is all the steps",
        ),
        (
            {"model": PAIR, "features": NAMES, "centre": 2.0},
            "no such option: centre; this kind of model takes weights, ",
        ),
        ({"model": PAIR, "features": NAMES, "centre": 2.0}, "; wrap what belongs to one member, such as centre"),
        (
            {"sample": X.assign(v52_lgbm_ender20=0.5), "model": NAMELESS},
            "v52_lgbm_ender20 among the features: named like a benchmark model, of which live features have no column",
        ),
    ],
)
def test_a_mistake_is_told_by_the_arguments_name(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ExportError) as refused:
        exported(tmp_path, **changes)
    assert said in str(refused.value)
    assert str(refused.value).startswith("export: ")
    assert list(tmp_path.iterdir()) == []


def test_a_sample_of_all_rows_is_never_whole_in_float64(tmp_path: Path) -> None:
    many = pd.DataFrame(np.random.default_rng(4).integers(0, 5, size=(480_000, 3), dtype=np.int8), columns=NAMES)
    exported(tmp_path)  # what is imported is in memory by then
    tracemalloc.start()
    try:
        export(MODEL, tmp_path / "bundle", sample=many)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < many.size * 8 / 2
    inputs = read.read(tmp_path / "bundle").golden.inputs
    assert len(inputs) == 64
    assert set(inputs[~np.isnan(inputs)]) == {0, 1, 2, 3, 4}
    exported(tmp_path, model=NAMELESS, sample=many.to_numpy(), features=NAMES)


def test_eras_of_a_set_are_in_one_order(tmp_path: Path) -> None:
    eras = [f"{era:04d}" for era in range(1, 41)]
    assert exported(tmp_path, eras=set(eras)).trained["eras"] == tuple(eras)


@pytest.mark.parametrize("path", [None, 3, ""])
def test_a_path_that_is_none_is_told(path: Any) -> None:
    with pytest.raises(errors.ExportError, match="expected the path of the bundle"):
        export(MODEL, path, sample=X)


def test_what_numpy_and_pandas_give_is_taken(tmp_path: Path) -> None:
    made = exported(
        tmp_path,
        features=X.columns,
        benchmark=None,
        imputation=np.float32(2),
        post=[{"neutralize": {"features": X.columns[:2], "proportion": np.float64(0.5)}}, {"rank": {}}],
        eras=pd.Series(["0001", "0001", "0002"]),
        target=np.str_("target"),
    )
    assert made.features == tuple(NAMES)
    assert made.post == (
        post.make_step("neutralize", features=("feature_0", "feature_1"), proportion=0.5),
        post.make_step("rank"),
    )
    assert (made.trained["eras"], made.trained["target"]) == (("0001", "0002"), "target")
    assert "eras" not in exported(tmp_path, eras=None).trained


def test_one_list_of_names_is_for_all_members(tmp_path: Path) -> None:
    made = exported(tmp_path, PAIR, member_features=NAMES)
    assert [member.features for member in made.model.members] == [tuple(NAMES)] * 2
    with pytest.raises(errors.ExportError, match="member_features of 1=3; expected a list of the names of columns"):
        exported(tmp_path, PAIR, member_features=[NAMES, 3])
    with pytest.raises(errors.ExportError, match="member_features of 0='feature_0'; expected a list of the names"):
        exported(tmp_path, PAIR, member_features="feature_0")


def test_a_members_name_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    with pytest.raises(errors.ExportError, match=r"the member's name 'a\\nb' cannot be kept"):
        exported(tmp_path, {"a\nb": MODEL})
