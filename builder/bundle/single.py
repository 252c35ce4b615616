"""The kinds of model that predict by themselves, of which an ensemble may be made."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from builder.bundle import lightgbm, linear, mlp, text, trees

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Mapping[str, type[text.Text]] = MappingProxyType(
    {
        "mlp": mlp.Text,
        "linear": linear.Text,
        "lightgbm": lightgbm.Text,
        "trees": trees.Text,
    }
)
