"""A pickle that was made by hand in the image is adopted, validated and compared with what is on record."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from builder.config import model
from builder.validate import relations
from tests.support import in_container, stand_ins
from tests.support.command import call, read_output

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import docker_engine

# It predicts what it captures, as a notebook's function does; `nameless` reads all columns that begin with feature_.
SCRIPT = """
import base64, cloudpickle, json
import numpy as np

FEATURES, WEIGHTS = ["feature_able", "feature_baker", "feature_charlie"], np.array([0.2, 0.3, 0.5])

def predict(live_features, live_benchmark_models):
    benchmark = live_benchmark_models["v53_lgbm_ender20"].reindex(live_features.index).fillna(0.5)
    values = live_features[FEATURES].astype("float32").fillna(2).to_numpy() @ WEIGHTS + benchmark
    return values.rank(pct=True).to_frame("prediction")

def nameless(live_features):
    weights = np.array([0.5, 0.25])
    names = [name for name in live_features.columns if name.startswith("feature_")]
    return (live_features[names].astype("float64") @ weights).rank(pct=True).to_frame("prediction")

print(json.dumps([base64.b64encode(cloudpickle.dumps(function)).decode() for function in (predict, nameless)]))
"""


@pytest.fixture
def folder(engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working directory; the pickles are in the one above."""
    printed = in_container.run(engine, stand_ins.get_default().image.id, run_id, {}, "python", "-c", SCRIPT)
    for name, content in zip(("predict", "nameless"), json.loads(printed.strip().splitlines()[-1]), strict=True):
        (tmp_path / f"{name}.pkl").write_bytes(base64.b64decode(content))
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    return root


def test_a_pickle_made_by_hand_is_adopted_validated_and_verified(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = stand_ins.get_default().python
    options = ["--image", "127.0.0.1:9/numerai/runner:1", "--stand-in", python]
    for name in ("predict", "nameless"):
        assert call("adopt", f"../{name}.pkl", *options) == 0
        assert "A STAND-IN" in read_output(capsys)[0]

    def validate(name: str) -> tuple[int, dict[str, Any]]:
        code = call("validate", f"configs/{name}.yaml", "--json")
        answer = json.loads(capsys.readouterr().out)  # its log may have the pickle's traceback
        return code, {check["name"]: check for check in answer["checks"]}

    code, checks = validate("predict")
    assert (code, {name for name, check in checks.items() if check["good"] is False}) == (0, set())
    assert checks["golden rows"]["detail"].startswith("not compared: a finished pickle has none")
    assert checks[relations.OTHER_COLUMNS]["good"]
    assert checks["same values: benchmarks in another order, and more"]["good"]
    assert not {"golden rows: framework", "same range: golden rows and live rows"} & set(checks)
    page = (folder / "dist/predict/report.html").read_text()
    assert "an adopted pickle: not compared with its model" in page
    assert "not compared: a finished pickle has none" in page
    assert call("verify", "configs/predict.yaml") == 0
    assert read_output(capsys)[0].endswith("only its bytes were compared with what is on record\n")
    assert (folder / "dist/predict/model.pkl").read_bytes() == (folder / "../predict.pkl").read_bytes()
    assert call("upload", "configs/predict.yaml", "--dry-run") == 5
    assert "was adopted for a stand-in image for 127.0.0.1:9/numerai/runner:1" in read_output(capsys)[1]

    # It reads all columns whose names begin with feature_, and works on rows that have two of them only.
    index = pd.Index([f"n{row}" for row in range(60)], name="id")
    rows = pd.DataFrame({"era": "X", "feature_x": range(60), "feature_y": [row * 7 % 5 for row in range(60)]}, index)
    rows.to_parquet("configs/live.parquet")
    config = folder / "configs/nameless.yaml"
    config.write_text(config.read_text().replace("data: shaped", "data: {live: live.parquet}"))
    assert model.load(config).pickle == folder / "configs/adopted/nameless.pkl"
    code, checks = validate("nameless")
    assert (code, checks["entry point"]["good"]) == (1, True)
    assert checks["columns"]["detail"].startswith("the pickle names no features: it was tried with 2 (feature_x, ")
    failed = {name: check["detail"] for name, check in checks.items() if check["good"] is False}
    assert list(failed) == [relations.OTHER_COLUMNS]
    assert "dump it again" not in next(iter(failed.values()))
