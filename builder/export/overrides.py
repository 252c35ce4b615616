"""Methods that a user's own subclass has instead of its framework's: a bundle holds what the framework's would do."""

from __future__ import annotations

from typing import Any

_KNOWN = frozenset({"daal4py", "imblearn", "lightgbm", "sklearn", "sklearnex"})
"""Packages whose methods do what the framework's do: itself, and those that make it faster or add to it."""


def find_override(model: Any, names: tuple[str, ...]) -> str | None:
    """Return the first of the methods, as ``Class.method``, that the object has from elsewhere; None where none is."""
    for name in names:
        if callable(vars(model).get(name) if hasattr(model, "__dict__") else None):
            return f"{type(model).__name__}.{name}"
        owner = next((one for one in type(model).__mro__ if name in vars(one)), None)
        if owner is not None and owner.__module__.partition(".")[0] not in _KNOWN:
            return f"{owner.__name__}.{name}"
    return None
