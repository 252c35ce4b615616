"""Build the pickle inside the image that will run it: ``python -B -m inside.build_pickle``, called by the Dockerfile.

Reads, in the working directory, ``plan.json`` (``post``: the post-processing steps), ``bundle/bundle.json``,
``bundle/arrays.safetensors`` and the other files of the bundle; writes ``out/model.pkl``. Prints one line,
``numerai-builder: `` and a JSON object:
``{"format": 2, "pickle": {"sha256": ..., "size": bytes, "protocol": 5, "parameters": [names], "findings": [...]},
"warnings": [lines]}``, each finding ``{"file", "line", "text"}``: why the pickle of a custom model may have other bytes
when it is built again.

Needs numpy, pandas and cloudpickle. Exit code 1 with a message if the user's custom code is wrong, or if a library of
the image cannot read a booster; 1 with a traceback on any other error. The host has checked the bundle before, so that
is a problem of the image or an internal error.
"""

from __future__ import annotations

import hashlib
import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

from . import build_warnings, check_boosters, custom, serialize

MARK = "numerai-builder: "


def main() -> None:
    """Build the pickle, write it and print the report."""
    folder = Path.cwd()
    findings: list[dict[str, Any]] = []
    # Only a build by hand has the golden rows; custom code must not put them into its pickle.
    (folder / "bundle" / "golden.safetensors").unlink(missing_ok=True)
    header = json.loads((folder / "bundle" / "bundle.json").read_bytes())
    if header["kind"] == "custom":
        from . import build_custom

        try:
            content, parameters, findings, lines = build_custom.build_and_compare(folder)
        except custom.CustomCodeError as error:
            print(error, file=sys.stderr, flush=True)
            sys.exit(1)
    else:
        with warnings.catch_warnings(record=True) as caught:
            try:
                check_boosters.check_boosters(header, folder / "bundle")
            except check_boosters.BoosterError as error:
                print(error, file=sys.stderr, flush=True)
                sys.exit(1)
            # The pickle only stores the name "pandas". Importing it would take longer than the rest of the build.
            sys.modules.setdefault("pandas", types.ModuleType("pandas"))
            content, parameters = serialize.serialize_bundle(folder, Path(__file__).resolve().parent / "predict")
        lines = [build_warnings.format_warning(w.message, w.category, w.filename, w.lineno) for w in caught]
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "model.pkl").write_bytes(content)
    record = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "protocol": serialize.PROTOCOL,
        "parameters": parameters,
        "findings": findings,
    }
    report = {"format": 2, "pickle": record, "warnings": build_warnings.find_warnings(lines)}
    # The user's own code may print too: the host reads the last report in the log.
    print(MARK + json.dumps(report, sort_keys=True), flush=True)


if __name__ == "__main__":
    main()
