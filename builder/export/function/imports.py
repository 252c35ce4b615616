"""Find the import statements of modules, and of objects that libraries or included modules have under a name."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.export.function import objects

if TYPE_CHECKING:
    from collections.abc import Collection

_UFUNC_MODULES = ("numpy", "scipy.special")


def can_import(module: str, modules: Collection[str]) -> bool:
    """Return whether the image may have a module, or it is one of ``modules``, which the bundle contains."""
    return module in modules or (module != "__main__" and _is_installed(module))


def find_import(name: str, value: Any, modules: Collection[str]) -> str | None:
    """Return the line that imports an object from a library or an included module; None if it cannot."""
    if isinstance(value, types.ModuleType):
        full_name = value.__name__
        if not can_import(full_name, modules):
            return None
        return f"import {full_name}" if name == full_name else f"import {full_name} as {name}"
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)) or (
        callable(value) and isinstance(getattr(value, "__name__", None), str)
    ):
        attribute = value.__name__
        is_ufunc = isinstance(value, np.ufunc)  # SciPy's have no __module__
        candidates = _UFUNC_MODULES if is_ufunc else _list_packages(getattr(value, "__module__", None) or "")
        for module in candidates:
            if getattr(sys.modules.get(module), attribute, None) is value and can_import(module, modules):
                return _format_from_import(module, attribute, name)
    module, attribute = _find_library_object(value, modules)
    return _format_from_import(module, attribute, name) if module else None


def _find_library_object(value: Any, modules: Collection[str]) -> tuple[str, str]:
    """Return the module and name of a library's object, such as ``scipy.stats.norm``; empty for others."""
    for module in _list_packages(type(value).__module__):
        if module == "builtins" or module not in sys.modules or not can_import(module, modules):
            continue
        names = (name for name, item in vars(sys.modules[module]).items() if item is value)
        name = next((name for name in names if not name.startswith("_")), "")
        if name:
            return module, name
    return "", ""


def _format_from_import(module: str, attribute: str, name: str) -> str:
    return f"from {module} import {attribute}" + (f" as {name}" if name != attribute else "")


def _list_packages(module: str) -> tuple[str, ...]:
    """Return a module's packages and itself, the outermost and most public first: pandas, ..., pandas.core.frame."""
    parts = module.split(".")
    return tuple(".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _is_installed(name: str) -> bool:
    """Return whether a module is Python's or an installed package's, so that the image may have it."""
    top = name.partition(".")[0]
    if top == "builder":
        return False  # this tool, which no image has
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return True
    module = sys.modules.get(top)
    files = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(objects.is_library_file(file) for file in files if file)
