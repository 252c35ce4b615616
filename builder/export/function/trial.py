"""Run a custom bundle where it was exported, in a process of its own: ``python -B -P trial.py INSIDE FOLDER``.

``INSIDE`` holds the package ``inside``; ``FOLDER`` is the bundle's, with ``bundle.json``, ``arrays.safetensors``,
``code/``, ``files/`` and ``inputs.npy``, float64 (rows, n), whose features are handed over as the ``dtype`` of
``bundle.json``. Writes ``predictions.npy``, float64 (rows,), beside them. Exit code 3: the code was refused, or raised
something, and the last line on stderr says so. Nothing of the notebook is here: what the bundle lacks is missing.
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
    """Predict and write; return the exit code."""
    # Last, and only while they are imported: what lies beside `inside` has names that the user's modules may have too.
    sys.path.append(inside)
    custom: Any = importlib.import_module("inside.custom")
    collect_results: Any = importlib.import_module("inside.collect_results")
    tensors: Any = importlib.import_module("inside.tensors")
    sys.path.remove(inside)
    header = json.loads((folder / "bundle.json").read_bytes())
    arrays = tensors.read(folder / "arrays.safetensors")
    live, benchmarks = collect_results.to_frames(
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
    shutil.rmtree(files, ignore_errors=True)  # as when the tournament predicts
    try:
        predictions = collect_results.call_predict(predict, live, benchmarks)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        late = "; the bundle's files are gone by then: read them in load" if str(files) in str(error) else ""
        sys.stderr.write(f"\n{custom.explain_error(error)}{late}\n")
        return REFUSED
    np.save(folder / "predictions.npy", predictions)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1], Path(sys.argv[2]))
    sys.stderr.flush()
    # pyarrow's threads abort now and then while the interpreter ends: leave without them.
    os._exit(code)
