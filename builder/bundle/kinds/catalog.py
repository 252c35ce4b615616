"""The kinds of model that a bundle may hold.

A kind is a subclass of ``header.BundleHeader``: the keys it adds to ``bundle.json``, the arrays and files it has and
their rules. Each is a module beside ``mlp``, a type in ``model.Model`` and a line here, or in ``single`` where an
ensemble may have it; how it predicts is in ``builder.inside``.
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


def is_bounded(value: model.Model) -> bool:
    """Tell whether a model's own predictions lie in [0, 1], whatever its inputs."""
    return get_kind(value).is_bounded(value)


def needs_era(value: model.Model) -> bool:
    """Tell whether a model itself looks at the ``era`` column, whatever is done to its predictions after."""
    return get_kind(value).needs_era(value)


def count_parameters(value: model.Model) -> int:
    """Return how many trained numbers a model has: weights, biases, leaves; not the treatment of the inputs."""
    return get_kind(value).count_parameters(value)


def get_kind(value: model.Model) -> type[header.BundleHeader]:
    """Return the kind of a model."""
    return KINDS[get_kind_name(value)]


def get_kind_name(value: model.Model) -> str:
    """Return the name that ``bundle.json`` gives the kind of a model."""
    return next(name for name, kind in KINDS.items() if kind.MODEL is type(value))
