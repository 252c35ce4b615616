"""Predict inputs with a pickle as in the image, and write the predictions of each."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from builder.bundle import model, post, prediction
from builder.engine import protocol
from builder.inside import predict_inputs
from builder.validate import scenarios
from tests.support import bundles, custom, pickles


def run_script(
    folder: Path, pickle: bytes, *inputs: scenarios.Input, seconds: float = 60, era_seconds: float = 0
) -> tuple[int, dict[str, bytes]]:
    """Run the script as the container does, in folders here; return its exit code and what it wrote."""
    workdir, results = folder / "box", folder / "results"
    results.mkdir()
    plan = scenarios.make_plan(inputs, always=3, seconds=seconds, era_seconds=era_seconds, memory=1 << 30)
    contents = {"model.pkl": pickle, **scenarios.SCRIPT_FILES, **scenarios.make_files(inputs), **plan}
    for name, content in contents.items():
        path = workdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.read_bytes()
        if name == "plan.json":
            data = data.replace(protocol.WORKDIR.encode(), str(workdir).encode())
            data = data.replace(protocol.RESULTS.encode(), str(results).encode())
        path.write_bytes(data)
    command = [sys.executable, *(item.replace(protocol.WORKDIR, str(workdir)) for item in scenarios.COMMAND[1:])]
    code = subprocess.run(command, cwd=folder, check=False).returncode
    return code, {path.name: path.read_bytes() for path in results.iterdir()}


@pytest.mark.parametrize(
    "bundle",
    [bundles.make_bundle(1), custom.make_bundle(), custom.make_bundle(post=(post.make_step("rank"),))],
    ids=["network", "custom", "custom with a step"],
)
def test_golden_rows_are_predicted_before_post_processing(tmp_path: Path, bundle: model.Bundle) -> None:
    code, files = run_script(tmp_path, pickles.pickle_bundle(bundle), scenarios.make_golden_input(bundle))
    assert code == 0
    assert files.keys() == {"0.f64"}
    expected = bundle.golden.predictions
    predictions = scenarios.read_predictions(files, 0, len(expected))
    assert not isinstance(predictions, str)
    assert np.abs(predictions - expected).max() <= prediction.compute_tolerance(expected)


def test_golden_rows_are_predicted_again_in_float64(tmp_path: Path) -> None:
    wide, trees = pickles.scenario_bundle("wide"), pickles.scenario_bundle("trees")
    assert isinstance(wide.model, model.Network)
    assert isinstance(trees.model, model.Trees)
    members = [
        model.Member(model=wide.model, features=wide.features, benchmarks=wide.benchmarks),
        model.Member(model=trees.model, features=trees.features),  # thresholds in float32, as its inputs
    ]
    bundle = bundles.make_bundle(300, wide.benchmarks, network=model.Ensemble(members=tuple(members)))
    golden = dataclasses.replace(scenarios.make_golden_input(bundle), in_float64=True)
    code, files = run_script(tmp_path, pickles.pickle_bundle(bundle), golden)
    assert code == 0
    assert files.keys() == {"0.f64", "0.float64.f64"}
    in_float32, in_float64 = (np.frombuffer(files[f"{name}.f64"]) for name in ("0", "0.float64"))
    tolerances = prediction.compute_golden_tolerances(bundle.model, bundle.golden)
    for values in (in_float32, bundle.golden.predictions):
        difference, bound = prediction.find_worst_difference(values, in_float64, tolerances)
        assert 0 < difference <= bound


def test_golden_rows_have_an_era_and_ids(tmp_path: Path) -> None:
    def predict(live_features: Any, live_benchmark_models: Any) -> Any:
        assert list(live_features["era"].unique()) == ["X"]
        assert list(live_features.columns) == ["era", "data_type", "feature_0", "feature_1", "feature_2"]
        assert list(live_benchmark_models.columns) == ["era"]
        assert live_features.index.name == "id"
        return live_features[["feature_0"]].iloc[::-1]

    bundle = custom.make_bundle()
    _, files = run_script(tmp_path, cloudpickle.dumps(predict), scenarios.make_golden_input(bundle))
    assert np.frombuffer(files["0.f64"]).tolist() == bundle.golden.inputs[:, 0].tolist()


def test_an_error_in_one_input_does_not_prevent_the_others(tmp_path: Path) -> None:
    def predict(live: Any) -> Any:
        if live["value"].iloc[0] == 5:
            raise SystemExit("five")
        return live[["value"]] if live["value"].iloc[0] else live["absent"]

    inputs = [
        scenarios.Input(live=pa.table({"id": ["a", "b"], "value": [value, 1.0]}), benchmarks=pa.table({"id": ["a"]}))
        for value in (3.0, 0.0, 2.0, 5.0)
    ]
    code, files = run_script(tmp_path, cloudpickle.dumps(predict), *inputs)
    assert code == 0
    assert files.keys() == {"0.f64", "1.txt", "2.f64", "3.txt"}
    assert np.frombuffer(files["2.f64"]).tolist() == [2, 1]
    assert scenarios.read_predictions(files, 1, 2) == "the pickle failed: KeyError: 'absent'"
    assert scenarios.read_predictions(files, 3, 2) == "the pickle failed: SystemExit: five"
    assert scenarios.read_predictions(files, 4, 2) == "the pickle returned no predictions"


def test_the_frames_that_a_function_changes_are_listed(tmp_path: Path) -> None:
    def predict(live: Any, benchmarks: Any) -> Any:
        live["value"] += 1
        benchmarks["more"] = 1
        return live[["value"]]

    frames = {"live": pa.table({"id": ["a"], "value": [3.0]}), "benchmarks": pa.table({"id": ["a"]})}
    inputs = scenarios.Input(**frames), scenarios.Input(**frames, is_watched=True)
    _, files = run_script(tmp_path, cloudpickle.dumps(predict), *inputs)
    assert files.keys() == {"0.f64", "1.f64", "1.changed"}
    results = scenarios.Results(inputs, files)
    assert [results.find_changed_frames(item) for item in inputs] == [[], [*scenarios.FRAMES]]


def test_only_the_first_inputs_are_predicted_when_the_seconds_are_used_up(tmp_path: Path) -> None:
    item = scenarios.Input(live=pa.table({"id": ["a"], "value": [1.0]}), benchmarks=pa.table({"id": ["a"]}))
    _, files = run_script(tmp_path, cloudpickle.dumps(lambda live: live[["value"]]), *[item] * 6, seconds=0)
    assert files.keys() == {"0.f64", "1.f64", "2.f64"}


def test_frames_of_200_eras_grow_until_the_model_fails(tmp_path: Path) -> None:
    def predict(live: Any, benchmarks: Any) -> Any:
        assert len(live) < 5000, "too many rows"
        assert live.index.is_unique
        assert live.index.equals(benchmarks.index)
        assert (live["value"] == benchmarks["benchmark"]).all()
        if len(live) > 2:
            assert live["era"].nunique() == 200
            assert (live["era"].value_counts() == len(live) // 200).all()
        return live[["value"]]

    live = pa.table({"id": ["a", "b"], "era": ["X", "X"], "value": [1.0, 2.0]})
    benchmarks = pa.table({"id": ["b", "a"], "era": ["X", "X"], "benchmark": [2.0, 1.0]})
    item = scenarios.Input(live=live, benchmarks=benchmarks.take([1, 0]))
    _, files = run_script(tmp_path, cloudpickle.dumps(predict), item, item, era_seconds=50)
    frames = json.loads(files["eras.json"])["frames"]
    assert [frame["rows"] for frame in frames] == [200, 800, 3200]
    assert all(frame["seconds"] > 0 and 0 < frame["peak_bytes"] < 1 << 30 for frame in frames)


def test_frames_of_200_eras_stay_within_the_memory() -> None:
    def predict(live: Any) -> Any:
        assert len(live) < 800, "too many rows"
        np.ones(10_000_000)
        return live[["value"]]

    live = pd.DataFrame({"value": [1.0], "era": ["X"]}, index=pd.Index(["a"], name="id"))
    predict_inputs.reset_peak_memory()
    limit = predict_inputs.read_peak_memory() + 1_000_000_000
    np.ones(30_000_000)  # what was used before does not count
    measured = list(predict_inputs.measure_eras(predict, live, live, seconds=60, memory=limit))
    assert [frame["rows"] for frame in measured] == [200]


@pytest.mark.parametrize("returned", ["[1]", "live.iloc[:1]"])
def test_a_function_that_returns_something_else_has_no_predictions(returned: str) -> None:
    predict = eval(f"lambda live: {returned}")
    frames = predict_inputs.to_frames(np.ones((2, 3)), ["a", "b", "c"], [])
    with pytest.raises(ValueError, match="predict returned"):
        predict_inputs.predict_input(predict, *frames, before_post=True)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"0.f64": bytes(15)}, "the pickle returned 15 bytes of predictions; expected 16 for 2 rows"),
        ({"0.f64": bytes(24)}, "expected 16 for 2 rows"),
        ({"0.txt": b"\xff\x1b[2J" + b"x" * 9000}, "the pickle failed: \ufffd [2Jxxx"),
    ],
)
def test_other_results_are_a_problem_in_one_line(files: dict[str, bytes], text: str) -> None:
    problem = scenarios.read_predictions(files, 0, 2)
    assert isinstance(problem, str)
    assert text in problem
    assert problem.isprintable()
    assert len(problem) < 400


def test_columns_keep_their_types(tmp_path: Path) -> None:
    live = pd.DataFrame({"a": np.array([1, 2], np.int8), "b": np.array([0.5, 1], np.float32), "era": ["1", "2"]})

    def predict(frame: Any) -> Any:
        kinds = [str(frame[name].dtype) for name in ("a", "b", "era")]
        return frame[["a"]] * (kinds == ["int8", "float32", "category"])

    table = pa.Table.from_pandas(live.astype({"era": "category"}).assign(id=["x", "y"]), preserve_index=False)
    _, files = run_script(
        tmp_path, cloudpickle.dumps(predict), scenarios.Input(live=table, benchmarks=pa.table({"id": ["x"]}))
    )
    assert np.frombuffer(files["0.f64"]).tolist() == [1, 2]
