"""Compile the predict source: files in, one namespace of functions out. Standard library only.

Two builds give the same bytes because the files are read as text and not imported (so no cached bytecode and no path
gets into the code objects), compiled under a fixed name, and share one namespace: relative imports between them are
dropped.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

MODEL_MODULE = "numerai_builder_model"

PREDICT = Path(__file__).resolve().parent / "predict"
ENTRY_FILE = "entry.py"


def resolve_files(names: Iterable[str], folder: Path) -> list[str]:
    """Return files of the predict source, each after the files that it imports, and :data:`ENTRY_FILE` last."""
    files: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in files:
            for imported in _find_imports(folder / name):
                add(imported)
            files[name] = None

    for name in (*names, ENTRY_FILE):
        add(name)
    return list(files)


@functools.cache
def _find_imports(path: Path) -> list[str]:
    """Return the names of the files in the same folder that a file imports."""
    nodes = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ImportFrom) and node.level]
    modules = [[node.module] if node.module else [alias.name for alias in node.names] for node in nodes]
    return [f"{name}.py" for names in modules for name in names]


@functools.cache
def read_steps() -> dict[str, dict[str, Any]]:
    """Return the definition of each post-processing step by name, sorted by name.

    A definition is the literal ``NAME_STEP`` in ``NAME.py`` (its keys are described in ``predict/runners.py``); it ends
    at the first line that begins with a closing brace.
    """
    steps = {}
    for path in sorted(PREDICT.glob("*.py")):
        # Read and not imported: numpy and pandas take longer to load than a command that only checks a config.
        literal = re.search(rf"(?ms)^{path.stem.upper()}_STEP = (.*?^\}})", path.read_text(encoding="utf-8"))
        if literal:
            steps[path.stem] = ast.literal_eval(literal[1])
    return steps


@functools.cache
def compile_file(path: Path) -> types.CodeType:
    """Compile one file of the predict source without its relative imports."""
    text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")  # a checkout on Windows must give the same code
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.level)]
    # The arguments are fixed because flags and optimization are otherwise taken from this process.
    return compile(tree, f"<numerai-builder/{path.name}>", "exec", dont_inherit=True, optimize=0)


def load_module(names: Iterable[str], folder: Path) -> types.ModuleType:
    """Return a new module with the functions of these files, also stored in ``sys.modules``.

    Its name is :data:`MODEL_MODULE`; cloudpickle finds a function's module in ``sys.modules`` by that name.
    """
    module = types.ModuleType(MODEL_MODULE)
    sys.modules[MODEL_MODULE] = module
    for name in names:
        exec(compile_file(folder / name), module.__dict__)  # noqa: S102 - our own source, compiled above
    return module
