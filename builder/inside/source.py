"""The compiler of the predict source: files in, one namespace of functions out.

Only the Python standard library. What it does is what makes two builds give the same bytes: the text is read (never
imported, so no cached bytecode and no path), compiled under a fixed name, and relative imports between the files are
dropped because all of them share one namespace.
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
LAST = "entry.py"


def resolve_files(names: Iterable[str], folder: Path) -> list[str]:
    """Return files of the predict source, those that they import before them, and :data:`LAST`."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in found:
            for imported in _imports(folder / name):
                add(imported)
            found[name] = None

    for name in (*names, LAST):
        add(name)
    return list(found)


@functools.cache
def _imports(path: Path) -> list[str]:
    """Return the files beside a file of the predict source that it imports."""
    nodes = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ImportFrom) and node.level]
    modules = [[node.module] if node.module else [alias.name for alias in node.names] for node in nodes]
    return [f"{name}.py" for names in modules for name in names]


@functools.cache
def read_steps() -> dict[str, dict[str, Any]]:
    """Return the definition of each post-processing step by its name, in the order of the names.

    It is the literal ``NAME_STEP`` of ``NAME.py`` (``predict/runners.py`` says what is in it). It ends at the
    first line that begins with a brace. The files are read, not run: numpy and pandas take longer to load than a
    command that changes nothing may run.
    """
    found = {}
    for path in sorted(PREDICT.glob("*.py")):
        literal = re.search(rf"(?ms)^{path.stem.upper()}_STEP = (.*?^\}})", path.read_text(encoding="utf-8"))
        if literal:
            found[path.stem] = ast.literal_eval(literal[1])
    return found


@functools.cache
def compile_file(path: Path) -> types.CodeType:
    """Compile one file of the predict source, its relative imports left out."""
    text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.level)]
    return compile(tree, f"<numerai-builder/{path.name}>", "exec", dont_inherit=True, optimize=0)


def load_module(names: Iterable[str], folder: Path) -> types.ModuleType:
    """Return a fresh module with the functions of these files, entered in ``sys.modules`` under :data:`MODEL_MODULE`."""
    module = types.ModuleType(MODEL_MODULE)
    sys.modules[MODEL_MODULE] = module
    for name in names:
        exec(compile_file(folder / name), module.__dict__)  # noqa: S102 - our own source, compiled above
    return module
