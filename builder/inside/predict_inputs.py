"""Predict several inputs with a pickle: ``python predict_inputs.py PLAN``, in the image.

``PLAN`` is a JSON file, for which this script waits::

    {"model": path, "folder": path, "results": path, "before_post": [numbers], "float64": [numbers],
     "watched": [numbers], "always": count, "seconds": seconds,
     "eras": {"number", "seconds", "memory": bytes}}

Each input is two feather files in ``folder``, ``NUMBER.live.feather`` and ``NUMBER.benchmarks.feather``, with a column
``id``. ``results`` gets a file per input: ``NUMBER.f64``, the predictions in the order of the live rows as
little-endian float64; or ``NUMBER.txt``, the error that was raised. The numbers in ``before_post`` are predicted before
post-processing if the pickle has a function for that, as the pickles of this tool have. Those in ``float64`` are
predicted again with the numbers of the model in float64: ``NUMBER.float64.f64`` or ``.txt``. For those in ``watched``,
``NUMBER.changed`` has the names of the frames that the pickle changed, separated by commas, if there are any. When
``seconds`` would be exceeded, only the first ``always`` inputs are predicted. At last, ``eras.json`` gets what frames
of 200 eras took, made of the rows of an input: ``{"frames": [{"rows", "seconds", "peak_bytes"}]}``; if nothing was
measured, there is no file.

What the inputs are for and what is expected of them is not known here: the pickle can read and change everything in
this process, but influence nothing except its own predictions. Needs numpy, pandas and pyarrow.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL_MODULE = "numerai_builder_model"  # as in source.py, which is not in the container: this file runs alone there
_MAX_ERROR = 4000
_ERAS = 200


def find_predict_raw(predict: Any) -> Any:
    """Return the function of a pickle that predicts before post-processing; None if it is not one of this tool.

    A custom function without post-processing is the pickle itself, and has none either.
    """
    namespace = getattr(predict, "__globals__", {}) if getattr(predict, "__module__", None) == MODEL_MODULE else {}
    return namespace.get("predict_raw") if namespace.get("MODEL") is not None else None


def to_float64(model: Any) -> Any:
    """Return a folded model with float64 arrays in place of float32; trees compare in float32, and stay as they are."""
    if isinstance(model, np.ndarray):
        return model.astype(np.float64) if model.dtype == np.float32 else model
    if isinstance(model, dict) and model.get("kind") != "trees":
        return {key: to_float64(value) for key, value in model.items()}
    return [to_float64(item) for item in model] if isinstance(model, list) else model


def to_frames(inputs: Any, features: list[str], benchmarks: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows of inputs as the two frames of a live round, with generated ids and one era.

    Args:
        inputs: float (rows, n): features, then benchmarks.
        features: Names of the first columns.
        benchmarks: Names of the other columns.
    """
    # Different from row to row, as ids are, so that a function does not find rows of its training by them.
    index = pd.Index([f"n{(row + 1) * 0x9E3779B97F4A7C1 % (1 << 60):015x}" for row in range(len(inputs))], name="id")
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
    if len(predictions) != len(live_features):
        raise ValueError(f"predict returned {len(predictions)} rows for {len(live_features)} rows of live_features")
    if not predictions.index.isin(live_features.index).all():
        raise ValueError(
            f"predict returned other ids than those of live_features, such as {predictions.index[0]!r:.40}"
        )
    return predictions.iloc[:, 0].reindex(live_features.index).to_numpy(dtype=np.float64)


def predict_input(predict: Any, live: pd.DataFrame, benchmarks: pd.DataFrame, *, before_post: bool) -> Any:
    """Return the predictions of an input: float64 (rows,)."""
    predict_raw = find_predict_raw(predict) if before_post else None
    if predict_raw is None:
        return call_predict(predict, live, benchmarks)
    return np.asarray(predict_raw(live, benchmarks), dtype=np.float64)


def read_plan(path: Path) -> Any:
    """Wait until the plan is there and complete, and return it: this script starts before its inputs are known."""
    while True:
        try:
            return json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            time.sleep(0.01)


def predict_all(predict: Any, plan: Any, started: float) -> float:
    """Predict the inputs and write the results; none that would end too late if it took as long as the longest.

    Returns:
        The seconds that are left besides another such input.
    """
    folder, results = Path(plan["folder"]), Path(plan["results"])
    longest = 0.0
    for number in sorted(int(path.name.partition(".")[0]) for path in folder.glob("*.live.feather")):
        begun = time.monotonic()
        if number >= plan["always"] and begun + longest - started > plan["seconds"]:
            break
        live, benchmarks = read_frames(folder, number)
        frames = {"live_features": live, "live_benchmark_models": benchmarks} if number in plan["watched"] else {}
        copies = {name: frame.copy() for name, frame in frames.items()}
        before_post = number in plan["before_post"]
        write_predictions(results / str(number), predict, live, benchmarks, before_post=before_post)
        if changed := [name for name, frame in frames.items() if not frame.equals(copies[name])]:
            (results / f"{number}.changed").write_text(",".join(changed))
        longest = max(longest, time.monotonic() - begun)
        if number in plan["float64"]:
            with in_float64(predict):
                write_predictions(results / f"{number}.float64", predict, live, benchmarks, before_post=before_post)
    return float(plan["seconds"]) - (time.monotonic() - started) - longest


