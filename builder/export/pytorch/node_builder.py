"""Nodes put together one at a time, by an exporter that follows a framework's graph."""

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
class Activated:
    """An activation that has no node of its own yet.

    Attributes:
        activation: Which.
        sources: The one node it takes.
    """

    activation: activations.Activation
    sources: tuple[int, ...]


class Builder:
    """A network in the making: nodes by their places, the network's inputs at -1."""

    def __init__(self, inputs: int) -> None:
        self._nodes: list[bundle_model.Node | Activated] = []
        self._widths = {-1: inputs}

    def width(self, place: int) -> int:
        """Return how many values a row a node gives."""
        return self._widths[place]

    def node(self, place: int) -> bundle_model.Node | Activated | None:
        """Return a node; None for the inputs."""
        return self._nodes[place] if place >= 0 else None

    def dense(self, source: int, weights: Array, bias: Array) -> int:
        """Add a dense layer: weights (n_in, n_out)."""
        layer = bundle_model.make_node("dense", weights=narrow(weights), bias=narrow(bias), sources=(source,))
        return self._add(layer, weights.shape[1])

    def affine(self, source: int, gain: Array | float, shift: Array | float, activation: str = "identity") -> int:
        """Add ``activation(x * gain + shift)``, of one number each or one for each value."""
        width = self._widths[source]
        node = bundle_model.make_node(
            "affine",
            gain=narrow(np.broadcast_to(np.asarray(gain, dtype=np.float64), (width,))),
            shift=narrow(np.broadcast_to(np.asarray(shift, dtype=np.float64), (width,))),
            activation=activations.Activation(name=activation),
            sources=(source,),
        )
        return self._add(node, width)

    def norm(self, source: int, gain: Array, shift: Array, epsilon: float) -> int:
        """Add a LayerNorm over all values of a row."""
        node = bundle_model.make_node(
            "norm", gain=narrow(gain), shift=narrow(shift), epsilon=epsilon, sources=(source,)
        )
        return self._add(node, self._widths[source])

    def activate(self, source: int, activation: activations.Activation) -> int:
        """Add an activation."""
        return self._add(Activated(activation=activation, sources=(source,)), self._widths[source])

    def total(self, sources: Sequence[int]) -> int:
        """Add the sum of two nodes or more."""
        return self._add(bundle_model.make_node("sum", sources=tuple(sources)), self._widths[sources[0]])

    def concat(self, sources: Sequence[int]) -> int:
        """Add the values of two nodes or more, side by side; one node is its own."""
        if len(sources) == 1:
            return sources[0]
        width = sum(self._widths[source] for source in sources)
        return self._add(bundle_model.make_node("concat", sources=tuple(sources)), width)

    def select(self, source: int, places: Sequence[int]) -> int:
        """Add some of the values; all of them, in their order, are the node itself."""
        if list(places) == list(range(self._widths[source])):
            return source
        node = bundle_model.make_node("select", places=np.asarray(places, dtype=np.int32), sources=(source,))
        return self._add(node, len(places))

    def softmax(self, source: int) -> int:
        """Add a softmax over all values of a row."""
        return self._add(bundle_model.make_node("softmax", sources=(source,)), self._widths[source])

    def built(self, last: int) -> tuple[bundle_model.Node, ...]:
        """Return the nodes that ``last`` depends on, itself at the end; activations in the nodes that they follow."""
        if last < 0:
            last = self.affine(last, 1.0, 0.0)
        moved: dict[int, int] = {-1: -1}
        made: list[bundle_model.Node] = []
        needed = self._needed(last)
        taken = [source for place in needed for source in self._nodes[place].sources]
        for place in needed:
            node = self._nodes[place]
            sources = tuple(moved[source] for source in node.sources)
            if isinstance(node, Activated):
                before = made[sources[0]] if sources[0] >= 0 else None
                alone = taken.count(node.sources[0]) == 1
                if alone and before and before.activation.name == "identity" and OPERATORS[before.op].has_activation:
                    made[sources[0]] = dataclasses.replace(before, activation=node.activation)
                    moved[place] = sources[0]
                    continue
                width = self._widths[place]
                ones, zeros = np.ones(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
                made.append(
                    bundle_model.make_node(
                        "affine", gain=ones, shift=zeros, activation=node.activation, sources=_plain(sources, made)
                    )
                )
            else:
                made.append(dataclasses.replace(node, sources=_plain(sources, made)))
            moved[place] = len(made) - 1
        return tuple(made)

    def _needed(self, last: int) -> list[int]:
        """Return the places that a node depends on and its own, in their order."""
        needed = {last}
        for place in range(last, -1, -1):
            if place in needed:
                needed |= {source for source in self._nodes[place].sources if source >= 0}
        return sorted(needed)

    def _add(self, node: bundle_model.Node | Activated, width: int) -> int:
        self._nodes.append(node)
        place = len(self._nodes) - 1
        self._widths[place] = width
        return place


def narrow(values: Array) -> bundle_model.Floats:
    """Return numbers as float32 where that holds them exactly: those that a framework kept so."""
    with np.errstate(over="ignore"):
        small = values.astype(np.float32)
    return small if np.array_equal(small.astype(np.float64), values) else np.array(values, dtype=np.float64)


def _plain(sources: tuple[int, ...], made: Sequence[bundle_model.Node]) -> tuple[int, ...]:
    """Return no sources where the one is the node before."""
    return () if sources == (len(made) - 1,) else sources
