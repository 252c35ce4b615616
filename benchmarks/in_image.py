"""Times predict inside a container: ``python in_image.py PLAN``; prints one JSON object.

``{"bare": [seconds], "predict": [...], "session": [...], "frames": [...], "memory": {rows: bytes over the rest}}``:
the float32 matrix products alone, ``predict`` from DataFrame to ranked DataFrame, onnxruntime's session on a ready
array, and onnxruntime from DataFrame to ranked DataFrame. All on one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def timed(call: Any) -> float:
    """Return the seconds of CPU that a call took: on one thread the time it takes, whatever else the machine does."""
    started = time.process_time()
    call()
    return time.process_time() - started


def speed(plan: dict[str, Any]) -> dict[str, list[float]]:
    """Time the four in turn."""
    sys.path.insert(0, plan["site"])
    import numpy as np
    import onnxruntime
    import pandas as pd
    import threadpoolctl

    predict = pd.read_pickle(plan["model"])  # noqa: S301 - made by this run
    frame, other = pd.read_parquet(plan["frames"]["7000"]), pd.read_parquet(plan["benchmarks"])
    features = predict.__globals__["MODEL"]["features"]
    weights = [np.ascontiguousarray(layer["weights"].T, "f4") for layer in predict.__globals__["MODEL"]["layers"]]
    weights[0] = weights[0][: len(features)]  # its last row is the bias
    ready = np.ascontiguousarray(frame[features].to_numpy(dtype=np.float32))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(plan["onnx"], options, providers=["CPUExecutionProvider"])

    def bare() -> Any:
        hidden = ready
        for weight in weights:
            hidden = hidden @ weight
        return hidden

    def frames() -> Any:
        inputs = np.ascontiguousarray(frame[features].to_numpy(dtype=np.float32))
        values = pd.Series(session.run(None, {"x": inputs})[0][:, 0], index=frame.index)
        return values.groupby(frame["era"]).rank(pct=True).to_frame("prediction")

    calls = {
        "bare": bare,
        "predict": lambda: predict(frame, other),
        "session": lambda: session.run(None, {"x": ready}),
        "frames": frames,
    }
    difference = np.abs(predict(frame, other)["prediction"] - frames()["prediction"]).max()
    assert difference < 0.01, difference
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        rounds = [{name: timed(call) for name, call in calls.items()} for _ in range(plan["runs"] + 1)][1:]
    return {name: [one[name] for one in rounds] for name in calls}


def memory(plan: dict[str, Any], rows: str) -> int:
    """Return the bytes that predict takes over the loaded frames and model, at its peak."""
    import pandas as pd

    predict = pd.read_pickle(plan["model"])  # noqa: S301 - made by this run
    frame, other = pd.read_parquet(plan["frames"][rows]), pd.read_parquet(plan["benchmarks"])
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is there now
    before = status("VmRSS")
    predict(frame, other)
    return status("VmHWM") - before


def status(key: str) -> int:
    """Return a figure of this process in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


def main() -> None:
    """Time, measure in processes of their own, print."""
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    if len(sys.argv) > 2:
        print(memory(plan, sys.argv[2]))
        return
    taken = {
        rows: int(subprocess.run([sys.executable, __file__, sys.argv[1], rows], check=True, capture_output=True).stdout)
        for rows in plan["frames"]
    }
    print(json.dumps({**speed(plan), "memory": taken}))


if __name__ == "__main__":
    main()
