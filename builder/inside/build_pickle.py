"""Make the pickle: run by the Dockerfile, in the image that will run it, as ``python -B -m inside.build_pickle``.

Reads, below the working directory, ``plan.json`` (``post``: the steps in force), the bundle's ``bundle/bundle.json``,
``bundle/arrays.safetensors`` and what lies beside them; writes ``out/model.pkl``. Prints one line,
``numerai-builder: `` and a JSON object:
``{"format": 1, "sha256": ..., "size": bytes, "protocol": 5, "parameters": [names], "findings": [...]}``, each finding
``{"file", "line", "text"}``: why a model of the user's own may have other bytes in another make.
Needs numpy, pandas and cloudpickle. Ends with a traceback and exit code 1 on anything unforeseen: the host has checked
the bundle, so a failure here is the image's or ours. Where the user's own code is at fault, its lines and exit code 1.
"""

from __future__ import annotations

import hashlib
import json
import sys
import types
from pathlib import Path
from typing import Any

from . import custom, serialize

MARK = "numerai-builder: "


def main() -> None:
    """Build, write, report."""
    folder = Path.cwd()
    findings: list[dict[str, Any]] = []
    if json.loads((folder / "bundle" / "bundle.json").read_bytes())["kind"] == "custom":
        from . import build_custom

        try:
            content, parameters, findings = build_custom.build(folder)
        except custom.CustomCodeError as refused:
            print(refused, file=sys.stderr, flush=True)
            sys.exit(1)
    else:
        # In a pickle a module is its name. To load pandas for that would take more time than all the rest together.
        sys.modules["pandas"] = types.ModuleType("pandas")
        content, parameters = serialize.build(folder, Path(__file__).resolve().parent / "predict")
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "model.pkl").write_bytes(content)
    report = {
        "format": 1,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "protocol": serialize.PROTOCOL,
        "parameters": parameters,
        "findings": findings,
    }
    print(MARK + json.dumps(report, sort_keys=True), flush=True)


if __name__ == "__main__":
    main()
