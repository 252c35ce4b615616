"""Read what a bundle contains besides a function: the user's modules, found or in ``modules=``, and ``files=``."""

from __future__ import annotations

import ast
import importlib.util
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.bundle.kinds import custom
from builder.bundle.storage import files as bundle_files
from builder.export import arguments
from builder.export.function import objects
from builder.text import describe, format_list

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator


def _to_list(value: Any, name: str) -> list[Any]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise arguments.invalid_value(value, name, "a list")
    return list(value)


def parse_modules(value: Any) -> list[str]:
    """Return the dotted names of modules that are passed as names or as the modules themselves."""
    names = []
    for module in _to_list(value, "modules"):
        if not isinstance(module, (str, types.ModuleType)):
            raise arguments.invalid_value(module, "modules", "a module, or its dotted name")
        names.append(module if isinstance(module, str) else module.__name__)
        problem = custom.find_module_name_problem(names[-1])
        if problem is not None:
            raise errors.ExportError(f"export: modules: {problem}")
    return names


def parse_files(value: Any) -> dict[str, Path]:
    """Return the paths of files, which are passed as a list or as a mapping, by their names in the bundle."""
    items = _to_list(value, "files")
    pairs = list(value.items()) if isinstance(value, Mapping) else [(None, path) for path in items]
    for name, path in pairs:
        if not isinstance(path, (str, os.PathLike)) or not isinstance(name, (str, type(None))):
            raise arguments.invalid_value(path, "files", 'a list of paths, or a mapping {"name": path, ...}')
    files = {Path(path).name if name is None else name: Path(path) for name, path in pairs}
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        raise errors.ExportError(f"export: files not found: {format_list(missing)}; pass paths of existing files")
    if len(files) < len(items):
        raise errors.ExportError('export: two files have the same name; pass files={"name": path, ...}')
    # The bundle's writer checks names too, but the trial run before that writes the files to a temporary folder.
    invalid = [describe(name) for name in files if not bundle_files.is_extra_name(f"files/{name}")]
    if invalid:
        raise errors.ExportError(
            f"export: invalid names in a bundle: {format_list(invalid)}; expected {bundle_files.NAMING}; pass "
            'files={"name": path, ...} with other names'
        )
    return files


def find_imported_modules(name: str, known: Collection[str]) -> list[str]:
    """Return a module of the user, and those of the user that it imports, directly or not; except ``known`` ones."""
    names, remaining = [], [name]
    while remaining:
        module = remaining.pop()
        if module in names or module in known:
            continue
        names.append(module)
        for _, source in read_modules([module]).values():
            remaining += _list_own_imports(module, source)
    return names


def _list_own_imports(module: str, source: bytes) -> Iterator[str]:
    """Yield the user's modules that a module imports."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise errors.ExportError(f"export: line {error.lineno} of {module}: {error.msg}; fix the error") from error
    spec = importlib.util.find_spec(module)
    package = module if spec and spec.submodule_search_locations is not None else module.rpartition(".")[0]
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package) if node.level else ""
            base = base or node.module or ""
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if is_own(name))


def is_own(name: str) -> bool:
    """Return whether a module is a file of the user, which is not installed."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return False
    return spec is not None and spec.has_location and not objects.is_library_file(spec.origin or "")


def read_modules(names: Iterable[str]) -> dict[str, tuple[str, bytes]]:
    """Return the path in the bundle and the source of each module, by its dotted name.

    Raises:
        errors.ExportError: A module is not found, or is not written in Python.
    """
    sources = {}
    for name in names:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            spec = None
        origin = Path(spec.origin) if spec and spec.has_location and spec.origin else None
        if spec is None or (origin is None and spec.submodule_search_locations is None):
            raise errors.ExportError(f"export: modules: module {name!r} not found; is its folder on sys.path?")
        if origin is None:
            raise errors.ExportError(
                f"export: modules: {name} is a folder without __init__.py; pass the modules in it: {name}.NAME"
            )
        if origin.suffix != ".py":
            raise errors.ExportError(
                f"export: modules: {name} is not written in Python ({origin.name}), so a bundle cannot contain it; "
                "remove it from modules="
            )
        path = name.replace(".", "/")
        file = f"{path}/__init__.py" if spec.submodule_search_locations is not None else f"{path}.py"
        sources[name] = (f"code/{file}", origin.read_bytes())
    return sources
