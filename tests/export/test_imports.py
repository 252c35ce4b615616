"""Exporting a model imports only its framework, numpy and pandas; for some models also SciPy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import importlib.machinery, os, signal, sys

ABSENT = {"docker", "dotenv", "graphql", "httpx", "jinja2", "pyarrow", "scipy", "yaml"} - set(sys.argv[1:])

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder

import platformdirs  # before the modules below are removed: on Windows it does not import them

# Modules and functions that do not exist on Windows.
sys.modules |= dict.fromkeys(("fcntl", "pwd", "resource", "termios"))
del os.geteuid, os.getuid, os.O_NOFOLLOW, os.O_NONBLOCK, signal.SIGHUP, signal.SIGALRM, signal.setitimer

import numpy as np
from builder.export import export

NAMES = ["feature_a", "feature_b", "feature_c"]
X = np.random.default_rng(1).integers(0, 5, (200, 3)).astype(float)
Y = X @ [0.1, 0.2, 0.3]
"""
TORCH = """
import torch
net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
export(net, "net", sample=X, features=NAMES)
for transform in ("raw", "rank", "gaussian"):
    export([net, net], transform, sample=X, features=NAMES, transform=transform)
"""
SKLEARN = """
from sklearn import ensemble, linear_model, pipeline, preprocessing
for name, model in {"line": linear_model.Ridge(), "forest": ensemble.RandomForestRegressor(3)}.items():
    export(pipeline.make_pipeline(preprocessing.StandardScaler(), model).fit(X, Y), name, sample=X, features=NAMES)
"""
LIGHTGBM = """
import lightgbm
export(lightgbm.train({"verbosity": -1}, lightgbm.Dataset(X, Y), 3), "trees", sample=X, features=NAMES)
"""
XGBOOST = """
import xgboost
export(xgboost.train({"max_depth": 3}, xgboost.DMatrix(X, Y), 3), "trees", sample=X, features=NAMES)
"""
CATBOOST = """
import catboost
model = catboost.CatBoost({"iterations": 3, "verbose": 0, "allow_writing_files": False}).fit(X, Y)
export(model, "trees", sample=X, features=NAMES)
"""
FUNCTION = """
def predict(live_features):
    return live_features["feature_a"].rank(pct=True).to_frame("prediction")

export(predict, "ranks", sample=X, features=NAMES)
"""


@pytest.mark.parametrize(
    ("model", "present"),
    [
        pytest.param(TORCH, ["scipy"], id="torch"),
        pytest.param(SKLEARN, ["scipy"], id="sklearn"),
        pytest.param(LIGHTGBM, ["scipy"], id="lightgbm"),
        pytest.param(XGBOOST, ["scipy"], id="xgboost"),
        pytest.param(CATBOOST, ["scipy"], id="catboost"),
        pytest.param(FUNCTION, [], id="function"),
    ],
)
def test_model_is_exported_without_other_packages(model: str, present: list[str], tmp_path: Path) -> None:
    program = tmp_path / "program.py"  # a file: the source of a function is read
    program.write_text(PROGRAM + model)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", program, *present],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.glob("*/bundle.json"))
