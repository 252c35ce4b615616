"""Build a bundle's network node by node, while following a framework's graph."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.inside.operators import OPERATORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.export.conversion import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class PendingActivation:
    """An activation that becomes part of the node before it, or a node of its own: ``build`` decides.

    Attributes:
        activation: The activation.
        sources: Index of the one node that it is applied to.
    """

    activation: activations.Activation
    sources: tuple[int, ...]


class NetworkBuilder:
    """A network under construction: each method adds a node and returns its index; the inputs have index -1."""

    def __init__(self, inputs: int) -> None:
        self._nodes: list[bundle_model.Node | PendingActivation] = []
        self._widths = {-1: inputs}

    def get_width(self, index: int) -> int:
        """Return the number of values of a node for each row."""
        return self._widths[index]

    def add_dense(self, source: int, weights: Array, bias: Array) -> int:
        """Add a dense layer: weights float64 (n_in, n_out), bias float64 (n_out,)."""
        layer = bundle_model.make_node("dense", weights=narrow(weights), bias=narrow(bias), sources=(source,))
        return self._add(layer, weights.shape[1])

    def add_affine(self, source: int, gain: Array | float, shift: Array | float, activation: str = "identity") -> int:
        """Add ``activation(x * gain + shift)``; gain and shift are one number, or one for each value."""
        width = self._widths[source]
        node = bundle_model.make_node(
            "affine",
            gain=narrow(np.broadcast_to(np.asarray(gain, dtype=np.float64), (width,))),
            shift=narrow(np.broadcast_to(np.asarray(shift, dtype=np.float64), (width,))),
            activation=activations.Activation(name=activation),
            sources=(source,),
        )
        return self._add(node, width)

    def add_norm(self, source: int, gain: Array, shift: Array, epsilon: float) -> int:
        """Add a LayerNorm over all values of a row."""
        node = bundle_model.make_node(
            "norm", gain=narrow(gain), shift=narrow(shift), epsilon=epsilon, sources=(source,)
        )
        return self._add(node, self._widths[source])

    def add_activation(self, source: int, activation: activations.Activation) -> int:
        """Add an activation, which ``build`` merges into the node before it if it can."""
        return self._add(PendingActivation(activation=activation, sources=(source,)), self._widths[source])

    def add_sum(self, sources: Sequence[int]) -> int:
        """Add the sum of two or more nodes."""
        return self._add(bundle_model.make_node("sum", sources=tuple(sources)), self._widths[sources[0]])

    def add_concat(self, sources: Sequence[int]) -> int:
        """Add the values of several nodes side by side; return a single node itself."""
        if len(sources) == 1:
            return sources[0]
        width = sum(self._widths[source] for source in sources)
        return self._add(bundle_model.make_node("concat", sources=tuple(sources)), width)

    def add_select(self, source: int, indices: Sequence[int]) -> int:
        """Add some of a node's values; return the node itself if these are all of them in their order."""
        if list(indices) == list(range(self._widths[source])):
            return source
        node = bundle_model.make_node("select", places=np.asarray(indices, dtype=np.int32), sources=(source,))
        return self._add(node, len(indices))

    def add_softmax(self, source: int) -> int:
        """Add a softmax over all values of a row."""
        return self._add(bundle_model.make_node("softmax", sources=(source,)), self._widths[source])

    def build(self, last: int) -> tuple[bundle_model.Node, ...]:
        """Return the nodes that ``last`` depends on, with ``last`` at the end, and activations merged into nodes."""
        if last < 0:
            last = self.add_affine(last, 1.0, 0.0)  # a network has at least one node
        new_indices: dict[int, int] = {-1: -1}
        nodes: list[bundle_model.Node] = []
        needed = self._find_dependencies(last)
        all_sources = [source for index in needed for source in self._nodes[index].sources]
        for index in needed:
            node = self._nodes[index]
            sources = tuple(new_indices[source] for source in node.sources)
            if isinstance(node, PendingActivation):
                previous = nodes[sources[0]] if sources[0] >= 0 else None
                # Another node that takes the previous one needs its values without the activation.
                is_only_use = all_sources.count(node.sources[0]) == 1
                can_merge = (
                    previous and previous.activation.name == "identity" and OPERATORS[previous.op].has_activation
                )
                if is_only_use and previous and can_merge:
                    nodes[sources[0]] = dataclasses.replace(previous, activation=node.activation)
                    new_indices[index] = sources[0]
                    continue
                width = self._widths[index]
                ones, zeros = np.ones(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
                nodes.append(
                    bundle_model.make_node(
                        "affine",
                        gain=ones,
                        shift=zeros,
                        activation=node.activation,
                        sources=_omit_previous(sources, nodes),
                    )
                )
            else:
                nodes.append(dataclasses.replace(node, sources=_omit_previous(sources, nodes)))
            new_indices[index] = len(nodes) - 1
        return tuple(nodes)

    def _find_dependencies(self, last: int) -> list[int]:
        """Return the indices of a node and of those that it depends on, in order."""
        needed = {last}
        for index in range(last, -1, -1):
            if index in needed:
                needed |= {source for source in self._nodes[index].sources if source >= 0}
        return sorted(needed)

    def _add(self, node: bundle_model.Node | PendingActivation, width: int) -> int:
        self._nodes.append(node)
        index = len(self._nodes) - 1
        self._widths[index] = width
        return index


def narrow(values: Array) -> bundle_model.Floats:
    """Return numbers as float32 if that is exact, as for weights trained in float32; else as float64."""
    with np.errstate(over="ignore"):
        small = values.astype(np.float32)
    return small if np.array_equal(small.astype(np.float64), values) else np.array(values, dtype=np.float64)


def _omit_previous(sources: tuple[int, ...], nodes: Sequence[bundle_model.Node]) -> tuple[int, ...]:
    """Return no sources if the only source is the previous node, which is the default in a bundle."""
    return () if sources == (len(nodes) - 1,) else sources
