"""Lists the kinds of model that a bundle can have.

A kind is a subclass of ``header.BundleHeader``: its keys in ``bundle.json``, its arrays and files, and their checks.
To add one, write a module in this package, add its type to ``model.Model``, and add a line here, or in
``member_kinds`` if ensembles can have it. How it predicts is defined in ``builder.inside``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from builder.bundle.kinds import custom, ensemble, member_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.bundle import header, model

KINDS: Mapping[str, type[header.BundleHeader]] = MappingProxyType(
    {**member_kinds.KINDS, "ensemble": ensemble.EnsembleHeader, "custom": custom.CustomHeader}
)


def is_bounded(model_: model.Model) -> bool:
    """Return whether a model's own predictions are in [0, 1] for any input."""
    return get_kind(model_).is_bounded(model_)


def needs_era(model_: model.Model) -> bool:
    """Return whether a model itself reads the ``era`` column, without its post-processing."""
    return get_kind(model_).needs_era(model_)


def count_parameters(model_: model.Model) -> int:
    """Count the trained numbers of a model: weights, biases, leaves; without the preprocessing."""
    return get_kind(model_).count_parameters(model_)


def get_kind(model_: model.Model) -> type[header.BundleHeader]:
    """Return the header class of a model's kind."""
    return KINDS[get_kind_name(model_)]


def get_kind_name(model_: model.Model) -> str:
    """Return the name of a model's kind in ``bundle.json``."""
    return next(name for name, kind in KINDS.items() if kind.MODEL is type(model_))
