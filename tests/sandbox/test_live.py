"""The live data of the sandbox contradict a model that reads columns or rows by position."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from builder import data_versions
from builder.config import feature_sets

if TYPE_CHECKING:
    from builder.sandbox import live, server


def test_live_data_have_more_columns_than_the_model_in_another_order(data: live.LiveData) -> None:
    files = data.write_files()
    frame, sets = pd.read_parquet(files["live.parquet"]), feature_sets.read(files["features.json"])
    assert list(sets) == ["small", "medium", "all", "quantum"]
    features = [name for name in frame.columns if name.startswith("feature_")]
    assert set(features) == set(sets["all"])
    assert features != list(sets["all"])
    trained = [name for name in features if name not in sets["quantum"]]
    assert trained != sorted(trained)
    assert set(trained) >= set(sets["medium"]) > set(sets["small"])
    assert len(features) - len(trained) == len(sets["quantum"]) > 0
    assert (frame[features].dtypes == np.int8).all()


def test_benchmarks_are_for_other_ids_and_more_models(data: live.LiveData) -> None:
    files = data.write_files()
    ids, benchmarks = (
        pd.read_parquet(files["live.parquet"]).index,
        pd.read_parquet(files["live_benchmark_models.parquet"]),
    )
    assert len(ids.difference(benchmarks.index)) == len(benchmarks.index.difference(ids)) == 1
    assert list(benchmarks.index.intersection(ids)) != list(ids.intersection(benchmarks.index))
    assert benchmarks.index.is_unique
    assert set(benchmarks.columns) > {"era", data_versions.DEFAULT_BENCHMARK}


def test_the_data_are_published_for_the_default_version(sandbox: server.Sandbox) -> None:
    features = sandbox.publish_datasets()[f"{data_versions.DEFAULT}/features.json"]
    assert "quantum" in json.loads(features.read_bytes())["feature_sets"]
