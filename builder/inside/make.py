"""Make the pickle: run by the Dockerfile, in the image that will run it, as ``python -B -m inside.make``.

Reads, below the working directory, ``plan.json`` (``post``: the steps in force), the bundle's ``bundle/bundle.json``,
``bundle/arrays.npz`` and what lies beside them; writes ``out/model.pkl``. Prints one line, ``numerai-builder: `` and a
JSON object: ``{"format": 1, "sha256": ..., "size": bytes, "protocol": 5, "parameters": [names], "findings": [...]}``,
each finding ``{"file", "line", "text"}``: why a model of the user's own may have other bytes in another make.
Needs numpy, pandas and cloudpickle. Ends with a traceback and exit code 1 on anything unforeseen: the host has checked
the bundle, so a failure here is the image's or ours. Where the user's own code is at fault, its lines and exit code 1.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import types
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from . import custom, fold, source

PROTOCOL = 5
MARK = "numerai-builder: "


def build(folder: Path, predict_folder: Path) -> tuple[bytes, list[str]]:
    """Return the pickle of the plan and bundle in ``folder``, and the names of its parameters."""
    plan = json.loads((folder / "plan.json").read_bytes())
    header = json.loads((folder / "bundle" / "bundle.json").read_bytes())
    with np.load(folder / "bundle" / "arrays.npz", allow_pickle=False) as stored:
        arrays: dict[str, Any] = {name: stored[name] for name in sorted(stored.files)}
    return dump(fold.fold(header, arrays, plan["post"], folder / "bundle"), predict_folder)


def dump(model: dict[str, Any], predict_folder: Path) -> tuple[bytes, list[str]]:
    """Return the pickle of a folded model, and the names of its parameters.

    The bytes are the same in every fresh process. A second dump in one process, or that of a loaded object, is not.
    A function of the user's own that no step follows is pickled as it is.
    """
    if model["kind"] == "custom" and not model["post"]:
        return cloudpickle.dumps(model["function"], protocol=PROTOCOL), custom.parameters(model["function"])
    kinds = {model["kind"], *(member["kind"] for member in model.get("members", ()))}
    module = source.load(source.files_of(kinds, [name for name, _ in model["post"]]), predict_folder)
    module.__dict__["MODEL"] = model
    cloudpickle.register_pickle_by_value(module)
    return cloudpickle.dumps(module.predict, protocol=PROTOCOL), list(inspect.signature(module.predict).parameters)


def main() -> None:
    """Build, write, report."""
    folder = Path.cwd()
    findings: list[dict[str, Any]] = []
    if json.loads((folder / "bundle" / "bundle.json").read_bytes())["kind"] == "custom":
        from . import repeat

        try:
            pickled, parameters, findings = repeat.build(folder)
        except custom.RefusedError as refused:
            print(refused, file=sys.stderr, flush=True)
            sys.exit(1)
    else:
        # In a pickle a module is its name. To load pandas for that would take more time than all the rest together.
        sys.modules["pandas"] = types.ModuleType("pandas")
        pickled, parameters = build(folder, Path(__file__).resolve().parent / "predict")
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "model.pkl").write_bytes(pickled)
    report = {
        "format": 1,
        "sha256": hashlib.sha256(pickled).hexdigest(),
        "size": len(pickled),
        "protocol": PROTOCOL,
        "parameters": parameters,
        "findings": findings,
    }
    print(MARK + json.dumps(report, sort_keys=True), flush=True)


if __name__ == "__main__":
    main()
