"""All operators and activations by name, as defined by the decorators of their functions in the predict source."""

from __future__ import annotations

from types import MappingProxyType

from .predict import definitions
from .predict import nodes as _nodes  # noqa: F401 - importing it registers the operators and the activations

ACTIVATIONS = MappingProxyType(definitions.ACTIVATIONS)
OPERATORS = MappingProxyType(definitions.OPERATORS)
