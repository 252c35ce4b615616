"""Measure a forest in a container: ``python trees_in_image.py PLAN``.

Prints one JSON object, ``{"ours": [seconds], "baseline": [...]}``, for one forest: as the pickle, from a DataFrame,
without the rank; and as a forest of the image's scikit-learn, from a prepared float32 array. Both on one thread.
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


def create_forest(arrays: Any, features: int) -> Any:
    """Return a scikit-learn forest with these trees, for any version of scikit-learn in the image."""
    from sklearn import ensemble

    random = np.random.default_rng(0)
    count = len(arrays["roots"])
    forest = ensemble.RandomForestRegressor(count, max_depth=2, n_jobs=1)
    forest.fit(random.random((20, features)).astype(np.float32), random.random(20))
    ends = [*arrays["roots"][1:].tolist(), len(arrays["feature"])]
    for estimator, start, stop in zip(forest.estimators_, arrays["roots"].tolist(), ends, strict=True):
        part = {name: arrays[name][start:stop] for name in arrays}
        inner = part["feature"] >= 0
        constructor, options, empty = estimator.tree_.__reduce__()
        nodes = np.zeros(stop - start, dtype=empty["nodes"].dtype)
        nodes["left_child"] = np.where(inner, part["left"] - start, -1)
        nodes["right_child"] = np.where(inner, part["right"] - start, -1)
        nodes["feature"], nodes["threshold"] = np.where(inner, part["feature"], -2), part["threshold"]
        nodes["n_node_samples"] = nodes["weighted_n_node_samples"] = 1
        if "missing_go_to_left" in nodes.dtype.names:
            nodes["missing_go_to_left"] = part["missing_left"]
        values = np.ascontiguousarray(part["value"][:, None, None])
        estimator.tree_ = constructor(*options)  # a new tree: an existing one does not grow
        estimator.tree_.__setstate__(
            {**empty, "max_depth": 30, "node_count": len(nodes), "nodes": nodes, "values": values}
        )
    return forest


def measure_seconds(call: Any) -> float:
    """Return the CPU seconds of a call: on one thread its duration, independent of other load on the machine."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    """Check that both predict the same, and time them in turn."""
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    folder = Path(plan["folder"])
    predict = pd.read_pickle(folder / "model.pkl")  # noqa: S301 - built by this benchmark
    raw, features = predict.__globals__["predict_raw"], predict.__globals__["MODEL"]["features"]
    frame = pd.read_parquet(folder / "live.parquet")
    with np.load(folder / "trees.npz") as stored:
        forest = create_forest({name: stored[name] for name in stored.files}, len(features))
    array = np.ascontiguousarray(frame[features].to_numpy(dtype=np.float32))
    np.testing.assert_array_equal(raw(frame, None), forest.predict(array))
    calls = {"ours": lambda: raw(frame, None), "baseline": lambda: forest.predict(array)}
    rounds = [{name: measure_seconds(call) for name, call in calls.items()} for _ in range(plan["runs"] + 1)][1:]
    print(json.dumps({name: [seconds[name] for seconds in rounds] for name in calls}), flush=True)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
