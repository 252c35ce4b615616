"""The frameworks that ``export`` knows, by name: a module is imported when a model of its framework is exported."""

from __future__ import annotations

import importlib
import types
from typing import TYPE_CHECKING, Any

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.export.frameworks import Framework

MODULES: Mapping[str, str] = types.MappingProxyType(
    {
        "lightgbm": "builder.export.lightgbm_models",
        "torch": "builder.export.pytorch.models",
        "lightning": "builder.export.pytorch.models",
        "pytorch_lightning": "builder.export.pytorch.models",
        "skorch": "builder.export.pytorch.models",
        "sklearn": "builder.export.sklearn.models",
    }
)
"""By the top-level package of a class among the model's bases, nearest first."""


def find(model: Any) -> Framework[Any]:
    """Return the module of a trained object's framework.

    Raises:
        errors.ExportError: None of ``MODULES`` knows the object.
    """
    for base in type(model).__mro__:
        name = MODULES.get(base.__module__.partition(".")[0])
        if name is not None:
            return _import(name, base.__module__.partition(".")[0])
    names = ", ".join(MODULES)
    raise errors.ExportError(
        f"{type(model).__module__}.{type(model).__qualname__} is no model of {names}; "
        "export a function that predicts with it, as docs/export/custom.md shows"
    )


def _import(name: str, package: str) -> Framework[Any]:
    try:
        # mypy accepts any module here; in tests/export/test_frameworks.py it checks each one.
        framework: Framework[Any] = importlib.import_module(name)
    except Exception as error:
        raise errors.ExportError(
            f"{package} is installed here, but a part of it cannot be imported ({type(error).__name__}: "
            f"{str(error)[:200]}); repair the installation (`pip install --force-reinstall {package}`)"
        ) from error
    return framework
