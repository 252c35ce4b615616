"""Random lists of nodes: every op, residuals and concatenations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.bundle import activations, model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMOOTH = ("identity", "relu", "tanh", "silu", "hardswish", "leaky_relu")
OPS = ("dense", "affine", "scale", "norm", "sum", "concat", "select", "clip", "quantiles", "softmax")


def drawn(
    random: np.random.Generator, inputs: int, count: int, *, ops: Sequence[str] = OPS, kind: str = "float64"
) -> tuple[model.Node, ...]:
    """Return nodes over so many inputs: ``count`` drawn ones, all used, then one dense layer with one output."""
    widths = {-1: inputs}
    nodes: list[model.Node] = []
    for place in range(count):
        source = int(random.integers(-1, place)) if place and random.random() < 0.3 else place - 1
        node = _drawn(random, str(random.choice(ops)), source, widths, kind)
        nodes.append(node)
        widths[place] = _width(node, widths)
    taken = {source for node in nodes for source in node.sources}
    loose = tuple(place for place in range(-1, count) if place not in taken or place == count - 1)
    if len(loose) > 1:
        nodes.append(model.Concat(sources=loose))
        widths[len(nodes) - 1] = sum(widths[place] for place in loose)
    width = widths[len(nodes) - 1]
    return (*nodes, _dense(random, (width, 1), (), kind))


def floats(random: np.random.Generator, shape: Any, kind: str) -> NDArray[Any]:
    """Return normal numbers."""
    numbers: NDArray[Any] = random.normal(size=shape).astype(kind)
    return numbers


def _drawn(  # noqa: PLR0911 - one for each op
    random: np.random.Generator, op: str, source: int, widths: dict[int, int], kind: str
) -> model.Node:
    width, place = widths[source], (source,)
    named = activations.Activation(name=str(random.choice(SMOOTH)))
    if op == "affine":
        gain, shift = floats(random, width, kind), floats(random, width, kind)
        return model.Affine(gain=gain, shift=shift, activation=named, sources=place)
    if op == "scale":
        centre, scale = floats(random, width, kind), np.exp(floats(random, width, kind))
        return model.Scale(centre=centre, scale=scale, sources=place)
    if op == "norm":
        gain, shift = floats(random, width, kind), floats(random, width, kind)
        return model.Norm(gain=gain, shift=shift, epsilon=1e-3, activation=named, sources=place)
    if op == "sum":
        alike = [one for one in widths if widths[one] == width]
        return model.Sum(sources=(source, int(random.choice(alike))), activation=named)
    if op == "concat":
        return model.Concat(sources=(source, int(random.choice(list(widths)))), activation=named)
    if op == "select":
        places = random.integers(0, width, size=int(random.integers(1, width + 1))).astype(np.int32)
        return model.Select(places=places, sources=place)
    if op == "clip":
        low = -np.abs(floats(random, width, kind))
        return model.Clip(low=low, high=low + np.asarray(1.5, dtype=kind), sources=place)
    if op == "quantiles":
        quantiles = np.sort(random.normal(size=(7, width)), axis=0)
        normal, inverse = random.random(2) < 0.5
        references = np.linspace(0, 1, 7)
        return model.Quantiles(
            quantiles=quantiles, references=references, normal=bool(normal), inverse=bool(inverse), sources=place
        )
    if op == "softmax":
        return model.Softmax(sources=place)
    return _dense(random, (width, int(random.integers(1, 9))), place, kind, named)


def _dense(
    random: np.random.Generator,
    shape: tuple[int, int],
    sources: tuple[int, ...],
    kind: str,
    activation: activations.Activation | None = None,
) -> model.Layer:
    return model.Layer(
        weights=(random.normal(size=shape) / math.sqrt(shape[0])).astype(kind),
        bias=floats(random, shape[1], kind),
        activation=activation or activations.Activation(name="identity"),
        sources=sources,
    )


def _width(node: model.Node, widths: dict[int, int]) -> int:
    if isinstance(node, model.Layer):
        return int(node.weights.shape[1])
    if isinstance(node, model.Select):
        return len(node.places)
    given = [widths[source] for source in node.sources]
    return sum(given) if isinstance(node, model.Concat) else given[0]
