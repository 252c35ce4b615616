"""List the error classes of a library, so that a test fails when a new version adds one."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def list_errors(module: ModuleType) -> list[type[Exception]]:
    """Return the exception classes that a module defines, without warnings."""
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and not issubclass(kind, Warning) and kind.__module__ == module.__name__
    ]
