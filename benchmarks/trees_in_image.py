"""Times a forest inside a container: ``python trees_in_image.py PLAN``; prints ``{"ours": [seconds], "theirs": ...}``.

The same forest twice: as the pickle, from a DataFrame, before the rank; and as scikit-learn's own of this image, from a
ready float32 array. Both on one thread, in turns.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def forest_of(arrays: Any, features: int) -> Any:
    """Return scikit-learn's forest with these trees, whatever version of it is here."""
    from sklearn import ensemble

    random = np.random.default_rng(0)
    count = len(arrays["roots"])
    forest = ensemble.RandomForestRegressor(count, max_depth=2, n_jobs=1)
    forest.fit(random.random((20, features)).astype(np.float32), random.random(20))
    ends = [*arrays["roots"][1:].tolist(), len(arrays["feature"])]
    for one, start, stop in zip(forest.estimators_, arrays["roots"].tolist(), ends, strict=True):
        part = {name: arrays[name][start:stop] for name in arrays}
        inner = part["feature"] >= 0
        make, options, empty = one.tree_.__reduce__()
        nodes = np.zeros(stop - start, dtype=empty["nodes"].dtype)
        nodes["left_child"] = np.where(inner, part["left"] - start, -1)
        nodes["right_child"] = np.where(inner, part["right"] - start, -1)
        nodes["feature"], nodes["threshold"] = np.where(inner, part["feature"], -2), part["threshold"]
        nodes["n_node_samples"] = nodes["weighted_n_node_samples"] = 1
        if "missing_go_to_left" in nodes.dtype.names:
            nodes["missing_go_to_left"] = part["missing_left"]
        values = np.ascontiguousarray(part["value"][:, None, None])
        one.tree_ = make(*options)  # a new one: that which is there would not grow
        one.tree_.__setstate__({**empty, "max_depth": 30, "node_count": len(nodes), "nodes": nodes, "values": values})
    return forest


def timed(call: Any) -> float:
    """Return the seconds of CPU that a call took: on one thread the time it takes, whatever else the machine does."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Check that both predict the same, time them in turns, print."""
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    folder = Path(plan["folder"])
    predict = pd.read_pickle(folder / "model.pkl")  # noqa: S301 - made by this run
    raw, features = predict.__globals__["predict_raw"], predict.__globals__["MODEL"]["features"]
    frame = pd.read_parquet(folder / "live.parquet")
    with np.load(folder / "trees.npz") as stored:
        forest = forest_of({name: stored[name] for name in stored.files}, len(features))
    ready = np.ascontiguousarray(frame[features].to_numpy(dtype=np.float32))
    np.testing.assert_array_equal(raw(frame, None), forest.predict(ready))
    calls = {"ours": lambda: raw(frame, None), "theirs": lambda: forest.predict(ready)}
    rounds = [{name: timed(call) for name, call in calls.items()} for _ in range(plan["runs"] + 1)][1:]
    print(json.dumps({name: [one[name] for one in rounds] for name in calls}), flush=True)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
