"""The columns with which a pickle without a bundle is validated, and the notes about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from builder import errors
from builder.validate import adopted, data
from builder.validate.reading import read

if TYPE_CHECKING:
    from pathlib import Path

NAMELESS = read.Reading(size=1)
NAMED = read.Reading(size=1, features=("feature_b", "feature_z"), benchmarks=("v53_lgbm_ender20",))


def write(folder: Path, features: list[str], benchmarks: list[str] | None) -> data.LiveFiles:
    for name, columns in (("live", features), ("benchmarks", benchmarks or [])):
        pd.DataFrame({column: [0.5] for column in columns}, pd.Index(["n"], name="id")).to_parquet(folder / name)
    return data.LiveFiles(
        live=folder / "live", benchmarks=None if benchmarks is None else folder / "benchmarks", rows=1
    )


def test_generated_rows_have_the_columns_that_the_pickle_names() -> None:
    bundle = adopted.choose_generated_columns(NAMED, ["feature_a"])
    assert (bundle.features, bundle.benchmarks) == (NAMED.features, NAMED.benchmarks)
    assert adopted.choose_generated_columns(NAMELESS, ["feature_a"]).features == ("feature_a",)
    assert len(adopted.choose_generated_columns(NAMELESS).features) == 20


def test_rows_of_a_file_need_not_have_all_of_them(tmp_path: Path) -> None:
    files = write(tmp_path, ["era", "feature_a", "feature_b"], ["v53_lgbm_ender20", "v53_other"])
    bundle = adopted.choose_columns(NAMED, files)
    assert (bundle.features, bundle.benchmarks) == (("feature_b",), ("v53_lgbm_ender20",))
    golden, columns = adopted.make_notes(NAMED, bundle)
    assert (golden.name, golden.good, columns.good) == ("golden rows", None, None)
    assert columns.detail == "1 of 2 features that the pickle names are not in the rows: feature_z"
    bundle = adopted.choose_columns(NAMELESS, files)
    assert (bundle.features, bundle.benchmarks) == (("feature_a", "feature_b"), ("v53_lgbm_ender20", "v53_other"))
    assert (
        "names no features: it was tried with 2 (feature_a, feature_b)"
        in adopted.make_notes(NAMELESS, bundle)[1].detail
    )
    assert adopted.choose_columns(NAMED, write(tmp_path, ["feature_b"], None)).benchmarks == ()


def test_a_file_without_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.DataError, match="has no column whose name begins with feature_; set other files"):
        adopted.choose_columns(NAMED, write(tmp_path, ["era"], None))
