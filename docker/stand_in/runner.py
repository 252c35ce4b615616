"""A look-alike of the tournament's prediction runner: ``/predict.py`` of a stand-in image.

It is not Numerai's program. It was written from the published behaviour, to keep the same contract:

    python predict.py --model MODEL [--dataset D] [--benchmarks B] [--output_dir DIR] [--post_url URL] [--debug]

``MODEL`` (a path or a URL) is loaded by ``pandas.read_pickle`` and called with the live features, and with the
benchmark predictions if it takes two parameters. ``D`` and ``B`` are local parquet files, or else names of tournament
data sets that are downloaded without a token. What it returns is checked, then written as
``live_predictions-<hex>.csv`` into ``DIR``. Exit code 0: good, even when the CSV could not be written (which is
logged); 1: the reason is in the log.

A plain script for Python 3.10 and later, with what the image has. What only some runs need is imported by them.
"""  # noqa: INP001 - a script, alone in its image

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
import pickle
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DATA_VERSION = "v5.2"  # the published default moves with the image's tag, so callers always name the data
_LOG = logging.getLogger("predict")


class Failure(Exception):  # noqa: N818 - it ends the run, with its reason
    """The run fails for a reason that the log gives."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one model on one round's data, and return the exit code."""
    options = _parse(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.debug else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    _LOG.info("this is numerai-builder's look-alike of the prediction runner, not Numerai's own")
    _LOG.info("Running on Python %d.%d", *sys.version_info[:2])
    try:
        _run(options)
    except Failure as failure:
        _LOG.error("%s", failure, exc_info=failure.__cause__ if options.debug else None)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a pickled predict function on live data (a look-alike).")
    parser.add_argument("--model", required=True, help="path or URL of the pickled function")
    parser.add_argument(
        "--dataset", default=f"{DATA_VERSION}/live.parquet", help="parquet file, or data set name, of the features"
    )
    parser.add_argument(
        "--benchmarks",
        default=f"{DATA_VERSION}/live_benchmark_models.parquet",
        help="parquet file, or data set name, of the benchmark predictions",
    )
    parser.add_argument("--output_dir", default="/tmp", help="existing folder for the CSV")  # noqa: S108
    parser.add_argument("--post_url", help="URL that the CSV is sent to")
    parser.add_argument("--post_data", help="JSON object of form fields that are sent with it")
    parser.add_argument("--debug", action="store_true", help="log more, with tracebacks")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    output = Path(options.output_dir)
    if not output.is_dir():
        raise Failure(f"the output folder {output} does not exist")
    model = _load(options.model)
    parameters = _count_parameters(model)
    inputs = [_read(name) for name in (options.dataset, options.benchmarks)[:parameters]]
    _LOG.debug("the inputs have the shapes %s", [frame.shape for frame in inputs])
    predictions = _predict(model, inputs)
    _check(predictions)
    csv = _write(predictions, output)
    if options.post_url and csv is not None:
        _post(options.post_url, options.post_data, csv)


def _load(name: str) -> Any:
    _LOG.info("Loading model %s", name)
    try:
        return pd.read_pickle(name)  # noqa: S301 - running it is this program's work
    except (pickle.UnpicklingError, TypeError, ModuleNotFoundError) as error:
        raise Failure(f"the pickle cannot be loaded: {type(error).__name__}: {error}") from error


def _count_parameters(model: Any) -> int:
    try:
        count = len(inspect.signature(model).parameters)
    except (TypeError, ValueError) as error:
        raise Failure(f"the pickle holds no function but {type(model).__name__}") from error
    if count not in {1, 2}:
        raise Failure(f"the pickled function takes {count} parameters; it must take 1 or 2")
    return count


def _read(name: str) -> pd.DataFrame:
    """Read a local parquet file, or else download the data set of that name first."""
    if Path(name).exists():
        return pd.read_parquet(name)
    import numerapi  # noqa: PLC0415 - only a run that downloads needs it

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, name.replace("/", "_")))
        _LOG.info("Downloading %s", name)
        numerapi.NumerAPI().download_dataset(name, path)
        return pd.read_parquet(path)


def _predict(model: Callable[..., Any], inputs: Sequence[pd.DataFrame]) -> Any:
    _LOG.info("Predicting on %d rows of live features", len(inputs[0]))
    try:
        return model(*inputs)
    except Exception as error:
        raise Failure(f"the function failed: {type(error).__name__}: {error}") from error


def _check(predictions: Any) -> None:
    if predictions is None:
        raise Failure("the function returned None")
    if type(predictions) is not pd.DataFrame:
        raise Failure(f"the function must return a pandas DataFrame; it returned {type(predictions).__name__}")
    if predictions.empty:
        raise Failure("the predictions are empty")
    if (missing := int(predictions.isna().to_numpy().sum())) > 0:
        raise Failure(f"the predictions hold {missing} NaN")
    first = predictions.iloc[:, 0]
    try:
        within = bool(first.between(0, 1).all())
    except TypeError as error:
        raise Failure(f"the first column of the predictions holds no numbers: {first.dtype}") from error
    if not within:
        raise Failure(f"the predictions must be within 0 and 1; they go from {first.min()} to {first.max()}")


def _write(predictions: pd.DataFrame, folder: Path) -> Path | None:
    """Write the CSV; a failure is logged and no more, as in the image that this one looks like."""
    path = folder / f"live_predictions-{secrets.token_hex(6)}.csv"
    _LOG.info("Saving predictions to %s", path)
    try:
        predictions.to_csv(path)
    except OSError:
        _LOG.exception("the predictions could not be saved to %s", path)
        return None
    return path


def _post(url: str, data: str | None, csv: Path) -> None:
    import requests  # noqa: PLC0415 - only a run that posts needs it

    _LOG.info("Posting predictions")
    try:
        with csv.open("rb") as handle:
            answer = requests.post(url, data=json.loads(data or "{}"), files={"file": (csv.name, handle)}, timeout=60)
        answer.raise_for_status()
    except (ValueError, requests.RequestException) as error:
        raise Failure(f"the predictions could not be posted: {error}") from error


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: threads of pyarrow that are still starting can abort a process which ends just after it has read a
    # parquet file (seen with 18, 21 and 26, one time in ten), and the exit code is what callers go by.
    os._exit(code)
