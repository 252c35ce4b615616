"""Write a pickle of this function: ``python3.12 record.py > python3.12.pkl``; cloudpickle must be importable."""

from __future__ import annotations

import sys

import cloudpickle

SOURCE = """
WEIGHTS = {"feature_a": 0.25}

def predict(live_features, live_benchmark_models):
    import os
    from scipy.stats import rankdata
    total = 0.0
    for name in live_features.columns:
        try:
            total += WEIGHTS[name] * len(os.path.basename(name))
        except KeyError:
            continue
    return rankdata(live_features["feature_a"] * total)
"""
namespace: dict[str, object] = {"__name__": "__main__"}
exec(compile(SOURCE, "<recorded>", "exec"), namespace)
sys.stdout.buffer.write(cloudpickle.dumps(namespace["predict"]))
