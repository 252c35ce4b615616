"""Which module knows the framework of an object; nothing is imported to find out."""

from __future__ import annotations

import importlib
import types
from typing import TYPE_CHECKING, Any, Protocol, cast

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.export import translated

MODULES: Mapping[str, str] = types.MappingProxyType(
    {
        "lightgbm": "builder.export.lightgbm_models",
        "torch": "builder.export.torch_models",
        "lightning": "builder.export.torch_models",
        "pytorch_lightning": "builder.export.torch_models",
        "skorch": "builder.export.torch_models",
        "sklearn": "builder.export.sklearn_models",
    }
)
"""By the top-level package of a class among the model's bases, nearest first."""


class Framework(Protocol):
    """A module that knows one.

    Attributes:
        OPTIONS: Names of the keyword arguments of ``export`` that it takes beyond those that all do.
    """

    OPTIONS: tuple[str, ...]

    @staticmethod
    def feature_names(model: Any, **naming: Any) -> tuple[str, ...] | None:
        """Return the names that the object itself knows, in its inputs' order; None where it knows none.

        ``naming`` are those of the caller's options that a module lists in ``NAMING``: an ensemble's alone.
        """

    @staticmethod
    def translate(model: Any, given: translated.Given) -> translated.Translated:
        """Return the object in this tool's terms.

        Raises:
            errors.ExportError: it has a part that cannot be expressed; the part is named.
        """


def of(model: Any) -> Framework:
    """Return the module that knows a model's framework.

    Raises:
        errors.ExportError: none does.
    """
    if isinstance(model, (list, tuple, dict)):
        return cast("Framework", importlib.import_module("builder.export.ensembles"))
    if isinstance(model, types.FunctionType):
        return cast("Framework", importlib.import_module("builder.export.functions"))
    for base in type(model).__mro__:
        name = MODULES.get(base.__module__.partition(".")[0])
        if name is not None:
            try:
                return cast("Framework", importlib.import_module(name))
            except Exception as error:
                package = base.__module__.partition(".")[0]
                raise errors.ExportError(
                    f"{package} is installed here, but a part of it cannot be imported ({type(error).__name__}: "
                    f"{str(error)[:200]}); repair the installation (`pip install --force-reinstall {package}`)"
                ) from error
    known = ", ".join(dict.fromkeys(MODULES))
    raise errors.ExportError(
        f"{type(model).__module__}.{type(model).__qualname__} is no model of {known}; "
        "export a function that predicts with it, as docs/export/custom.md shows"
    )
