"""Measure LightGBM pickles in a container: ``python boosters_in_image.py PLAN``.

Prints one JSON object, ``{"NAME": {"ours": [seconds], "array": [...], "frame": [...]}, "memory": {rows: bytes}}``: for
each model ``predict`` from a DataFrame up to post-processing, the library's own predict on a prepared array and on the
frame's columns, and the additional memory of ``predict`` at its peak. All on one thread.
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


def measure_speed(model_plan: dict[str, Any], runs: int) -> dict[str, list[float]]:
    """Time the three calls in turn."""
    import numpy as np
    import pandas as pd

    predict = pd.read_pickle(model_plan["model"])  # noqa: S301 - built by this benchmark
    raw, model = predict.__globals__["predict_raw"], predict.__globals__["MODEL"]
    frame = pd.read_parquet(model_plan["frame"]).iloc[: model_plan["rows"]]
    array = np.ascontiguousarray(frame[model["features"]].to_numpy(dtype=np.float32))
    raw(frame.iloc[:1], None)
    booster = model["booster"]
    baseline = booster.predict(array, num_threads=1)
    difference = np.abs(raw(frame, None) - baseline).max() / np.ptp(baseline)
    assert difference < 1e-9, difference
    calls = {
        "ours": lambda: raw(frame, None),
        "array": lambda: booster.predict(array, num_threads=1),
        "frame": lambda: booster.predict(frame[model["features"]], num_threads=1),
    }
    rounds = [{name: measure_seconds(call) for name, call in calls.items()} for _ in range(runs + 1)][1:]
    return {name: [seconds[name] for seconds in rounds] for name in calls}


def measure_memory(model_plan: dict[str, Any], path: str) -> int:
    """Return the peak memory of ``predict`` in bytes, without the loaded frame and booster."""
    import pandas as pd

    predict = pd.read_pickle(model_plan["model"])  # noqa: S301 - built by this benchmark
    frame = pd.read_parquet(path)
    predict(frame.iloc[:1], None)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak, to the memory in use now
    before = read_status("VmRSS")
    predict(frame, None)
    return read_status("VmHWM") - before


def read_status(key: str) -> int:
    """Return an entry of ``/proc/self/status`` in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


def main() -> None:
    """Measure speed in this process and memory in a new process for each number of rows."""
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    first = next(iter(plan["models"].values()))
    if len(sys.argv) > 2:
        print(measure_memory(first, plan["frames"][sys.argv[2]]))
        return
    command = [sys.executable, __file__, sys.argv[1]]
    memory = {
        rows: int(subprocess.run([*command, rows], check=True, capture_output=True).stdout) for rows in plan["frames"]
    }
    speed = {name: measure_speed(model_plan, plan["runs"]) for name, model_plan in plan["models"].items()}
    print(json.dumps({**speed, "memory": memory}))


if __name__ == "__main__":
    main()
