"""Predict several inputs with a pickle: ``python predict_inputs.py PLAN``, in the image.

``PLAN`` is a JSON file ``{"model", "folder", "results", "before_post": [numbers], "watched": [numbers]}``. Each input
is two feather files in ``folder``, ``NUMBER.live.feather`` and ``NUMBER.benchmarks.feather``, with a column ``id``.
``results`` gets a file per input: ``NUMBER.f64``, the predictions in the order of the live rows as little-endian
float64; or ``NUMBER.txt``, the error that was raised. The numbers in ``before_post`` are predicted before
post-processing if the pickle has a function for that, as the pickles of this tool have. For those in ``watched``,
``NUMBER.changed`` has the names of the frames that the pickle changed, separated by commas, if there are any.

What the inputs are for and what is expected of them is not known here: the pickle can read and change everything in
this process, but influence nothing except its own predictions. Needs numpy, pandas and pyarrow.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MODEL_MODULE = "numerai_builder_model"  # as in source.py, which is not in the container: this file runs alone there
_MAX_ERROR = 4000


def find_predict_raw(predict: Any) -> Any:
    """Return the function of a pickle that predicts before post-processing; None if it is not one of this tool.

    A custom function without post-processing is the pickle itself, and has none either.
    """
    namespace = getattr(predict, "__globals__", {}) if getattr(predict, "__module__", None) == MODEL_MODULE else {}
    return namespace.get("predict_raw") if namespace.get("MODEL") is not None else None


def to_frames(inputs: Any, features: list[str], benchmarks: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows of inputs as the two frames of a live round, with generated ids and one era.

    Args:
        inputs: float (rows, n): features, then benchmarks.
        features: Names of the first columns.
        benchmarks: Names of the other columns.
    """
    index = pd.Index([f"n{row:015x}" for row in range(len(inputs))], name="id")
    era = pd.DataFrame({"era": ["X"] * len(inputs)}, index=index)
    data_type = pd.DataFrame({"data_type": ["live"] * len(inputs)}, index=index)
    feature_values = pd.DataFrame(inputs[:, : len(features)], index=index, columns=list(features))
    benchmark_values = pd.DataFrame(inputs[:, len(features) :], index=index, columns=list(benchmarks))
    return pd.concat([era, data_type, feature_values], axis=1), pd.concat([era, benchmark_values], axis=1)


def call_predict(predict: Any, live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> Any:
    """Return what a function predicts, in the order of ``live_features``: float64 (rows,).

    Raises:
        ValueError: It did not return a DataFrame with these rows.
    """
    frames = (live_features, live_benchmark_models)[: len(inspect.signature(predict).parameters)]
    predictions = predict(*frames)
    if not isinstance(predictions, pd.DataFrame):
        raise ValueError(f"predict returned {type(predictions).__name__}; expected a DataFrame with one column")  # noqa: TRY004
    if len(predictions) != len(live_features) or not predictions.index.isin(live_features.index).all():
        raise ValueError(
            f"predict returned {len(predictions)} rows for {len(live_features)} rows of live_features, or other ids"
        )
    return predictions.iloc[:, 0].reindex(live_features.index).to_numpy(dtype=np.float64)


def predict_input(predict: Any, live: pd.DataFrame, benchmarks: pd.DataFrame, *, before_post: bool) -> Any:
    """Return the predictions of an input: float64 (rows,)."""
    predict_raw = find_predict_raw(predict) if before_post else None
    if predict_raw is None:
        return call_predict(predict, live, benchmarks)
    return np.asarray(predict_raw(live, benchmarks), dtype=np.float64)


def main(plan_path: str) -> None:
    """Predict all inputs and write the results."""
    plan = json.loads(Path(plan_path).read_bytes())
    predict = pd.read_pickle(plan["model"])  # noqa: S301 - in the locked container, as the runner does
    folder, results = Path(plan["folder"]), Path(plan["results"])
    numbers = sorted(int(path.name.partition(".")[0]) for path in folder.glob("*.live.feather"))
    for number in numbers:
        live, benchmarks = (
            pd.read_feather(folder / f"{number}.{name}.feather").set_index("id") for name in ("live", "benchmarks")
        )
        frames = {"live_features": live, "live_benchmark_models": benchmarks} if number in plan["watched"] else {}
        copies = {name: frame.copy() for name, frame in frames.items()}
        try:
            predictions = predict_input(predict, live, benchmarks, before_post=number in plan["before_post"])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - any that a model may raise
            text = f"{type(error).__name__}: {error}"[:_MAX_ERROR]
            (results / f"{number}.txt").write_text(text, encoding="utf-8", errors="replace")
        else:
            (results / f"{number}.f64").write_bytes(predictions.astype("<f8").tobytes())
        if changed := [name for name, frame in frames.items() if not frame.equals(copies[name])]:
            (results / f"{number}.changed").write_text(",".join(changed))


if __name__ == "__main__":
    main(sys.argv[1])
    # Skip the interpreter's shutdown: pyarrow's threads abort it now and then (seen in 1 of 60 runs), see
    # https://github.com/apache/arrow/issues/34314
    os._exit(0)
