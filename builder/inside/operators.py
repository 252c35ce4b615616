"""All operators and activations by name: the definitions that stand over their functions in the predict source."""

from __future__ import annotations

from types import MappingProxyType

from .predict import definitions
from .predict import nodes as _nodes  # noqa: F401 - it enters the operators, and those of activations with them

ACTIVATIONS = MappingProxyType(definitions.ACTIVATIONS)
OPERATORS = MappingProxyType(definitions.OPERATORS)
