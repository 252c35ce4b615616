"""Find the packages that the code of a function imports, to compare their versions with those of the image."""

from __future__ import annotations

import ast
import importlib.metadata
from typing import TYPE_CHECKING

from builder.export.function import image_packages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def find_packages(sources: Iterable[str | bytes], modules: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the installed packages of top-level modules and of what sources import: ``name version``, sorted."""
    modules = {*modules, *(module for source in sources for module in _iter_imports(ast.parse(source)))}
    names = {name for module in modules for name in image_packages.list_installed().get(module, ())}
    return tuple(sorted(f"{name} {importlib.metadata.version(name)}" for name in names))


def _iter_imports(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level name of each imported module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
