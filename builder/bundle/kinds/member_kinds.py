"""Lists the kinds of model that an ensemble can have as members."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from builder.bundle.kinds import boosters, lightgbm, linear, network, trees

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.bundle import header

KINDS: Mapping[str, type[header.BundleHeader]] = MappingProxyType(
    {
        "mlp": network.NetworkHeader,
        "linear": linear.LinearHeader,
        "lightgbm": lightgbm.LightGbmHeader,
        "xgboost": boosters.XgBoostHeader,
        "catboost": boosters.CatBoostHeader,
        "trees": trees.TreesHeader,
    }
)
