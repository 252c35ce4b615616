"""The kinds of model that predict by themselves, of which an ensemble may be made."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from builder.bundle.kinds import lightgbm, linear, mlp, trees

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.bundle import text

KINDS: Mapping[str, type[text.Text]] = MappingProxyType(
    {
        "mlp": mlp.Text,
        "linear": linear.Text,
        "lightgbm": lightgbm.Text,
        "trees": trees.Text,
    }
)
