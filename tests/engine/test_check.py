"""``check`` on pickles that were not made by this tool: read, run in an image, and judged by the columns they name."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from tests.support import in_container, stand_ins
from tests.support.command import call, read_output

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import docker_engine

SCRIPT = """
import base64, cloudpickle, json
import numpy as np
import pandas as pd

FEATURES = ["feature_able", "feature_baker", "feature_charlie"]
WEIGHTS = np.array([0.2, 0.3, 0.5])

def by_name(live_features, live_benchmark_models):
    benchmark = live_benchmark_models["v53_lgbm_ender20"].reindex(live_features.index).fillna(0.5)
    values = live_features[FEATURES].astype("float32").to_numpy() @ WEIGHTS + benchmark
    return values.rank(pct=True).to_frame("prediction")

def by_position(live_features):
    values = live_features[FEATURES].iloc[:, 0] + live_features.iloc[:, 5]
    return values.rank(pct=True).to_frame("prediction")

def benchmark_by_row(live_features, live_benchmark_models):
    benchmark = np.resize(live_benchmark_models["v53_lgbm_ender20"].to_numpy(), len(live_features))
    values = live_features[FEATURES].astype("float32").dot(WEIGHTS) + benchmark
    return values.rank(pct=True).to_frame("prediction")

def optional(live_features):
    names = [name for name in FEATURES if name in live_features.columns]
    return live_features[names].mean(axis=1).rank(pct=True).to_frame("prediction")

def from_elsewhere(live_features):
    import no_such_module
    return no_such_module.predict(live_features[FEATURES])

functions = by_name, by_position, benchmark_by_row, optional, from_elsewhere
print(json.dumps({
    function.__name__: base64.b64encode(cloudpickle.dumps(function)).decode() for function in functions
}))
"""


@pytest.fixture
def folder(engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path) -> Path:
    """A folder with pickles that were made in the image."""
    printed = in_container.run(engine, stand_ins.get_default().image.id, run_id, {}, "python", "-c", SCRIPT)
    for name, content in json.loads(printed.strip().splitlines()[-1]).items():
        (tmp_path / f"{name}.pkl").write_bytes(base64.b64decode(content))
    return tmp_path


def test_any_pickle_is_run_and_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = stand_ins.get_default().python

    def check(name: str, *options: str) -> tuple[int, str]:
        code = call("check", str(folder / f"{name}.pkl"), "--stand-in", python, *options)
        return code, read_output(capsys)[0]

    live = folder / "live.parquet"
    index = pd.Index(["a", "b", "c"], name="id")
    pd.DataFrame({"feature_able": [0, 1, 2], "feature_baker": [4, 4, 2]}, index=index).to_parquet(live)
    code, out = check("by_name", "--json")
    answer = json.loads(out)
    assert (code, answer["good"], answer["cause"]) == (0, True, None)
    assert answer["reading"]["features"] == ["feature_able", "feature_baker", "feature_charlie"]
    assert answer["reading"]["benchmarks"] == ["v53_lgbm_ender20"]
    names = [item["name"] for item in answer["run"]["checks"] if item["good"] is True]
    assert "same values: benchmarks in another order, and more" in names
    assert "same values: the CSV, and another run" in names
    assert "diagnostics run" in {item["name"] for item in answer["run"]["checks"]}
    # It also runs on rows without a column that it names.
    code, out = check("optional", "--live", str(live))
    assert code == 0, out
    assert "note  other inputs: not predicted: " in out
    assert "1 of 3 columns that the pickle takes are missing: feature_charlie" in out
    code, out = check("by_position")
    assert code == 1
    cause, fix = out.splitlines()[-2:]
    assert cause.startswith("cause: same values: columns in another order, and more: ")
    assert fix == "fix:   read each column by its name, not by its position or a prefix"
    code, out = check("benchmark_by_row", "--json")
    answer = json.loads(out)
    assert code == 1
    assert answer["cause"].startswith("same values: benchmarks in another order, and more: ")
    assert answer["cause"].endswith("; benchmark rows are taken in their order, not by id")
    assert answer["fix"].startswith("read each benchmark by its name, and its rows by id: ")
    page = folder / "answer.html"
    code, out = check("from_elsewhere", "--report", str(page))
    assert code == 1
    assert out.splitlines()[-1] == str(page)
    text = page.read_text(encoding="utf-8")
    assert "it would fail" in text
    assert "<svg" in text
    assert "no_such_module (missing)" in out
    assert "cause: the pickle needs the module 'no_such_module', which the image does not have" in out
