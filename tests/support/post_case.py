"""The post-processing steps of a pickle against what their reference gave elsewhere; a script in the images.

``python post_case.py FOLDER`` takes ``FOLDER/model.pkl``, whose steps are run by themselves, and ``FOLDER/post.npz``;
it prints a JSON object, ``{"worst": difference, "cases": how many, "numpy": version, "pandas": version}``.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def run(folder: Path) -> dict[str, Any]:
    """Run each step on frames of several types of columns and of eras; return what came of it."""
    steps = pd.read_pickle(folder / "model.pkl").__globals__["STEPS"]
    with np.load(folder / "post.npz", allow_pickle=False) as stored:
        case = {name: stored[name] for name in stored.files}
    names = [f"feature_{index}" for index in range(case["columns"].shape[1])]
    benchmarks = pd.DataFrame(case["benchmarks"], columns=["bench_a", "bench_b"])
    eras = (case["era"], pd.Categorical(case["era"]), pd.array(case["era"], dtype="string"))
    worst, cases = 0.0, 0
    for kind in ("int8", "float32", "float64", "Int8"):
        for era in eras:
            live = pd.DataFrame(case["columns"], columns=names).astype(kind).assign(era=era)
            for index, text in enumerate(case["steps"]):
                ((name, options),) = json.loads(str(text)).items()
                with contextlib.redirect_stdout(io.StringIO()):  # says which ids have no benchmark
                    actual = steps[name](case["values"], options, live, benchmarks)
                assert actual.dtype == np.float64
                worst = max(worst, float(np.abs(actual - case["expected"][index]).max()))
                cases += 1
    return {"worst": worst, "cases": cases, "numpy": np.__version__, "pandas": pd.__version__}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]))))