def write_predictions(path: Path, predict: Any, *frames: pd.DataFrame, before_post: bool) -> None:
    """Predict an input and write ``PATH.f64``, or ``PATH.txt`` if that raises an error."""
    try:
        predictions = predict_input(predict, *frames, before_post=before_post)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - any that a model may raise
        text = f"{type(error).__name__}: {error}"[:_MAX_ERROR]
        Path(f"{path}.txt").write_text(text, encoding="utf-8", errors="replace")
    else:
        Path(f"{path}.f64").write_bytes(predictions.astype("<f8").tobytes())


@contextlib.contextmanager
def in_float64(predict: Any) -> Iterator[None]:
    """Let a pickle of this tool predict with the numbers of its model in float64."""
    namespace = find_predict_raw(predict).__globals__
    model = namespace["MODEL"]
    namespace["MODEL"] = to_float64(model)
    try:
        yield
    finally:
        namespace["MODEL"] = model


def read_frames(folder: Path, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the live features and the benchmarks of an input."""
    live, benchmarks = (
        pd.read_feather(folder / f"{number}.{name}.feather").set_index("id") for name in ("live", "benchmarks")
    )
    return live, benchmarks


def measure_eras(
    predict: Any, live: pd.DataFrame, benchmarks: pd.DataFrame, *, seconds: float, memory: int
) -> Iterator[dict[str, Any]]:
    """Predict frames of 200 eras, each with four times the rows of the one before, and yield what each took.

    It stops before a frame that would exceed the seconds, or the bytes of memory even if a model needs their square.
    """
    reset_peak_memory()  # what the inputs before needed is given back
    started, base = time.monotonic(), read_peak_memory()
    per_era, longest, used = 1, 0.0, 0
    while time.monotonic() - started + 5 * longest < seconds and base + 16 * used < memory:
        begun = time.monotonic()
        frames = repeat_rows(live, benchmarks, per_era)
        reset_peak_memory()
        called = time.monotonic()
        call_predict(predict, *frames)
        ended, peak = time.monotonic(), read_peak_memory()
        yield {"rows": len(frames[0]), "seconds": ended - called, "peak_bytes": peak}
        per_era, longest, used = 4 * per_era, ended - begun, max(used, peak - base)


def repeat_rows(live: pd.DataFrame, benchmarks: pd.DataFrame, per_era: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a frame of 200 eras, each with so many rows, which are those of ``live`` repeated; and its benchmarks."""
    rows = np.resize(np.arange(len(live)), _ERAS * per_era)
    index = pd.Index([f"n{row:015x}" for row in range(len(rows))], name="id")
    era = np.repeat([f"{number + 1:04d}" for number in range(_ERAS)], per_era)
    many = live.iloc[rows].set_axis(index).assign(era=era)
    return many, benchmarks.reindex(live.index).iloc[rows].set_axis(index).assign(era=era)


def read_peak_memory() -> int:
    """Return the largest resident size of this process since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split(None, 1)[0]) * 1024


def reset_peak_memory() -> None:
    """Let the peak begin at the present size, see https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main(plan_path: str) -> None:
    """Predict all inputs and write the results."""
    plan = read_plan(Path(plan_path))
    started = time.monotonic()
    predict = pd.read_pickle(plan["model"])  # noqa: S301 - in the locked container, as the runner does
    eras, measured = plan["eras"], []
    seconds = min(eras["seconds"], predict_all(predict, plan, started))
    with contextlib.suppress(Exception):  # an error of a model ends only these measurements
        frames = read_frames(Path(plan["folder"]), eras["number"])
        for item in measure_eras(predict, *frames, seconds=seconds, memory=eras["memory"]):
            measured.append(item)  # noqa: PERF402 - those before an error are kept
    if measured:
        (Path(plan["results"]) / "eras.json").write_text(json.dumps({"frames": measured}), encoding="ascii")


if __name__ == "__main__":
    main(sys.argv[1])
    # Skip the interpreter's shutdown: pyarrow's threads abort it now and then (seen in 1 of 60 runs), see
    # https://github.com/apache/arrow/issues/34314
    os._exit(0)
