"""Export models in a virtual environment of their own, as on a machine that only trains."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path

BUNDLES = ("boosted", "forest", "network")
_EXPORT = """
import sys, numpy as np, pandas as pd, lightgbm
from sklearn import ensemble, neural_network, pipeline, preprocessing
from builder.export import export
rng = np.random.default_rng(1)
X = pd.DataFrame(rng.integers(0, 5, (300, 6)).astype("int8"), columns=[f"feature_{index}" for index in range(6)])
network = neural_network.MLPRegressor(hidden_layer_sizes=(4,), max_iter=40)
models = {
    "boosted": lightgbm.LGBMRegressor(n_estimators=20, verbose=-1),
    "forest": ensemble.RandomForestRegressor(7),
    "network": pipeline.make_pipeline(preprocessing.StandardScaler(), network),
}
for name, model in models.items():
    export(model.fit(X, rng.choice([0, 0.25, 0.5, 0.75, 1], 300)), f"{name}.bundle.zip", sample=X)
print(*sorted(name for name in sys.modules if name in {"docker", "httpx", "jinja2", "yaml"}))
"""


def create_environment(folder: Path, *packages: str) -> Path:
    """Create a virtual environment with packages from the index in ``folder``, and return its ``bin`` folder."""
    result = clones.run(folder, sys.executable, "-m", "venv", "environment")
    assert result.returncode == 0, result.stderr
    programs = folder / "environment" / "bin"
    install(programs, "--only-binary=:all:", *packages)
    return programs


def install(programs: Path, *arguments: str) -> None:
    """Run ``pip install``."""
    result = clones.run(programs, str(programs / "python"), "-m", "pip", "install", "-q", *arguments)
    assert result.returncode == 0, result.stderr


def list_versions(programs: Path) -> dict[str, str]:
    """Return the version of each installed package."""
    result = clones.run(programs, str(programs / "python"), "-m", "pip", "list", "--format", "json")
    assert result.returncode == 0, result.stderr
    return {package["name"]: package["version"] for package in json.loads(result.stdout)}


def export_models(folder: Path, programs: Path, **changes: str) -> None:
    """Fit a model of each framework to a frame, and export them to ``NAME.bundle.zip`` in ``folder``."""
    result = clones.run(folder, str(programs / "python"), "-W", "ignore", "-c", _EXPORT, **changes)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "", "exporting must not import what only building needs"
