"""The compiler of the predict source: files in, one namespace of functions out.

Only the Python standard library. What it does is what makes two builds give the same bytes: the text is read (never
imported, so no cached bytecode and no path), compiled under a fixed name, and relative imports between the files are
dropped because all of them share one namespace.
"""

from __future__ import annotations

import ast
import functools
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

MODULE = "numerai_builder_model"

PREDICT = Path(__file__).resolve().parent / "predict"
LAST = "entry.py"


def files_of(names: Iterable[str], folder: Path) -> list[str]:
    """Return files of the predict source, those that they import before them, and :data:`LAST`."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        if name not in found:
            for node in ast.parse((folder / name).read_bytes()).body:
                if isinstance(node, ast.ImportFrom) and node.level:
                    for module in [node.module] if node.module else [alias.name for alias in node.names]:
                        add(f"{module}.py")
            found[name] = None

    for name in (*names, LAST):
        add(name)
    return list(found)


@functools.cache
def steps() -> dict[str, dict[str, Any]]:
    """Return the definition of each post-processing step by its name, in the order of the names.

    It is the literal ``NAME_STEP`` of ``NAME.py`` (``predict/runners.py`` says what is in it). The files are read, not
    run: numpy and pandas take longer to load than a command that changes nothing may run.
    """
    found = {}
    for path in sorted(PREDICT.glob("*.py")):
        text, name = path.read_text(encoding="utf-8"), f"{path.stem.upper()}_STEP"
        if f"\n{name} = " not in text:
            continue
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
                found[path.stem] = ast.literal_eval(node.value)
    return found


@functools.cache
def compile_file(path: Path) -> types.CodeType:
    """Compile one file of the predict source, its relative imports left out."""
    text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.level)]
    return compile(tree, f"<numerai-builder/{path.name}>", "exec", dont_inherit=True, optimize=0)


def load(names: Iterable[str], folder: Path) -> types.ModuleType:
    """Return a fresh module with the functions of these files, entered in ``sys.modules`` under :data:`MODULE`."""
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    for name in names:
        exec(compile_file(folder / name), module.__dict__)  # noqa: S102 - our own source, compiled above
    return module
