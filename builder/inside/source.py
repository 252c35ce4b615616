"""The compiler of the predict source: files in, one namespace of functions out.

Only the Python standard library. What it does is what makes two builds give the same bytes: the text is read (never
imported, so no cached bytecode and no path), compiled under a fixed name, and relative imports between the files are
dropped because all of them share one namespace.
"""

from __future__ import annotations

import ast
import sys
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MODULE = "numerai_builder_model"

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
