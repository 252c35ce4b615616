"""Random lists of nodes: every operator, residuals and concatenations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.bundle import activations, model
from builder.inside import operators

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from builder.inside.predict.definitions import Array

SMOOTH = ("identity", "relu", "tanh", "silu", "hardswish", "leaky_relu")
OPS = tuple(operators.OPERATORS)


def drawn(
    random: np.random.Generator, inputs: int, count: int, *, ops: Sequence[str] = OPS, kind: str = "float64"
) -> tuple[model.Node, ...]:
    """Return nodes over so many inputs: ``count`` drawn ones, all used, then one dense layer with one output."""
    widths = {-1: inputs}
    nodes: list[model.Node] = []
    for index in range(count):
        source = int(random.integers(-1, index)) if index and random.random() < 0.3 else index - 1
        nodes.append(node(random, str(random.choice(ops)), source, widths, kind))
        widths[index] = width(nodes[-1], widths)
    taken = {source for item in nodes for source in item.sources}
    loose = tuple(index for index in range(-1, count) if index not in taken or index == count - 1)
    if len(loose) > 1:
        nodes.append(model.make_node("concat", sources=loose))
        widths[len(nodes) - 1] = sum(widths[index] for index in loose)
    last = node(random, "dense", len(nodes) - 1, widths, kind, outputs=1)
    return (*nodes, model.Node(op="dense", arrays=last.arrays))


def node(
    random: np.random.Generator,
    op: str,
    source: int,
    widths: dict[int, int],
    kind: str,
    *,
    outputs: int | None = None,
) -> model.Node:
    """Return a node of an operator, as its definition has it, over a node of those whose widths are given."""
    definition = operators.OPERATORS[op]
    of_out = outputs or int(random.integers(1, 9))
    if any(item.is_index for item in definition.arrays):
        of_out = min(of_out, widths[source])
    counts = {"in": widths[source], "out": of_out, "quantiles": 7, "degree": 2}
    others = [index for index in widths if definition.arity == "concatenated" or widths[index] == widths[source]]
    options = {
        name: bool(random.random() < 0.5)
        if isinstance(option, bool)
        else min(max(1e-3, option.minimum), option.maximum)
        for name, option in definition.options.items()
    }
    return model.make_node(
        op,
        activation=activations.Activation(name=str(random.choice(SMOOTH)) if definition.has_activation else "identity"),
        sources=(source,) if definition.arity == "one" else (source, int(random.choice(others))),
        **{item.name: _numbers(random, item, counts, kind) for item in definition.arrays},
        **options,
    )


def width(node: model.Node, widths: dict[int, int]) -> int:
    """Return how many values a node gives."""
    definition = operators.OPERATORS[node.op]
    counts: dict[str, int] = {}
    for array in definition.arrays:
        counts |= zip(array.shape, node[array.name].shape, strict=True)
    return int(definition.compute_width([widths[source] for source in node.sources], counts))


def _numbers(random: np.random.Generator, array: Array, counts: dict[str, int], kind: str) -> NDArray[Any]:
    shape = tuple(counts[word] for word in array.shape)
    if array.is_index:
        return random.integers(0, counts["in"], size=shape).astype(np.int32)
    if array.is_fraction:
        return np.linspace(0, 1, math.prod(shape)).reshape(shape)
    numbers: NDArray[Any] = random.normal(size=shape)
    if array.is_sorted:
        return np.sort(numbers, axis=0)
    if array.is_divisor:
        numbers = np.exp(numbers)
    if array.shape == ("in", "out"):
        numbers /= math.sqrt(shape[0])
    return numbers.astype(kind)
