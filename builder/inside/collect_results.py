"""Measure a run of the entry point, and predict the golden rows: ``python collect_results.py PLAN``, in the image.

``PLAN`` is a JSON file ``{"model", "features" (parquet), "csv_folder", "golden" (npy), "columns", "out"}``, where
``columns`` names ``{"features", "benchmarks"}`` for a model of the user's own and is null for others, and ``golden``
holds the rows' inputs, or is null for a pickle that comes without its bundle; ``OUT`` gets::

    {"format": 1,
     "csv": null, or {"rows", "columns", "index_equal", "duplicate_ids", "first_duplicate", "missing_ids", "extra_ids",
                      "not_finite", "first_not_finite", "lowest", "highest", "first_outside", "distinct"},
     "parameters": names of predict's parameters,
     "golden": null, or the pickle's own predictions of the golden rows before post-processing (before steps that come
               after a function of the user's own: what that function does itself is part of it)}

Only facts: the host judges them. Needs numpy, pandas and pyarrow.
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

OURS = "numerai_builder_model"  # the module of a function that this tool wrote


def summarize_csv(folder: Path, features: str) -> dict[str, Any] | None:
    """Return the figures of the one CSV that the entry point wrote, or None where there is none."""
    written = sorted(folder.glob("live_predictions-*.csv"))
    if not written:
        return None
    # Ids are text, even those that look like a number or like "NA".
    frame = pd.read_csv(written[-1], converters={0: str}, float_precision="round_trip")
    frame = frame.set_index(frame.columns[0])
    expected = pd.read_parquet(features, columns=[]).index.map(str)
    first = pd.to_numeric(frame.iloc[:, 0], errors="coerce").to_numpy(dtype=float)
    bad = ~np.isfinite(first)
    good, twice = first[~bad], frame.index.duplicated()
    return {
        "rows": len(frame),
        "columns": [str(name) for name in frame.columns],
        "index_equal": bool(frame.index.equals(expected)),
        "duplicate_ids": int(twice.sum()),
        "first_duplicate": find_first_id(frame, twice),
        "missing_ids": [str(name) for name in expected.difference(frame.index)[:3]],
        "extra_ids": [str(name) for name in frame.index.difference(expected)[:3]],
        "not_finite": int(bad.sum()),
        "first_not_finite": find_first_id(frame, bad),
        "lowest": float(good.min()) if len(good) else None,
        "highest": float(good.max()) if len(good) else None,
        "first_outside": find_first_id(frame, ~bad & ((first < 0) | (first > 1))),
        "distinct": len(np.unique(good)),
    }


def find_first_id(frame: pd.DataFrame, chosen: Any) -> str | None:
    """Return the id of the first row that is chosen, or None."""
    return str(frame.index[chosen.argmax()]) if chosen.any() else None


def predict_golden(predict: Any, path: str, columns: dict[str, list[str]] | None = None) -> list[float] | None:
    """Return the predictions of the golden rows before post-processing: float64 (rows,).

    A pickle of ours has ``predict_raw`` and ``MODEL`` among its globals, and a function of the user's own is called as
    the tournament calls it; any other has no such place, hence None.
    """
    known = getattr(predict, "__globals__", {}) if getattr(predict, "__module__", None) == OURS else {}
    model: Any = known.get("MODEL")
    ours = model is not None and "predict_raw" in known
    if not ours and columns is None:
        return None
    inputs = np.load(path, allow_pickle=False)
    names: Any = model if ours else columns
    given = to_frames(inputs, names["features"], names["benchmarks"])
    return [float(value) for value in (known["predict_raw"](*given) if ours else call_predict(predict, *given))]


def to_frames(inputs: Any, features: list[str], benchmarks: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows of inputs as the frames of a live round: one era, ids of their own.

    Args:
        inputs: float (rows, n): features, then benchmarks.
        features: Names of the first columns.
        benchmarks: Names of the others.
    """
    index = pd.Index([f"n{row:015x}" for row in range(len(inputs))], name="id")
    era = pd.DataFrame({"era": ["X"] * len(inputs)}, index=index)
    live = pd.DataFrame({"data_type": ["live"] * len(inputs)}, index=index)
    first = pd.DataFrame(inputs[:, : len(features)], index=index, columns=list(features))
    second = pd.DataFrame(inputs[:, len(features) :], index=index, columns=list(benchmarks))
    return pd.concat([era, live, first], axis=1), pd.concat([era, second], axis=1)


def call_predict(predict: Any, live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> Any:
    """Return what a function of the user's own predicts, in the order of ``live_features``: float64 (rows,).

    Raises:
        ValueError: it returned no frame with these rows.
    """
    given = (live_features, live_benchmark_models)[: len(inspect.signature(predict).parameters)]
    predicted = predict(*given)
    if not isinstance(predicted, pd.DataFrame):
        raise ValueError(f"predict returned {type(predicted).__name__}; expected a DataFrame with one column")  # noqa: TRY004
    if len(predicted) != len(live_features) or not predicted.index.isin(live_features.index).all():
        raise ValueError(
            f"predict returned {len(predicted)} rows for {len(live_features)} of live_features, or other ids"
        )
    return predicted.iloc[:, 0].reindex(live_features.index).to_numpy(dtype=np.float64)


def main(plan_path: str) -> None:
    """Measure and write."""
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
    # pyarrow's threads abort now and then while the interpreter ends (seen in 1 of 60 runs): leave without them.
    os._exit(0)
