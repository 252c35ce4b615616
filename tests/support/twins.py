"""Correct custom functions, and the same functions broken in one thing."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from builder.bundle import model
from builder.inside import predict_inputs

NAMES = tuple(f"feature_{index}" for index in range(10))
COLUMNS = "same values: columns in another order, and more"
RANGE = "same range: golden rows and live rows"

# Each function calls `read`, which returns the features in the order of NAMES, (rows, 10), from -1 to 1.
READ = {
    "correct": "live[NAMES].to_numpy(float) / 2 - 1",
    "prefix": "live[[name for name in live.columns if name.startswith('feature_')]].to_numpy(float)[:, :10] / 2 - 1",
    "position": "live[NAMES].assign(feature_2=live.iloc[:, 4]).to_numpy(float) / 2 - 1",
    "units": "live[NAMES].to_numpy(float) * 2 - 1",  # of features from 0 to 1
}
FUNCTIONS = {
    "network": """
        hidden = np.random.default_rng(1).normal(size=(10, 4))
        output = np.random.default_rng(2).normal(size=4)

        def predict(live):
            values = np.tanh(read(live) @ hidden) @ output
            return pd.DataFrame({"prediction": 1 / (1 + np.exp(-values))}, index=live.index)
        """,
    "neutralized ranks": """
        weights = np.random.default_rng(3).normal(size=10)

        class Model:
            def __call__(self, live):
                features = read(live)
                values = np.abs(features) @ weights + features @ weights
                columns = np.column_stack([features[:, 7:], np.ones(len(live))])
                values = values - columns @ np.linalg.pinv(columns, rcond=1e-6) @ values
                values = pd.Series(values, index=live.index).groupby(live["era"]).rank(pct=True)
                return values.to_frame("prediction")

        predict = Model()
        """,
    "blend": """
        weights = np.random.default_rng(4).normal(size=10)

        def predict(live, benchmark_models):
            ranks = pd.Series(read(live) @ weights, index=live.index).rank(pct=True)
            other = benchmark_models["bench_b"].reindex(live.index).fillna(0.5)
            return (0.7 * ranks + 0.3 * other).to_frame("prediction")
        """,
}
BENCHMARKS = {"blend": ("bench_a", "bench_b")}
_BY_NAME = "read each column by its name"


def get_cause(name: str, read: str) -> tuple[str, str]:
    """Return the name of the check that fails, and what it reports."""
    if read == "units":
        ranges = "golden rows 0 to 1, live rows 0 to 4 (generated, as in live data): feature_0 (0 to 1, live 0 to 4)"
        return RANGE, f"values are expected from 0 to 1: {ranges}"
    if read == "prefix":
        return COLUMNS, f"columns are chosen by the prefix `feature_`; {_BY_NAME}"
    if name == "neutralized ranks":  # each row depends on all others, so the column cannot be found
        return COLUMNS, f"columns are taken by position; {_BY_NAME}"
    return COLUMNS, f"column 3 of 10 is taken by position (`feature_2`); {_BY_NAME}"


def make_function(name: str, read: str) -> Any:
    """Return a function that is pickled by value; this Python is the stand-in image's version."""
    space: dict[str, Any] = {"__name__": "__main__", "NAMES": list(NAMES)}
    source = f"import numpy as np\nimport pandas as pd\n\ndef read(live):\n    return {READ[read]}\n"
    exec(source + textwrap.dedent(FUNCTIONS[name]), space)
    return space["predict"]


def make_bundle(name: str, read: str) -> model.Bundle:
    """Return the bundle of a function; its golden rows have features from 0 to 1 if ``read`` expects these."""
    benchmarks, scale = BENCHMARKS.get(name, ()), 1 if read == "units" else 4
    random = np.random.default_rng(5)
    features = random.integers(0, 5, size=(40, 10)) * (scale / 4)
    inputs = np.column_stack([features, random.random((40, len(benchmarks)))])
    frames = predict_inputs.to_frames(inputs, list(NAMES), list(benchmarks))
    return model.Bundle(
        features=NAMES,
        benchmarks=benchmarks,
        model=model.Custom(files={"code/model.py": b""}),
        golden=model.GoldenRows(
            inputs=inputs, predictions=predict_inputs.call_predict(make_function(name, read), *frames)
        ),
    )
