"""Collect the results of a run of the entry point: ``python collect_results.py PLAN``, in the image.

``PLAN`` is a JSON file ``{"model", "features" (parquet), "csv_folder", "golden" (npy), "columns", "out"}``. ``golden``
has the inputs of the golden rows; it is null for a pickle without its bundle. ``columns`` is
``{"features": [names], "benchmarks": [names]}`` for a custom model and null for others. ``OUT`` gets::

    {"format": 1,
     "csv": null, or {"rows", "columns", "index_equal", "duplicate_ids", "first_duplicate", "missing_ids", "extra_ids",
                      "not_finite", "first_not_finite", "lowest", "highest", "first_outside", "distinct"},
     "parameters": names of predict's parameters,
     "golden": null, or the pickle's predictions of the golden rows before post-processing (what a custom function does
               itself is included)}

These are facts only: the host judges them (``builder.validate.run``), because a pickle could fake a verdict that is
written in here. Needs numpy, pandas and pyarrow.
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


def summarize_csv(folder: Path, features: str) -> dict[str, Any] | None:
    """Return facts about the CSV that the entry point wrote; None if there is none.

    Args:
        folder: The folder with the CSV.
        features: The parquet file whose ids the CSV should have.
    """
    paths = sorted(folder.glob("live_predictions-*.csv"))
    if not paths:
        return None
    # Ids are text, even those that look like a number or like "NA".
    frame = pd.read_csv(paths[-1], converters={0: str}, float_precision="round_trip")
    frame = frame.set_index(frame.columns[0])
    expected = pd.read_parquet(features, columns=[]).index.map(str)
    values = pd.to_numeric(frame.iloc[:, 0], errors="coerce").to_numpy(dtype=float)
    not_finite = ~np.isfinite(values)
    finite, duplicate = values[~not_finite], frame.index.duplicated()
    return {
        "rows": len(frame),
        "columns": [str(name) for name in frame.columns],
        "index_equal": bool(frame.index.equals(expected)),
        "duplicate_ids": int(duplicate.sum()),
        "first_duplicate": find_first_id(frame, duplicate),
        "missing_ids": [str(name) for name in expected.difference(frame.index)[:3]],
        "extra_ids": [str(name) for name in frame.index.difference(expected)[:3]],
        "not_finite": int(not_finite.sum()),
        "first_not_finite": find_first_id(frame, not_finite),
        "lowest": float(finite.min()) if len(finite) else None,
        "highest": float(finite.max()) if len(finite) else None,
        "first_outside": find_first_id(frame, ~not_finite & ((values < 0) | (values > 1))),
        "distinct": len(np.unique(finite)),
    }


def find_first_id(frame: pd.DataFrame, mask: Any) -> str | None:
    """Return the id of the first row for which ``mask`` is true, or None."""
    return str(frame.index[mask.argmax()]) if mask.any() else None


def predict_golden(predict: Any, path: str, columns: dict[str, list[str]] | None = None) -> list[float] | None:
    """Return the predictions of the golden rows before post-processing: float64 (rows,).

    None if that is not possible: only a pickle of this tool has ``predict_raw`` and ``MODEL`` among its globals. A
    custom function is called as the tournament calls it, with ``columns``.
    """
    namespace = getattr(predict, "__globals__", {}) if getattr(predict, "__module__", None) == MODEL_MODULE else {}
    model: Any = namespace.get("MODEL")
    has_predict_raw = model is not None and "predict_raw" in namespace
    if not has_predict_raw and columns is None:
        return None
    inputs = np.load(path, allow_pickle=False)
    names: Any = model if has_predict_raw else columns
    frames = to_frames(inputs, names["features"], names["benchmarks"])
    predictions = namespace["predict_raw"](*frames) if has_predict_raw else call_predict(predict, *frames)
    return [float(value) for value in predictions]


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
    """Return what a custom function predicts, in the order of ``live_features``: float64 (rows,).

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


def main(plan_path: str) -> None:
    """Collect the results and write them to the file that the plan contains."""
    plan = json.loads(Path(plan_path).read_bytes())
    predict = pd.read_pickle(plan["model"])  # noqa: S301 - in the locked container, as the runner does
    report = {
        "format": 1,
        "csv": summarize_csv(Path(plan["csv_folder"]), plan["features"]),
        "parameters": list(inspect.signature(predict).parameters),
        "golden": predict_golden(predict, plan["golden"], plan.get("columns")) if plan["golden"] else None,
    }
    Path(plan["out"]).write_text(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
    # Skip the interpreter's shutdown: pyarrow's threads abort it now and then (seen in 1 of 60 runs), see
    # https://github.com/apache/arrow/issues/34314
    os._exit(0)
