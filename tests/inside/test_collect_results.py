"""The summary of a run's CSV, and the pickle's predictions of the golden rows."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from builder import paths
from builder.bundle import prediction
from builder.inside import collect_results
from tests.support import bundles, csv_facts, pickles

if TYPE_CHECKING:
    from pathlib import Path

IDS = [f"n{row:015x}" for row in range(6)]


@pytest.fixture
def live(tmp_path: Path) -> str:
    """Features of six rows, as parquet."""
    path = tmp_path / "live.parquet"
    pd.DataFrame({"feature_0": np.arange(6, dtype=np.int8)}, index=pd.Index(IDS, name="id")).to_parquet(path)
    return str(path)


def summarize(folder: Path, live: str, frame: pd.DataFrame) -> dict[str, Any]:
    """Write a CSV as the runner does, and summarize it."""
    frame.to_csv(folder / "live_predictions-0123abcd.csv")
    summary = collect_results.summarize_csv(folder, live)
    assert summary is not None
    assert json.loads(json.dumps(summary)) == summary
    return summary


def predictions(values: Any, ids: Any = IDS, name: str = "prediction") -> pd.DataFrame:
    return pd.DataFrame({name: values}, index=pd.Index(ids, name="id"))


def test_a_good_csv(tmp_path: Path, live: str) -> None:
    summary = summarize(tmp_path, live, predictions([0.25, 0.5, 0.75, 1.0, 0.5, 0.125]))
    assert summary == csv_facts.make_facts(6, distinct=5)


def test_no_csv(tmp_path: Path, live: str) -> None:
    assert collect_results.summarize_csv(tmp_path, live) is None


def test_another_order_of_the_ids_is_reported(tmp_path: Path, live: str) -> None:
    summary = summarize(tmp_path, live, predictions(0.5, IDS[::-1]))
    assert not summary["index_equal"]
    assert (summary["missing_ids"], summary["extra_ids"], summary["duplicate_ids"]) == ([], [], 0)


def test_missing_extra_and_duplicate_ids(tmp_path: Path, live: str) -> None:
    summary = summarize(tmp_path, live, predictions(0.5, [*IDS[:2], IDS[0], IDS[0], "n1", "n2", "n3", "n4"]))
    assert (summary["rows"], summary["index_equal"], summary["duplicate_ids"]) == (8, False, 2)
    assert summary["first_duplicate"] == IDS[0]
    assert summary["missing_ids"] == IDS[2:5]
    assert summary["extra_ids"] == ["n1", "n2", "n3"]


def test_values_that_are_not_finite_are_counted_and_the_first_is_reported(tmp_path: Path, live: str) -> None:
    summary = summarize(tmp_path, live, predictions([0.5, "text", np.inf, None, 0.25, -np.inf]))
    assert (summary["not_finite"], summary["first_not_finite"]) == (4, IDS[1])
    assert (summary["lowest"], summary["highest"], summary["distinct"]) == (0.25, 0.5, 2)


def test_the_first_value_outside_the_range_is_reported(tmp_path: Path, live: str) -> None:
    summary = summarize(tmp_path, live, predictions([0.5, np.inf, 1.0, 1.5, -1.0, 0.0]))
    assert (summary["first_outside"], summary["lowest"], summary["highest"]) == (IDS[3], -1.0, 1.5)


def test_no_finite_values(tmp_path: Path, live: str) -> None:
    summary = summarize(tmp_path, live, predictions(np.nan))
    assert (summary["not_finite"], summary["first_not_finite"]) == (6, IDS[0])
    assert (summary["lowest"], summary["highest"], summary["distinct"]) == (None, None, 0)


def test_all_columns_are_listed_and_the_first_is_summarized(tmp_path: Path, live: str) -> None:
    summary = summarize(tmp_path, live, predictions(0.5, name="other").assign(prediction=-1.0))
    assert (summary["columns"], summary["lowest"], summary["distinct"]) == (["other", "prediction"], 0.5, 1)


@pytest.mark.parametrize("ids", [["007", "1e5", "NA", "", "nan", "n1"], list(range(6))])
def test_ids_that_look_like_numbers_stay_text(tmp_path: Path, ids: list[Any]) -> None:
    path = tmp_path / "odd.parquet"
    pd.DataFrame({"feature_0": [1] * 6}, index=pd.Index(ids, name="id")).to_parquet(path)
    assert summarize(tmp_path, str(path), predictions(0.5, ids))["index_equal"]


def test_numbers_are_read_exactly(tmp_path: Path, live: str) -> None:
    values = np.random.default_rng(1).random(6)
    summary = summarize(tmp_path, live, predictions(values))
    assert (summary["lowest"], summary["highest"]) == (float(values.min()), float(values.max()))


def test_golden_rows_are_predicted_before_post_processing(tmp_path: Path) -> None:
    bundle = pickles.scenario_bundle("narrow")
    np.save(tmp_path / "golden.npy", bundle.golden.inputs)
    predictions = collect_results.predict_golden(pickles.load_predict(bundle), str(tmp_path / "golden.npy"))
    assert predictions is not None
    bound = prediction.compute_tolerance(bundle.golden.predictions)
    assert np.abs(np.array(predictions) - bundle.golden.predictions).max() <= bound


def test_a_foreign_pickle_has_no_golden_rows(tmp_path: Path) -> None:
    assert collect_results.predict_golden(lambda live: live, str(tmp_path / "absent.npy")) is None


@pytest.mark.parametrize("foreign", [False, True])
def test_as_a_script(tmp_path: Path, live: str, foreign: bool) -> None:  # noqa: FBT001
    bundle = bundles.make_bundle(1)
    np.save(tmp_path / "golden.npy", bundle.golden.inputs)
    content = cloudpickle.dumps(lambda features: features) if foreign else pickles.pickle_bundle(bundle)
    (tmp_path / "model.pkl").write_bytes(content)
    plan = {
        "model": str(tmp_path / "model.pkl"),
        "features": live,
        "csv_folder": str(tmp_path),
        "golden": str(tmp_path / "golden.npy"),
        "out": str(tmp_path / "out.json"),
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, str(paths.inside_folder() / "collect_results.py"), str(tmp_path / "plan.json")]
    subprocess.run(command, cwd=tmp_path, check=True)
    report = json.loads((tmp_path / "out.json").read_bytes())
    assert report.keys() == {"format", "csv", "parameters", "golden"}
    assert (report["format"], report["csv"]) == (1, None)
    assert report["parameters"] == (["features"] if foreign else ["live_features", "live_benchmark_models"])
    assert report["golden"] is None if foreign else len(report["golden"]) == len(bundle.golden.inputs)
