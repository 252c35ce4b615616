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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MODULE = "numerai_builder_model"

# What every pickle has, what each kind and each post-processing step adds, and the end; in the order of compiling.
FIRST = ("threads.py", "runners.py", "inputs.py")
KIND_FILES = {
    "ensemble": ("rank.py", "gaussianize.py", "ensemble.py"),
    "mlp": ("activations.py", "nodes.py", "network.py"),
    "linear": ("activations.py", "nodes.py", "network.py"),
    "trees": ("activations.py", "nodes.py", "trees.py"),
    "lightgbm": ("activations.py", "nodes.py", "boosters.py"),
    "custom": ("custom.py",),
}
STEP_FILES = {
    "rank": ("rank.py",),
    "gaussianize": ("rank.py", "gaussianize.py"),
    "standardize": ("rank.py", "standardize.py"),
    "neutralize": ("rank.py", "benchmark_columns.py", "neutralize.py"),
    "blend": ("rank.py", "gaussianize.py", "benchmark_columns.py", "blend.py"),
    "clip": ("clip.py",),
}
LAST = ("entry.py",)


def files_of(kinds: Iterable[str], steps: Iterable[str]) -> tuple[str, ...]:
    """Return the files of the predict source that a model of these kinds, with these steps, is made of.

    Raises:
        ValueError: there is no such kind or step.
    """
    wanted, used = set(kinds), set(steps)
    unknown = sorted((wanted - KIND_FILES.keys()) | (used - STEP_FILES.keys()))
    if unknown:
        raise ValueError(f"no file does {', '.join(unknown)}")
    named = [name for kind, names in KIND_FILES.items() if kind in wanted for name in names]
    named += [name for step, names in STEP_FILES.items() if step in used for name in names]
    return (*FIRST, *dict.fromkeys(named), *LAST)


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
