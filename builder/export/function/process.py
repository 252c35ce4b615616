"""Start the process that loads a custom bundle without the notebook's state, and predict with it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors, paths
from builder.bundle.storage import tensors
from builder.export.function import image_packages, outside, trial
from builder.text import sanitize

if TYPE_CHECKING:
    from builder.bundle import model as bundle_model
    from builder.export import conversion
    from builder.export.conversion import Array
    from builder.export.function import source

_KEPT_VARIABLES = (
    "DYLD_LIBRARY_PATH",
    "LD_LIBRARY_PATH",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHOME",
    "SYSTEMROOT",
)
"""What Python and its libraries may need to start here; the images have their own."""
_FOLDER_VARIABLES = ("HOME", "USERPROFILE", "TMPDIR", "TEMP")
_CODE_LINE = re.compile(r"code/([^\s:]+)\.py:(\d+)(?:: in ([^\s:]+))?")


class TrialProcess:
    """A process that has loaded a bundle, with an empty environment, home and working folder.

    It ends when this object is garbage, or with this process, whose end closes its stdin.

    Attributes:
        close: Ends the process and removes its files.
        reads: What the bundle's code tried to read from outside so far, with the lines of the user's source.
    """

    def __init__(
        self, model: bundle_model.Custom, spec: conversion.InputSpec, function_source: source.FunctionSource
    ) -> None:
        self.reads: list[str] = []
        self._source = function_source
        self._requests = 0
        self._folder = Path(tempfile.mkdtemp()).resolve()
        self._write_bundle(model, spec)
        empty = self._folder / "empty"
        empty.mkdir()
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        with (self._folder / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                # -P keeps the folder of trial.py off sys.path: its modules have names that the user's may have too.
                [sys.executable, "-B", "-P", trial.__file__, str(paths.inside_folder().parent), str(self._folder)],
                cwd=empty,
                env=environment | dict.fromkeys(_FOLDER_VARIABLES, str(empty)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self.close = weakref.finalize(self, _stop, self._process, self._folder)

    def predict(self, inputs: Array, *, dtype: str = "float64") -> Array:
        """Return the bundle's predictions: float64 (rows,), for float64 (rows, n), features converted to ``dtype``.

        Raises:
            errors.ExportError: The bundle cannot be loaded, or its function fails.
        """
        number = self._requests
        self._requests += 1
        np.save(self._folder / f"{number}.inputs.npy", inputs)
        answer = self._ask({"number": number, "dtype": dtype})
        for file, line, text in answer["reads"]:
            read = f"{self._describe_line(file.removeprefix('code/').removesuffix('.py'), line)} {sanitize(text)}"
            if read not in self.reads:
                self.reads.append(read)
        if answer["error"]:
            message = _CODE_LINE.sub(
                lambda match: self._describe_line(match[1], int(match[2]), match[3] or ""), answer["error"]
            )
            causes = [*self._source.findings.causes, *self.reads]
            raise errors.ExportError(
                f"export: the bundle fails in a new process: {message}{outside.format_causes(causes)}"
            )
        predictions: Array = np.load(self._folder / f"{number}.predictions.npy")
        return predictions

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("both are pipes")
        with contextlib.suppress(BrokenPipeError):  # it has ended; stdout says why
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        line = stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        stderr = (self._folder / "stderr").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return {"error": sanitize(stderr[-1]) if stderr else f"it ended with exit code {code}", "reads": []}

    def _describe_line(self, module: str, line: int, function: str = "") -> str:
        """Return where the user wrote a line of the bundle's code, in ``function``: ``line 5 of load, in predict``."""
        if not line:
            return "the function"
        if module == "model":
            location = self._source.describe_line(line)
        else:
            location = f"line {line} of {module.removesuffix('/__init__').replace('/', '.')}"
        return location if not function or location.endswith(f" of {function}") else f"{location}, in {function}"

    def _write_bundle(self, model: bundle_model.Custom, spec: conversion.InputSpec) -> None:
        header = {
            "features": spec.features,
            "benchmarks": spec.benchmarks,
            "modules": model.modules,
            "importable": image_packages.list_modules(),
            "path": [entry for entry in sys.path if entry],
        }
        (self._folder / "bundle.json").write_text(json.dumps(header), encoding="utf-8")
        tensors.write(self._folder / "arrays.safetensors", model.arrays)
        for file, content in model.files.items():
            path = self._folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()
    # A process that the code started may keep the pipes open, so nothing is read here.
    with contextlib.suppress(BrokenPipeError), process:
        pass
    shutil.rmtree(folder, ignore_errors=True)
