"""Find methods that a user's subclass overrides: a bundle has only what the framework's own methods do."""

from __future__ import annotations

from typing import Any

_PACKAGES = frozenset({"catboost", "daal4py", "imblearn", "lightgbm", "sklearn", "sklearnex", "xgboost"})
"""Packages whose methods predict as a bundle does: scikit-learn, accelerators and extensions of it, and boosters."""


def find_override(model: Any, names: tuple[str, ...]) -> str | None:
    """Return the first of the methods, as ``Class.method``, that comes from another package; None if there is none."""
    for name in names:
        # An attribute of the instance replaces the method of the class.
        if callable(vars(model).get(name) if hasattr(model, "__dict__") else None):
            return f"{type(model).__name__}.{name}"
        owner = next((base for base in type(model).__mro__ if name in vars(base)), None)
        if owner is not None and owner.__module__.partition(".")[0] not in _PACKAGES:
            return f"{owner.__name__}.{name}"
    return None
