"""Where people train, everything may be as old as in the oldest image: numpy before 2, pandas 2.0."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path

OLD = ("numpy==1.26.4", "pandas==2.0.3", "scipy==1.11.4", "scikit-learn==1.4.2", "lightgbm==4.0.0")
EXPORT = """
import sys, numpy as np, pandas as pd, lightgbm
from sklearn import ensemble, neural_network, pipeline, preprocessing
from builder.export import export
rng = np.random.default_rng(1)
X = pd.DataFrame(rng.integers(0, 5, (300, 6)).astype("int8"), columns=[f"feature_{place}" for place in range(6)])
network = neural_network.MLPRegressor((4,), max_iter=40)
models = {
    "boosted": lightgbm.LGBMRegressor(n_estimators=20, verbose=-1),
    "forest": ensemble.RandomForestRegressor(7),
    "network": pipeline.make_pipeline(preprocessing.StandardScaler(), network),
}
for name, model in models.items():
    export(model.fit(X, rng.choice([0, 0.25, 0.5, 0.75, 1], 300)), f"{name}.bundle.zip", sample=X)
print(*sorted(one for one in sys.modules if one in {"docker", "httpx", "jinja2", "yaml"}))
"""


def test_models_are_exported_where_everything_is_as_old_as_the_oldest_image(tmp_path: Path) -> None:
    made = clones.run(tmp_path, sys.executable, "-m", "venv", "old")
    assert made.returncode == 0, made.stderr
    python = str(tmp_path / "old" / "bin" / "python")
    done = clones.run(tmp_path, python, "-m", "pip", "install", "-q", "--only-binary=:all:", *OLD)
    assert done.returncode == 0, done.stderr
    done = clones.run(tmp_path, python, "-W", "ignore", "-c", EXPORT, PYTHONPATH=str(clones.ROOT))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", "no engine's library is imported where a model is trained"
    for name in ("boosted", "forest", "network"):
        done = clones.builder(tmp_path, "bundle", "check", f"{name}.bundle.zip")
        assert done.returncode == 0, done.stdout + done.stderr
