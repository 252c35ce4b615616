"""Measure neutralization in a container: ``python neutralize_in_image.py PLAN``.

Prints one JSON object, ``{"step": [seconds], "pinv": [...], "difference": ...}``: the pickle's step, the code of the
tournament's example (a pseudo-inverse of all rows), and the largest difference of their results. On one thread.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl


def measure_seconds(call: Any) -> float:
    """Return the CPU seconds of a call: on one thread its duration, independent of other load on the machine."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Time the two calls in turn."""
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    predict = pd.read_pickle(plan["model"])  # noqa: S301 - built by this benchmark
    frame = pd.read_parquet(plan["frame"])
    step = predict.__globals__["STEPS"]["neutralize"]
    options = next(options for name, options in predict.__globals__["MODEL"]["post"] if name == "neutralize")
    values = predict.__globals__["predict_raw"](frame, None)

    def run_step() -> Any:
        return step(values, options, frame, None)

    def run_example() -> Any:
        columns = frame[options["features"]].to_numpy()
        columns = np.hstack([columns, np.ones((len(columns), 1))])
        return values - options["proportion"] * (columns @ (np.linalg.pinv(columns, rcond=1e-6) @ values))

    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        difference = float(np.abs(run_step() - run_example()).max())
        rounds = [(measure_seconds(run_step), measure_seconds(run_example)) for _ in range(plan["runs"])]
    steps, examples = zip(*rounds, strict=True)
    print(json.dumps({"step": steps, "pinv": examples, "difference": difference}))


if __name__ == "__main__":
    main()
