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
    from collections.abc import Iterable, Iterator

MODULE = "numerai_builder_model"

PREDICT = Path(__file__).resolve().parent / "predict"

# What every pickle has, what each kind adds, and the end; in the order of compiling. A step adds the file of its name.
FIRST = ("threads.py", "runners.py", "inputs.py")
KIND_FILES = {
    "ensemble": ("rank.py", "gaussianize.py", "ensemble.py"),
    "mlp": ("activations.py", "nodes.py", "network.py"),
    "linear": ("activations.py", "nodes.py", "network.py"),
    "trees": ("activations.py", "nodes.py", "trees.py"),
    "lightgbm": ("activations.py", "nodes.py", "boosters.py"),
    "custom": ("custom.py",),
}
LAST = ("entry.py",)


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


def files_of(kinds: Iterable[str], used: Iterable[str]) -> tuple[str, ...]:
    """Return the files of the predict source that a model of these kinds, with these steps, is made of.

    Raises:
        ValueError: there is no such kind or step.
    """
    wanted, used = set(kinds), set(used)
    unknown = sorted((wanted - KIND_FILES.keys()) | (used - steps().keys()))
    if unknown:
        raise ValueError(f"no file does {', '.join(unknown)}")
    named = [name for kind, names in KIND_FILES.items() if kind in wanted for name in names]
    named += [name for step in sorted(used) for name in _with_imports(f"{step}.py")]
    return tuple(dict.fromkeys([*FIRST, *named, *LAST]))


def _with_imports(name: str) -> Iterator[str]:
    """Yield the files that a file imports, those that they import before them, and it."""
    for node in ast.parse((PREDICT / name).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from _with_imports(f"{node.module}.py")
    yield name


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
