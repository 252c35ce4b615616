"""Times LightGBM pickles inside a container: ``python boosters_in_image.py PLAN``; prints one JSON object.

``{"NAME": {"ours": [seconds], "array": [...], "frame": [...]}, "memory": {rows: bytes over the rest}}``: for each
model, ``predict`` from a DataFrame up to post-processing, the library's own predict on a ready array, and on the
frame's columns. All on one thread.
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


def speed(one: dict[str, Any], runs: int) -> dict[str, list[float]]:
    """Time the three in turn."""
    import numpy as np
    import pandas as pd

    predict = pd.read_pickle(one["model"])  # noqa: S301 - made by this run
    raw, model = predict.__globals__["predict_raw"], predict.__globals__["MODEL"]
    frame = pd.read_parquet(one["frame"]).iloc[: one["rows"]]
    ready = np.ascontiguousarray(frame[model["features"]].to_numpy(dtype=np.float32))
    raw(frame.iloc[:1], None)
    booster = model["booster"]
    theirs = booster.predict(ready, num_threads=1)
    difference = np.abs(raw(frame, None) - theirs).max() / np.ptp(theirs)
    assert difference < 1e-9, difference
    calls = {
        "ours": lambda: raw(frame, None),
        "array": lambda: booster.predict(ready, num_threads=1),
        "frame": lambda: booster.predict(frame[model["features"]], num_threads=1),
    }
    rounds = [{name: timed(call) for name, call in calls.items()} for _ in range(runs + 1)][1:]
    return {name: [done[name] for done in rounds] for name in calls}


def memory(one: dict[str, Any], path: str) -> int:
    """Return the bytes that predict takes over the loaded frame and booster, at its peak."""
    import pandas as pd

    predict = pd.read_pickle(one["model"])  # noqa: S301 - made by this run
    frame = pd.read_parquet(path)
    predict(frame.iloc[:1], None)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is there now
    before = status("VmRSS")
    predict(frame, None)
    return status("VmHWM") - before


def status(key: str) -> int:
    """Return a figure of this process in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


def main() -> None:
    """Time, measure in processes of their own, print."""
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    first = next(iter(plan["models"].values()))
    if len(sys.argv) > 2:
        print(memory(first, plan["frames"][sys.argv[2]]))
        return
    command = [sys.executable, __file__, sys.argv[1]]
    taken = {
        rows: int(subprocess.run([*command, rows], check=True, capture_output=True).stdout) for rows in plan["frames"]
    }
    print(json.dumps({**{name: speed(one, plan["runs"]) for name, one in plan["models"].items()}, "memory": taken}))


if __name__ == "__main__":
    main()
