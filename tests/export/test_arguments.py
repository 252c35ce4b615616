"""The arguments of ``export``: an error names the argument, before anything is written."""

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

NAMES = [f"feature_{index}" for index in range(3)]
ROWS = np.random.default_rng(3).integers(0, 5, size=(60, 3)).astype(float)
X = pd.DataFrame(ROWS, columns=NAMES)
Y = ROWS @ [0.1, 0.2, 0.3]
MODEL = linear_model.Ridge().fit(X, Y)
NAMELESS = linear_model.Ridge().fit(ROWS, Y)
PAIR = [NAMELESS, linear_model.Ridge(5.0).fit(ROWS, Y)]


def export_and_read(folder: Path, model: Any = MODEL, **changes: Any) -> Any:
    export(model, folder / "bundle", **{"sample": X, **changes})
    return read.read(folder / "bundle")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": "feature_0"}, "invalid value 'feature_0' for features; expected a list of column names"),
        ({"features": 5}, "invalid value 5 for features; expected a list of column names"),
        ({"features": ["feature_0", 1]}, "invalid column name 1 in features; expected a string"),
        ({"benchmark": 3}, "invalid value 3 for benchmark; expected a list of column names"),
        (
            {"imputation": [1, 2]},
            "invalid value [1, 2] for imputation; expected one finite number, or a list of 3, one for each input",
        ),
        ({"imputation": "median"}, "invalid value 'median' for imputation; expected one finite number"),
        ({"imputation": {"feature_0": 1}}, "invalid value {'feature_0': 1} for imputation; expected one finite number"),
        ({"imputation": np.nan}, "invalid value nan for imputation; expected one finite number"),
        (
            {"neutralize": "medium"},
            "invalid value 'medium' for neutralize; expected a mapping such as {\"features\": [...]}",
        ),
        (
            {"neutralize": ["feature_0", "feature_1"]},
            "invalid value ['feature_0', 'feature_1'] for neutralize; expected a mapping",
        ),
        ({"neutralize": True}, "invalid value True for neutralize; expected a mapping"),
        ({"post": "rank"}, "invalid value 'rank' for post; expected a list of steps, such as [{\"rank\": {}}]"),
        ({"post": {"rank": {}}}, "invalid value {'rank': {}} for post; expected a list of steps"),
        ({"post": ["rank"]}, "invalid step 'rank' in post; expected a mapping of its name to its options"),
        ({"eras": "0001"}, "invalid value '0001' for eras; expected a list of the eras of the training data"),
        ({"eras": 5}, "invalid value 5 for eras; expected a list of the eras"),
        (
            {"target": ["target", "target_2"]},
            "invalid value ['target', 'target_2'] for target; expected one column name",
        ),
        (
            {"sample": pd.concat([X, X], axis=1)},
            "the sample has duplicate columns feature_0, feature_1, feature_2; expected each input once",
        ),
        ({"sample": "x"}, "the sample has columns that are not numeric (could not convert string to float: 'x')"),
        ({"sample": np.array([["a", "b", "c"]])}, "the sample has columns that are not numeric"),
        ({"sample": X.assign(feature_1="a")}, "the sample has columns that are not numeric"),
        ({"sample": X.assign(feature_1=pd.Timestamp("2026-01-01"))}, "that are not numeric (feature_1: times)"),
        (
            {"sample": pd.DataFrame(ROWS)},
            "feature_0, feature_1, feature_2; the sample's column names are not strings (0)",
        ),
        ({"sample": None}, "export: the sample has shape (1,)"),
        ({"post": [{"rank": {}}], "neutralize": {"features": NAMES}}, "both neutralize= and post= are passed"),
        (
            {"post": [{"clip": {}}], "rank": "frame"},
            "both rank='frame' and post= are passed, but post= replaces all steps",
        ),
        (
            {"model": PAIR, "features": NAMES, "centre": 2.0},
            "unknown option: centre; this kind of model accepts weights, ",
        ),
        ({"model": PAIR, "features": NAMES, "centre": 2.0}, "; apply an option of one member, such as centre"),
        (
            {"sample": X.assign(v53_lgbm_ender20=0.5), "model": NAMELESS},
            "v53_lgbm_ender20 among the features: named like a benchmark model, which is not a column of live",
        ),
    ],
)
def test_invalid_argument_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ExportError) as caught:
        export_and_read(tmp_path, **changes)
    assert message in str(caught.value)
    assert str(caught.value).startswith("export: ")
    assert list(tmp_path.iterdir()) == []


def test_large_sample_is_thinned_before_conversion_to_float64(tmp_path: Path) -> None:
    large = pd.DataFrame(np.random.default_rng(4).integers(0, 5, size=(480_000, 3), dtype=np.int8), columns=NAMES)
    export_and_read(tmp_path)  # so that imports do not count below
    tracemalloc.start()
    try:
        export(MODEL, tmp_path / "bundle", sample=large)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < large.size * 8 / 2
    inputs = read.read(tmp_path / "bundle").golden.inputs
    assert len(inputs) == 64
    assert set(inputs[~np.isnan(inputs)]) == {0, 1, 2, 3, 4}
    export_and_read(tmp_path, model=NAMELESS, sample=large.to_numpy(), features=NAMES)


def test_eras_of_a_set_are_sorted(tmp_path: Path) -> None:
    eras = [f"{era:04d}" for era in range(1, 41)]
    assert export_and_read(tmp_path, eras=set(eras)).trained["eras"] == tuple(eras)


@pytest.mark.parametrize("path", [None, 3, ""])
def test_invalid_path_is_named(path: Any) -> None:
    with pytest.raises(errors.ExportError, match="expected the bundle's path"):
        export(MODEL, path, sample=X)


def test_numpy_and_pandas_values_are_accepted(tmp_path: Path) -> None:
    bundle = export_and_read(
        tmp_path,
        features=X.columns,
        benchmark=None,
        imputation=np.float32(2),
        post=[{"neutralize": {"features": X.columns[:2], "proportion": np.float64(0.5)}}, {"rank": {}}],
        eras=pd.Series(["0001", "0001", "0002"]),
        target=np.str_("target"),
    )
    assert bundle.features == tuple(NAMES)
    assert bundle.post == (
        post.make_step("neutralize", features=("feature_0", "feature_1"), proportion=0.5),
        post.make_step("rank"),
    )
    assert (bundle.trained["eras"], bundle.trained["target"]) == (("0001", "0002"), "target")
    assert "eras" not in export_and_read(tmp_path, eras=None).trained


def test_one_list_of_names_applies_to_all_members(tmp_path: Path) -> None:
    bundle = export_and_read(tmp_path, PAIR, member_features=NAMES)
    assert [member.features for member in bundle.model.members] == [tuple(NAMES)] * 2
    with pytest.raises(
        errors.ExportError, match="invalid value 3 for member_features of 1; expected a list of column names"
    ):
        export_and_read(tmp_path, PAIR, member_features=[NAMES, 3])
    with pytest.raises(
        errors.ExportError, match="invalid value 'feature_0' for member_features of 0; expected a list of column"
    ):
        export_and_read(tmp_path, PAIR, member_features="feature_0")


def test_invalid_member_name_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.ExportError, match=r"invalid member name 'a\\nb'; expected 1 to 100"):
        export_and_read(tmp_path, {"a\nb": MODEL})
