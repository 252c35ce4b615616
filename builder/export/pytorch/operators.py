"""What each ATen operator is in nodes."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from builder.bundle import activations
from builder.export.pytorch import graph as torch_graph
from builder.export.pytorch.graph import Value
from builder.inside.operators import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.export.conversion import Array
    from builder.export.pytorch.graph import Call, Graph

_SELU = (1.6732632423543772, 1.0507009873554805)


def _activation(name: str) -> Callable[[Graph, Call], Value]:
    """Return the handler of an activation, whose constants are arguments of the operator."""
    arguments = {key: number.aten or key for key, number in ACTIVATIONS[name].constants.items()}

    def handle(graph: Graph, call: Call) -> Value:
        return _activate(graph, call, name, **{ours: call.given[theirs] for ours, theirs in arguments.items()})

    return handle


def _activate(graph: Graph, call: Call, name: str, value: Value | None = None, **constants: float) -> Value:
    value = value or call.given["self"]
    activation = activations.Activation(name=name, constants=constants)
    wrong = activations.faults(name, activation.constants)
    if wrong:
        call.refuse(f"has constants out of range ({'; '.join(wrong)})")
    place = graph.nodes.activate(value.place, activation)
    graph.notes[place] = (name, value.place)
    return graph.like(value, place)


def _elu(graph: Graph, call: Call) -> Value:
    alpha, scale, input_scale = (float(call.given[name]) for name in ("alpha", "scale", "input_scale"))
    if np.allclose((alpha, scale), _SELU, rtol=1e-7) and input_scale == 1:
        return _activate(graph, call, "selu")
    if input_scale != 1:
        call.refuse("scales its inputs")
    made = _activate(graph, call, "elu", alpha=alpha)
    return made if scale == 1 else graph.like(made, graph.nodes.affine(made.place, scale, 0.0))


def _gelu(graph: Graph, call: Call) -> Value:
    return _activate(graph, call, "gelu_tanh" if call.given["approximate"] == "tanh" else "gelu")


def _rrelu(graph: Graph, call: Call) -> Value:
    if call.given["training"]:
        call.refuse("is random even in evaluation")
    return _activate(graph, call, "leaky_relu", slope=(call.given["lower"] + call.given["upper"]) / 2)


def _prelu(graph: Graph, call: Call) -> Value:
    value, slopes = call.given["self"], call.given["weight"]
    if slopes.numel() == 1:
        return _activate(graph, call, "leaky_relu", slope=float(slopes))
    slope = graph.constant(call, slopes.reshape(-1, *[1] * (len(value.shape) - 2)), value)
    below = graph.nodes.affine(graph.nodes.affine(value.place, -1.0, 0.0, "relu"), -slope, 0.0)
    return graph.like(value, graph.nodes.total([graph.nodes.affine(value.place, 1.0, 0.0, "relu"), below]))


def _clamp(graph: Graph, call: Call) -> Value:
    value = call.given["self"]
    low = call.given.get("min", call.given.get("min_val"))
    high = call.given.get("max", call.given.get("max_val"))
    if any(isinstance(one, (Value, torch.Tensor)) for one in (low, high)):
        call.refuse("has bounds that are no plain numbers")
    if low is not None and high is not None:
        if (low, high) == (0, 6):
            return _activate(graph, call, "relu6")
        return _activate(graph, call, "hardtanh", low=float(low), high=float(high))
    place = value.place
    if low is not None:
        place = _at_least(graph, place, float(low))
    elif high is not None:  # the smaller of the two is minus the larger of their opposites
        place = graph.nodes.affine(_at_least(graph, graph.nodes.affine(place, -1.0, 0.0), -float(high)), -1.0, 0.0)
    return graph.like(value, place)


def _at_least(graph: Graph, place: int, low: float) -> int:
    if low == 0:
        return graph.nodes.activate(place, activations.Activation(name="relu"))
    return graph.nodes.affine(graph.nodes.affine(place, 1.0, -low, "relu"), 1.0, low)


def _threshold(graph: Graph, call: Call) -> Value:
    if call.given["threshold"] != call.given["value"]:
        call.refuse("jumps at its threshold")
    value = call.given["self"]
    return graph.like(value, _at_least(graph, value.place, float(call.given["threshold"])))


def _abs(graph: Graph, call: Call) -> Value:
    value = call.given["self"]
    sides = [graph.nodes.affine(value.place, sign, 0.0, "relu") for sign in (1.0, -1.0)]
    place = graph.nodes.total(sides)
    graph.notes[place] = ("abs", value.place)
    return graph.like(value, place)


def _pow(graph: Graph, call: Call) -> Value:
    exponent = call.given["exponent"]
    if isinstance(exponent, (Value, torch.Tensor)) or exponent not in {1, 2}:
        call.refuse("is a power other than the square")
    return _activate(graph, call, "square") if exponent == 2 else call.given["self"]


def _softmax(graph: Graph, call: Call) -> Value:
    value = call.given["self"]
    dim = call.given["dim"] % len(value.shape)
    if value.shape[dim] != math.prod(value.rest) or dim == value.axis:
        call.refuse("is over other values than all of a row's")
    return graph.like(value, graph.nodes.softmax(value.place))


def _linear(graph: Graph, call: Call) -> Value:
    return _product(graph, call, call.given["input"], call.given["weight"], call.given["bias"], turned=True)


def _matmul(graph: Graph, call: Call) -> Value:
    first, second = list(call.given.values())[:2]
    if isinstance(first, torch.Tensor) and isinstance(second, Value) and second.axis == 1 and first.ndim == 2:
        bias = torch.zeros(first.shape[0])
        made = _product(
            graph, call, Value(place=second.place, shape=second.shape[::-1], axis=0), first, bias, turned=True
        )
        return Value(place=made.place, shape=made.shape[::-1], axis=1)
    return _product(graph, call, first, second, None, turned=False)


def _addmm(graph: Graph, call: Call) -> Value:
    if call.given["beta"] != 1 or call.given["alpha"] != 1:
        call.refuse("has factors of its own")
    return _product(graph, call, call.given["mat1"], call.given["mat2"], call.given["self"], turned=False)


def _product(graph: Graph, call: Call, value: Any, weights: Any, bias: Any, *, turned: bool) -> Value:
    """Return a dense layer: weights (n_out, n_in) when turned, as PyTorch keeps them, else (n_in, n_out)."""
    if not isinstance(value, Value) or not isinstance(weights, torch.Tensor):
        call.refuse("multiplies values that both depend on the inputs" if _both(value, weights) else "mixes rows")
    if isinstance(bias, Value) or value.axis != 0 or math.prod(value.rest) != value.shape[-1]:
        call.refuse("is over other values than all of a row's")
    numbers = _float64(weights)
    flat = numbers.ndim == 1
    numbers = numbers[:, None] if flat else numbers.T if turned else numbers
    if numbers.ndim != 2 or numbers.shape[0] != value.shape[-1]:
        call.refuse("has weights of more than two dimensions")
    shift = np.zeros(numbers.shape[1]) if bias is None else np.broadcast_to(_float64(bias).ravel(), numbers.shape[1:])
    place = graph.nodes.dense(value.place, numbers, shift)
    shape = (*value.shape[:-1], *(() if flat else (numbers.shape[1],)))
    return Value(place=place, shape=shape, axis=0)


def _add(graph: Graph, call: Call) -> Value:
    return _sum(graph, call, call.given["self"], call.given["other"], factor=float(call.given.get("alpha", 1)))


def _sub(graph: Graph, call: Call) -> Value:
    return _sum(graph, call, call.given["self"], call.given["other"], factor=-float(call.given.get("alpha", 1)))


def _rsub(graph: Graph, call: Call) -> Value:
    return _sum(graph, call, call.given["other"], call.given["self"], factor=-float(call.given.get("alpha", 1)))


def _neg(graph: Graph, call: Call) -> Value:
    value = call.given["self"]
    return graph.like(value, graph.nodes.affine(value.place, -1.0, 0.0))


def _sum(graph: Graph, call: Call, first: Any, second: Any, *, factor: float) -> Value:
    """Return ``first + factor * second``."""
    shape = call.shape or ()
    if isinstance(first, Value) and isinstance(second, Value):
        one, two = graph.spread(call, first, shape), graph.spread(call, second, shape)
        if one.axis != two.axis:
            call.refuse("mixes rows, which are predicted one by one")
        place = two.place if factor == 1 else graph.nodes.affine(two.place, factor, 0.0)
        return graph.like(one, graph.nodes.total([one.place, place]))
    if isinstance(first, Value):
        value = graph.spread(call, first, shape)
        made = graph.nodes.affine(value.place, 1.0, factor * graph.constant(call, second, value))
        note = graph.notes.get(first.place, ("", 0))
        if note[0] == "abs" and isinstance(second, (int, float)) and factor * second == 1:
            graph.notes[made] = ("one and abs", note[1])
        return graph.like(value, made)
    value = graph.spread(call, second, shape)
    return graph.like(value, graph.nodes.affine(value.place, factor, graph.constant(call, first, value)))


def _mul(graph: Graph, call: Call) -> Value:
    first, second = call.given["self"], call.given["other"]
    if _both(first, second):
        return _swish(graph, call, first, second)
    value, number = (first, second) if isinstance(first, Value) else (second, first)
    value = graph.spread(call, value, call.shape or ())
    return graph.like(value, graph.nodes.affine(value.place, graph.constant(call, number, value), 0.0))


def _swish(graph: Graph, call: Call, first: Value, second: Value) -> Value:
    """Return a value times itself, or times its own sigmoid: the two products that activations are."""
    for one, two in ((first, second), (second, first)):
        note = graph.notes.get(two.place, ("", 0))
        if one.shape == two.shape and one.axis == two.axis:
            if one.place == two.place:
                return _activate(graph, call, "square", one)
            if note == ("sigmoid", one.place):
                return _activate(graph, call, "silu", one)
    return call.refuse("multiplies values that both depend on the inputs")


def _div(graph: Graph, call: Call) -> Value:
    first, second = call.given["self"], call.given["other"]
    if call.given.get("rounding_mode") is not None:
        call.refuse("rounds")
    if _both(first, second) and first.shape == second.shape:
        note = graph.notes.get(second.place)
        if note == ("one and abs", first.place):
            return _activate(graph, call, "softsign", first)
    if isinstance(second, Value):
        call.refuse("divides by values that depend on the inputs")
    value = graph.spread(call, first, call.shape or ())
    return graph.like(value, graph.nodes.affine(value.place, 1.0 / graph.constant(call, second, value), 0.0))


def _batch_norm(graph: Graph, call: Call) -> Any:
    mean, variance = call.given["running_mean"], call.given["running_var"]
    value = call.given["input"]
    if call.given.get("training") or mean is None or variance is None:
        call.refuse("keeps no running statistics, so that each prediction depends on the other rows")
    if value.axis != 0 or any(isinstance(one, Value) for one in (mean, variance)):
        call.refuse()
    spread = np.sqrt(_float64(variance) + call.given["eps"])
    gain = (_float64(call.given["weight"]) if call.given["weight"] is not None else 1.0) / spread
    shift = (_float64(call.given["bias"]) if call.given["bias"] is not None else 0.0) - _float64(mean) * gain
    times = math.prod(value.shape[2:])  # a channel may have several values
    place = graph.nodes.affine(value.place, np.repeat(gain, times), np.repeat(shift, times))
    return (graph.like(value, place), None, None)


def _plain_batch_norm(graph: Graph, call: Call) -> Any:
    return _batch_norm(graph, call)[0]


def _unknown_statistics(graph: Graph, call: Call) -> Any:  # noqa: ARG001
    call.refuse("keeps no running statistics, so that each prediction depends on the other rows")


def _layer_norm(graph: Graph, call: Call) -> Value:
    value = call.given["input"]
    shape = tuple(call.given["normalized_shape"])
    if value.axis != 0 or math.prod(shape) != math.prod(value.rest):
        call.refuse("is over other values than all of a row's")
    return _norm(graph, call, value, shape)


def _group_norm(graph: Graph, call: Call) -> Value:
    value = call.given["input"]
    if call.given["num_groups"] != 1 or value.axis != 0:
        call.refuse("has several groups")
    return _norm(graph, call, value, (value.shape[1], *[1] * (len(value.shape) - 2)))


def _norm(graph: Graph, call: Call, value: Value, shape: tuple[int, ...]) -> Value:
    weight, bias = call.given["weight"], call.given["bias"]

    def full(number: Any, default: float) -> Array:
        array = np.full(1, default) if number is None else _float64(number).reshape(shape)
        return np.array(np.broadcast_to(array, value.rest or (1,))).ravel()

    place = graph.nodes.norm(value.place, full(weight, 1.0), full(bias, 0.0), float(call.given["eps"]))
    return graph.like(value, place)


def _reduced(graph: Graph, call: Call) -> Value:
    """Return the sum or the mean over some dimensions: a dense layer of ones."""
    value = call.given["self"]
    count = len(value.shape)
    dims = call.given.get("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(count))
    over = {dim % count for dim in dims}
    if value.axis in over:
        call.refuse("is over the rows, which are predicted one by one")
    inner = [dim - (dim > value.axis) for dim in sorted(over)]
    places = np.arange(math.prod(value.rest)).reshape(value.rest)
    kept = np.moveaxis(places, inner, range(-len(inner), 0)).reshape(-1, math.prod(value.shape[dim] for dim in over))
    weights = np.zeros((places.size, len(kept)))
    weights[kept, np.arange(len(kept))[:, None]] = 1.0 / kept.shape[1] if call.name == "mean" else 1.0
    place = graph.nodes.dense(value.place, weights, np.zeros(len(kept)))
    axis = value.axis if call.given.get("keepdim") else value.axis - sum(dim < value.axis for dim in over)
    return Value(place=place, shape=call.shape or (), axis=axis)


def _same(graph: Graph, call: Call) -> Value:  # noqa: ARG001
    value: Value = next(one for one in call.given.values() if isinstance(one, Value))
    return value


def _nan_to_num(graph: Graph, call: Call) -> Value:
    value = float(call.given["nan"] or 0.0)
    if value not in graph.nan_values:
        graph.nan_values.append(value)
    return _same(graph, call)  # by then an input that was missing has its imputation: it may be this one


def _converted(graph: Graph, call: Call) -> Value:
    kind = call.given.get("dtype")
    if kind is not None and not kind.is_floating_point:
        call.refuse("rounds to whole numbers")
    if kind in {torch.float16, torch.bfloat16}:
        call.refuse("rounds to half of the digits")
    return _same(graph, call)


def _dropout(graph: Graph, call: Call) -> Value:
    if call.given.get("train", call.given.get("training")):
        call.refuse("drops values even in evaluation: give it `training=self.training`")
    return _same(graph, call)


def _random(graph: Graph, call: Call) -> Value:  # noqa: ARG001
    call.refuse("drops values even in evaluation: give it `training=self.training`")


def _both(first: Any, second: Any) -> bool:
    return isinstance(first, Value) and isinstance(second, Value)


def _float64(tensor: torch.Tensor) -> Array:
    numbers: Array = tensor.detach().cpu().to(torch.float64).numpy()
    return numbers


_MOVES = """
    alias atleast_2d broadcast_to cat chunk clone concat concatenate contiguous copy detach expand expand_as
    flatten flip hstack index index_select lift_fresh_copy movedim narrow permute ravel repeat reshape roll
    select select_scatter slice slice_scatter split split_with_sizes squeeze stack swapaxes t tensor_split
    transpose unbind unflatten unsqueeze view view_as _unsafe_view vstack _reshape_alias
