"""Times neutralisation inside a container: ``python neutralize_in_image.py PLAN``; prints one JSON object.

``{"step": [seconds], "pinv": [...], "difference": ...}``: the pickle's own step, the same as it is printed in the
tournament's example (a pseudo-inverse of all the rows), and the largest difference between the two. On one thread.
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


def timed(call: Any) -> float:
    """Return the seconds of CPU that a call took: on one thread the time it takes, whatever else the machine does."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Time the two in turn."""
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    predict = pd.read_pickle(plan["model"])  # noqa: S301 - made by this run
    frame = pd.read_parquet(plan["frame"])
    step = predict.__globals__["STEPS"]["neutralize"]
    options = next(options for name, options in predict.__globals__["MODEL"]["post"] if name == "neutralize")
    values = predict.__globals__["predict_raw"](frame, None)

    def ours() -> Any:
        return step(values, options, frame, None)

    def printed() -> Any:
        columns = frame[options["features"]].to_numpy()
        columns = np.hstack([columns, np.ones((len(columns), 1))])
        return values - options["proportion"] * (columns @ (np.linalg.pinv(columns, rcond=1e-6) @ values))

    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        difference = float(np.abs(ours() - printed()).max())
        rounds = [(timed(ours), timed(printed)) for _ in range(plan["runs"])]
    print(
        json.dumps({"step": [one for one, _ in rounds], "pinv": [two for _, two in rounds], "difference": difference})
    )


if __name__ == "__main__":
    main()
