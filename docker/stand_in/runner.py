"""A stand-in for the tournament's prediction runner: ``/predict.py`` of a stand-in image.

It is not Numerai's program. It was written from that program's published behaviour and has the same interface:

    python predict.py --model MODEL [--dataset D] [--benchmarks B] [--output_dir DIR] [--post_url URL --post_data DATA]
                      [--debug]

``MODEL`` (a path or a URL) is loaded with ``pandas.read_pickle`` and called with the live features, and with the
benchmark predictions if it has two parameters. ``D`` and ``B`` are local parquet files, or names of tournament datasets
that are downloaded without a token. The result is checked, sent to ``URL`` if there is one, then written as
``live_predictions-<hex>.csv`` to ``DIR``.

Exit code 0: success, also if the CSV could not be written (which is only logged). 1: the reason is in the log, above a
box of help. An unexpected failure ends in a traceback.

A plain script for Python 3.10 and later with the packages of the image. The process ends normally, as the original's
does, so a thread of pyarrow that is still starting can abort it with exit 134:
https://github.com/apache/arrow/issues/34314
"""  # noqa: INP001 - a script, alone in its image

from __future__ import annotations

import argparse
import inspect
import logging
import os
import pickle
import secrets
import sys
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import requests

DATA_VERSION = "v5.2"  # the original's default changes with the image's tag, so callers always pass the data
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
ATTEMPTS = 10
_LOG = logging.getLogger()  # the root logger, whose name is in each line of the original's log
_FIRST_DELAY, _BACKOFF = 0.2, 1.5
_SERVER_ERROR = 500
_HELP = f"""\
{"-" * 80}
This is numerai-builder's stand-in for the prediction runner, not Numerai's own
program. The reason for the failure is above this box.

For more details, run the image with the pickle and --debug:

    docker run -i --rm -v "$PWD:$PWD" IMAGE --debug --model $PWD/model.pkl

A pickle must be built with the Python of the image that runs it. `make validate`
shows the cause of an error and its fix.
{"-" * 80}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one model on one round's data, and return the exit code."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.DEBUG if options.debug else logging.INFO)
    _LOG.info("Running numerai-predict:%s - Python %s", os.environ.get("GIT_REF", ""), PYTHON)
    model = _load(options)
    inputs = _read_inputs(options, model)
    predictions = _predict(model, inputs, debug=options.debug)
    path = Path(options.output_dir, f"live_predictions-{secrets.token_hex(6)}.csv")
    if options.post_url:
        _post(options.post_url, options.post_data, predictions, path)
    _write(predictions, path)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a pickled predict function on live data (stand-in).")
    parser.add_argument("--model", required=True, help="path or URL of the pickled function")
    parser.add_argument(
        "--dataset", default=f"{DATA_VERSION}/live.parquet", help="parquet file or dataset name of the features"
    )
    parser.add_argument(
        "--benchmarks",
        default=f"{DATA_VERSION}/live_benchmark_models.parquet",
        help="parquet file or dataset name of the benchmark predictions",
    )
    parser.add_argument("--output_dir", default="/tmp", help="folder for the CSV; must exist")  # noqa: S108
    parser.add_argument("--post_url", help="URL to send the predictions to; requires --post_data")
    parser.add_argument("--post_data", help="urlencoded form fields to send with them")
    parser.add_argument("--debug", action="store_true", help="log more, with tracebacks")
    options = parser.parse_args(arguments)
    # The original happens to end with a TypeError in these cases.
    if not Path(options.output_dir).is_dir():
        raise TypeError(f"--output_dir {options.output_dir} is not a folder")
    if (options.post_url is None) != (options.post_data is None):
        raise TypeError("--post_url and --post_data must be used together")
    return options


def _refuse(reason: str, error: Exception | None = None, *, debug: bool = False) -> NoReturn:
    """Log the reason, and with ``debug`` the traceback of ``error``; then print the box of help and exit with 1."""
    _LOG.error(reason)
    if error is not None and debug:
        _LOG.error(error, exc_info=error)
    _exit_with_help()


def _exit_with_help() -> NoReturn:
    sys.stderr.write(_HELP)
    raise SystemExit(1)


def _load(options: argparse.Namespace) -> Any:
    path = options.model
    if path.startswith(("http://", "https://")):
        path = _download(path, Path(options.output_dir))
    _LOG.info("Loading model %s", path)
    try:
        return pd.read_pickle(path)  # noqa: S301 - running the pickle is this program's purpose
    except (pickle.UnpicklingError, ModuleNotFoundError) as error:
        _refuse(f"Invalid pickle - {error}", error, debug=options.debug)
    except TypeError as error:
        _refuse(f"Pickle incompatible with {PYTHON}", error, debug=options.debug)


def _download(url: str, folder: Path) -> str:
    parts = urllib.parse.urlsplit(url)
    path = folder / Path(parts.path).name
    _LOG.info(
        "Downloading model %s://%s%s", parts.scheme, parts.netloc, parts.path
    )  # without the query, which contains the signature
    response = _request("GET", url)
    path.write_bytes(response.content)
    return str(path)


def _request(method: str, url: str, **content: Any) -> requests.Response:
    """Send a request; retry with growing delays if the server fails or cannot be reached. Exit with 1 if it fails."""
    import requests  # noqa: PLC0415 - only a run that uses the network needs it

    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(_FIRST_DELAY * _BACKOFF**attempt)
        try:
            response = requests.request(method, url, timeout=60, **content)
        except requests.RequestException as error:
            reason = type(error).__name__
        else:
            if response.ok:
                return response
            reason = f"{response.status_code} {response.reason}"
            if response.status_code < _SERVER_ERROR:
                break
        _LOG.warning("%s failed: %s", method, reason)
    _LOG.error("%s failed: %s", method, reason)
    raise SystemExit(1)


def _read_inputs(options: argparse.Namespace, model: Any) -> list[pd.DataFrame]:
    count = len(inspect.signature(model).parameters)
    if count not in {1, 2}:
        _refuse(f"Pickle function is invalid - it has {count} parameters instead of 1 or 2")
    names = (options.dataset, options.benchmarks)[:count]
    return [pd.read_parquet(_find_data(name, Path(options.output_dir))) for name in names]


def _find_data(name: str, folder: Path) -> Path:
    """Return a local file. A relative path that does not exist is the name of a dataset, downloaded to ``folder``."""
    path = Path(name)
    if path.exists():
        return path
    if path.is_absolute():
        _LOG.error("Local dataset not found - %s", name)
        raise SystemExit(1)
    import numerapi  # noqa: PLC0415 - only a run that downloads needs it

    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    _LOG.info("Downloading %s", name)
    numerapi.NumerAPI().download_dataset(name, str(path))
    return path


def _predict(model: Callable[..., Any], inputs: Sequence[pd.DataFrame], *, debug: bool) -> pd.DataFrame:
    _LOG.info("Predicting on %d rows of live features", len(inputs[0]))
    try:
        predictions = model(*inputs)
        reason = _find_problem(predictions)
    except TypeError as error:
        _refuse(f"Pickle function is invalid - {error}", error, debug=debug)
    except Exception as error:  # noqa: BLE001 - any that a model may raise
        _LOG.exception("%s", error)
        _exit_with_help()
    if reason:
        _refuse(reason)
    return predictions


def _find_problem(predictions: Any) -> str:
    """Return what is wrong with predictions; empty if they are valid."""
    if predictions is None:
        return "Pickle function is invalid - it returned None"
    if type(predictions) is not pd.DataFrame:
        return f"Pickle function is invalid - it returned {type(predictions)} instead of {pd.DataFrame}"
    if len(predictions) == 0:
        return "Pickle function returned 0 predictions"
    if predictions.isna().any().any():
        return "Pickle function returned at least 1 NaN prediction"
    if not predictions.iloc[:, 0].between(0, 1).all():
        return "Pickle function returned predictions that are not between 0 and 1"
    return ""


def _post(url: str, data: str, predictions: pd.DataFrame, path: Path) -> None:
    fields = dict(urllib.parse.parse_qsl(data))
    _LOG.info("Uploading predictions as %s", path)
    _request("POST", url, data=fields, files={"file": (str(path), predictions.to_csv(), "text/csv")})


def _write(predictions: pd.DataFrame, path: Path) -> None:
    """Write the CSV; a failure is only logged, as in the original."""
    _LOG.info("Saving predictions to %s", path)
    try:
        predictions.to_csv(path)
    except OSError as error:
        _LOG.exception("%s", error)


if __name__ == "__main__":
    sys.exit(main())