"""

OPERATORS: Mapping[str, Callable[[Graph, Call], Any]] = MappingProxyType(
    {
        **dict.fromkeys(_MOVES.split(), torch_graph.Graph.moved),
        **{one.aten: _activation(name) for name, one in ACTIVATIONS.items() if one.aten},
        "elu": _elu,
        "gelu": _gelu,
        "rrelu": _rrelu,
        "prelu": _prelu,
        "_prelu_kernel": _prelu,
        "hardtanh": _clamp,
        "clamp": _clamp,
        "clip": _clamp,
        "clamp_min": _clamp,
        "clamp_max": _clamp,
        "threshold": _threshold,
        "abs": _abs,
        "pow": _pow,
        "softmax": _softmax,
        "_softmax": _softmax,
        "linear": _linear,
        "matmul": _matmul,
        "mm": _matmul,
        "mv": _matmul,
        "addmm": _addmm,
        "add": _add,
        "sub": _sub,
        "rsub": _rsub,
        "subtract": _sub,
        "neg": _neg,
        "mul": _mul,
        "multiply": _mul,
        "div": _div,
        "divide": _div,
        "true_divide": _div,
        "batch_norm": _plain_batch_norm,
        "_native_batch_norm_legit_no_training": _batch_norm,
        "_native_batch_norm_legit": _unknown_statistics,
        "layer_norm": _layer_norm,
        "group_norm": _group_norm,
        "sum": _reduced,
        "mean": _reduced,
        "_to_copy": _converted,
        "to": _converted,
        "nan_to_num": _nan_to_num,
        "dropout": _dropout,
        "alpha_dropout": _dropout,
        "feature_dropout": _dropout,
        "feature_alpha_dropout": _dropout,
        "native_dropout": _random,
        "bernoulli": _random,
        "rand_like": _random,
    }
)
