"""Run a custom bundle in a process of its own, to find out what it needs beyond its contents.

Usage: ``python -B -P trial.py INSIDE FOLDER``. ``INSIDE`` contains the package ``inside``; ``FOLDER`` contains the
bundle's ``bundle.json``, ``arrays.safetensors``, ``code/`` and ``files/``, and ``inputs.npy``, float64 (rows, n), whose
features are passed as the ``dtype`` in ``bundle.json``. Writes ``predictions.npy``, float64 (rows,), to ``FOLDER``.
Exit code 3 means that the code was refused or raised an exception; the last line of stderr is the message.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

REFUSED = 3


def main(inside: str, folder: Path) -> int:
    """Predict, write the predictions, and return the exit code."""
    # At the end of the path and only during these imports: the folder has other modules, whose names the user's modules
    # may have too.
    sys.path.append(inside)
    custom: Any = importlib.import_module("inside.custom")
    predict_inputs: Any = importlib.import_module("inside.predict_inputs")
    tensors: Any = importlib.import_module("inside.tensors")
    sys.path.remove(inside)
    header = json.loads((folder / "bundle.json").read_bytes())
    arrays = tensors.read(folder / "arrays.safetensors")
    live, benchmarks = predict_inputs.to_frames(
        np.load(folder / "inputs.npy"), header["features"], header["benchmarks"]
    )
    live = live.astype(dict.fromkeys(header["features"], header["dtype"]))
    try:
        predict = custom.load_function(header, arrays, folder)
        custom.read_parameters(predict)
    except custom.CustomCodeError as refused:
        sys.stderr.write(f"\n{refused}\n")
        return REFUSED
    files = folder / "files"
    shutil.rmtree(files, ignore_errors=True)  # the pickle contains what load returns, but no files
    try:
        predictions = predict_inputs.call_predict(predict, live, benchmarks)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        hint = "; the bundle's files exist only during load: read them there" if str(files) in str(error) else ""
        sys.stderr.write(f"\n{custom.explain_error(error)}{hint}\n")
        return REFUSED
    np.save(folder / "predictions.npy", predictions)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1], Path(sys.argv[2]))
    sys.stderr.flush()
    # pyarrow's threads sometimes abort the interpreter at its normal exit.
    os._exit(code)
