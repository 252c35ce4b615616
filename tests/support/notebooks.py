"""Run the notebooks of tests/support/shapes as a Jupyter kernel does, beside parquet files like the tournament's."""

from __future__ import annotations

import linecache
import re
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from builder.export import export

if TYPE_CHECKING:
    import pytest

FOLDER = Path(__file__).parent / "shapes"
BENCHMARK = "v53_lgbm_ender20"
READS_BENCHMARK = {"xgboost_factory", "numpy_network", "own_wrapper"}
FEATURES = [f"feature_{number}" for number in range(12)]


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the names of the notebook ``NAME.py``, which runs in ``folder`` as the module ``__main__``.

    Each cell has a file name of its own, whose source only Python's line cache has, as in
    https://github.com/ipython/ipykernel/blob/v6.29.5/ipykernel/compiler.py.
    """
    random = np.random.default_rng(5)
    features, benchmarks = make_frames(400, random)
    signal = features[FEATURES[:3]].sum(axis=1) + features[FEATURES[3]] * features[FEATURES[4]]
    for target in ("target", "target_cyrusd_20", "target_victor_20"):
        values = signal + random.normal(size=len(features))
        features[target] = pd.qcut(values, 5, labels=False) / 4
    features.to_parquet(folder / "train.parquet")
    benchmarks.to_parquet(folder / "train_benchmark_models.parquet")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(FOLDER)  # where the user's own package is
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    cells = re.split(r"^# %%$", (FOLDER / f"{name}.py").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for number, cell in enumerate(cells[1:], start=1):
        file, source = f"/tmp/ipykernel_1/{name}_{number}.py", cell.strip() + "\n"
        monkeypatch.setitem(linecache.cache, file, (len(source), None, source.splitlines(keepends=True), file))
        exec(compile(source, file, "exec", dont_inherit=True), vars(module))
    return vars(module)


def export_function(name: str, function: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a notebook and export a function of it as a user does; return the function."""
    notebook = run(name, folder, monkeypatch)
    sample = pd.read_parquet("train.parquet")
    options: dict[str, Any] = {}
    if name in READS_BENCHMARK:
        sample = sample.join(pd.read_parquet("train_benchmark_models.parquet")[[BENCHMARK]])
        options["benchmark"] = BENCHMARK
    export(notebook[function], "mine", sample=sample, **options)
    return notebook[function]


def make_frames(rows: int, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return frames like a round's: features of several eras, and predictions of a benchmark model."""
    index = pd.Index([f"n{random.integers(1 << 60):015x}" for _ in range(rows)], name="id")
    era = pd.DataFrame({"era": [f"{1 + row * 4 // rows:04d}" for row in range(rows)]}, index=index)
    values = random.integers(0, 5, size=(rows, len(FEATURES)), dtype=np.int8)
    features = pd.DataFrame(values, index=index, columns=FEATURES)
    return pd.concat([era, features], axis=1), era.assign(**{BENCHMARK: random.random(rows).astype("float32")})
