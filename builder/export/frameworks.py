"""Find the module that exports a model, and declare the interface of these modules.

A new framework is a module with what ``Framework`` declares, and a line in ``MODULES``. The module is imported when a
model of its framework is exported, since the other frameworks may not be installed.
"""

from __future__ import annotations

import importlib
import inspect
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from builder import errors
from builder.bundle import post

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.export import conversion

Rank: TypeAlias = post.Scope | None

MODULES: Mapping[str, str] = types.MappingProxyType(
    {
        "lightgbm": "builder.export.lightgbm_models",
        "xgboost": "builder.export.xgboost_models",
        "catboost": "builder.export.catboost_models",
        "torch": "builder.export.pytorch.models",
        "lightning": "builder.export.pytorch.models",
        "pytorch_lightning": "builder.export.pytorch.models",
        "skorch": "builder.export.pytorch.models",
        "sklearn": "builder.export.sklearn.models",
    }
)
"""Exporting modules by the top-level package of a class among the model's bases, the nearest base first."""

_FUNCTIONS, _STORED = "builder.export.function.functions", "builder.export.stored"
_ENSEMBLES, _BLENDS = "builder.export.ensembles", "builder.export.blends"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keyword arguments of ``export`` that only one kind of model accepts, with their defaults.

    A module that accepts some has a subclass. The values are as the caller passed them; ``convert`` checks them.
    """


OptionsT = TypeVar("OptionsT", bound=Options)


class Framework(Protocol[OptionsT]):
    """A module that exports one kind of model.

    Attributes:
        OPTIONS: The dataclass of its options.
        OPTION_HINT: What to do about an unknown option, for the error; may be empty.
        DEFAULT_RANK: The scope of the final rank if the caller passes none; None for no rank.
    """

    OPTIONS: type[OptionsT]
    OPTION_HINT: str
    DEFAULT_RANK: Rank

    def feature_names(self, model: Any, options: OptionsT, /) -> tuple[str, ...] | None:
        """Return the feature names that the model itself knows, in the order of its inputs; None if it knows none.

        Raises:
            errors.ExportError: The model cannot be exported, for instance because it is not trained.
        """

    def convert(self, model: Any, spec: conversion.InputSpec, options: OptionsT, /) -> conversion.ConvertedModel:
        """Convert the framework's model to a bundle's model.

        Raises:
            errors.ExportError: A part of the model, which is named, cannot be expressed; or an option is invalid.
        """


def find_framework(model: Any) -> Framework[Any]:
    """Return the module that exports a trained model, a function that predicts, or an ensemble of them.

    Raises:
        errors.ExportError: It is neither, or the module of its framework cannot be imported.
    """
    if isinstance(model, (list, tuple, dict)):
        is_known = all(_find_package(member) for member in _list_members(model))
        return _import_framework(_ENSEMBLES if is_known else _BLENDS, "pandas")
    package = _find_package(model)
    if package is not None:
        return _import_framework(MODULES[package], package)
    # Both import pandas, which the others do without.
    if is_function(model):
        return _import_framework(_FUNCTIONS, "pandas")
    return _import_framework(_STORED, "pandas")


def find_storing(framework: Framework[Any]) -> Framework[Any] | None:
    """Return the module that stores a model that ``framework`` cannot convert; None if ``framework`` stores them."""
    name = framework.__name__ if isinstance(framework, types.ModuleType) else ""
    if name in {_FUNCTIONS, _STORED, _BLENDS}:
        return None
    return _import_framework(_BLENDS if name == _ENSEMBLES else _STORED, "pandas")


def has_functions(model: Any) -> bool:
    """Return whether a model is a function, or an ensemble with one among its members."""
    return any(map(is_function, _list_members(model) if isinstance(model, (list, tuple, dict)) else [model]))


def _list_members(model: Any) -> list[Any]:
    return list(model.values() if isinstance(model, dict) else model)


def is_function(model: Any) -> bool:
    """Return whether an object is called to predict; a model of Keras, for instance, can be called but is not."""
    is_estimator = not inspect.isroutine(model) and callable(getattr(model, "predict", None)) and hasattr(model, "fit")
    return callable(model) and not (isinstance(model, type) or is_estimator or _find_package(model))


def _find_package(model: Any) -> str | None:
    """Return the framework of a model, as in ``MODULES``; None if it has none."""
    packages = (base.__module__.partition(".")[0] for base in type(model).__mro__)
    return next((package for package in packages if package in MODULES), None)


def _import_framework(name: str, package: str) -> Framework[Any]:
    try:
        # mypy accepts any module here; in tests/export/test_frameworks.py it checks each one.
        framework: Framework[Any] = importlib.import_module(name)
    except Exception as error:
        raise errors.ExportError(
            f"{package} is installed, but a part of it cannot be imported ({type(error).__name__}: "
            f"{str(error)[:200]}); repair the installation (`pip install --force-reinstall {package}`)"
        ) from error
    return framework
