"""What is imported where a model is trained: no engine, no network, no frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
before = set(sys.modules)
import importlib, pkgutil
import builder.bundle
from builder.export import export
for module in pkgutil.iter_modules(builder.bundle.__path__, "builder.bundle."):
    importlib.import_module(module.name)
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - sys.stdlib_module_names))
"""


def test_bundles_and_export_import_little() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["builder", "numpy", "platformdirs", "safetensors"]
