"""Measure ``predict`` in a container: ``python in_image.py PLAN``.

Prints one JSON object, ``{"bare": [seconds], "predict": [...], "session": [...], "frames": [...], "memory": {rows:
bytes}}``: only the float32 matrix products, ``predict`` from DataFrame to ranked DataFrame, onnxruntime's session on a
prepared array, onnxruntime from DataFrame to ranked DataFrame, and the additional memory of ``predict`` at its peak.
All on one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def measure_seconds(call: Any) -> float:
    """Return the CPU seconds of a call: on one thread its duration, independent of other load on the machine."""
    started = time.process_time()
    call()
    return time.process_time() - started


def measure_speed(plan: dict[str, Any]) -> dict[str, list[float]]:
    """Time the four calls in turn."""
    sys.path.insert(0, plan["site"])
    import numpy as np
    import onnxruntime
    import pandas as pd
    import threadpoolctl

    predict = pd.read_pickle(plan["model"])  # noqa: S301 - built by this benchmark
    frame, benchmarks = pd.read_parquet(plan["frames"]["7000"]), pd.read_parquet(plan["benchmarks"])
    features = predict.__globals__["MODEL"]["features"]
    weights = [np.ascontiguousarray(layer["weights"].T, "f4") for layer in predict.__globals__["MODEL"]["layers"]]
    weights[0] = weights[0][: len(features)]  # its last row is the bias
    array = np.ascontiguousarray(frame[features].to_numpy(dtype=np.float32))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(plan["onnx"], options, providers=["CPUExecutionProvider"])

    def bare() -> Any:
        hidden = array
        for weight in weights:
            hidden = hidden @ weight
        return hidden

    def frames() -> Any:
        inputs = np.ascontiguousarray(frame[features].to_numpy(dtype=np.float32))
        values = pd.Series(session.run(None, {"x": inputs})[0][:, 0], index=frame.index)
        return values.groupby(frame["era"]).rank(pct=True).to_frame("prediction")

    calls = {
        "bare": bare,
        "predict": lambda: predict(frame, benchmarks),
        "session": lambda: session.run(None, {"x": array}),
        "frames": frames,
    }
    difference = np.abs(predict(frame, benchmarks)["prediction"] - frames()["prediction"]).max()
    assert difference < 0.01, difference
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        rounds = [{name: measure_seconds(call) for name, call in calls.items()} for _ in range(plan["runs"] + 1)][1:]
    return {name: [seconds[name] for seconds in rounds] for name in calls}


def measure_memory(plan: dict[str, Any], rows: str) -> int:
    """Return the peak memory of ``predict`` in bytes, without the loaded frames and model."""
    import pandas as pd

    predict = pd.read_pickle(plan["model"])  # noqa: S301 - built by this benchmark
    frame, benchmarks = pd.read_parquet(plan["frames"][rows]), pd.read_parquet(plan["benchmarks"])
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak, to the memory in use now
    before = read_status("VmRSS")
    predict(frame, benchmarks)
    return read_status("VmHWM") - before


def read_status(key: str) -> int:
    """Return an entry of ``/proc/self/status`` in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


def main() -> None:
    """Measure speed in this process and memory in a new process for each number of rows."""
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    if len(sys.argv) > 2:
        print(measure_memory(plan, sys.argv[2]))
        return
    memory = {
        rows: int(subprocess.run([sys.executable, __file__, sys.argv[1], rows], check=True, capture_output=True).stdout)
        for rows in plan["frames"]
    }
    print(json.dumps({**measure_speed(plan), "memory": memory}))


if __name__ == "__main__":
    main()
