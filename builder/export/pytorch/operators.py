"""Express ATen operators as nodes of a bundle's network.

Each handler takes a call of its operator, adds nodes to the graph, and returns the call's result. ``OPERATORS`` has the
handlers by the operators' names; an operator without one is refused.
"""

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
"""Alpha and scale of ``torch.nn.SELU``, which ATen computes as an ``elu``."""
_OTHER_ROWS = "mixes rows, which are predicted one by one"
_NOT_ALL_VALUES = "is not over exactly the values of a row"
_RANDOM = "drops values even in evaluation mode; pass `training=self.training` to it"
_BATCH_STATISTICS = "has no running statistics, so that each prediction depends on the other rows"


def _make_activation_handler(name: str) -> Callable[[Graph, Call], Value]:
    """Return the handler of an activation; its constants are arguments of the operator."""
    aten_names = {key: constant.aten or key for key, constant in ACTIVATIONS[name].constants.items()}

    def handle(graph: Graph, call: Call) -> Value:
        return _activate(graph, call, name, **{key: call.args[aten_name] for key, aten_name in aten_names.items()})

    return handle


def _activate(graph: Graph, call: Call, name: str, value: Value | None = None, **constants: float) -> Value:
    value = value or call.value
    activation = activations.Activation(name=name, constants=constants)
    problems = activations.find_constant_problems(name, activation.constants)
    if problems:
        call.refuse(f"has constants out of range ({'; '.join(problems)})")
    node = graph.nodes.add_activation(value.node, activation)
    graph.patterns[node] = (name, value.node)
    return value.with_node(node)


def _elu(graph: Graph, call: Call) -> Value:
    alpha, scale, input_scale = (float(call.args[name]) for name in ("alpha", "scale", "input_scale"))
    if np.allclose((alpha, scale), _SELU, rtol=1e-7) and input_scale == 1:
        return _activate(graph, call, "selu")
    if input_scale != 1:
        call.refuse("scales its inputs")
    activated = _activate(graph, call, "elu", alpha=alpha)
    return activated if scale == 1 else activated.with_node(graph.nodes.add_affine(activated.node, scale, 0.0))


def _gelu(graph: Graph, call: Call) -> Value:
    return _activate(graph, call, "gelu_tanh" if call.args["approximate"] == "tanh" else "gelu")


def _rrelu(graph: Graph, call: Call) -> Value:
    if call.args["training"]:
        call.refuse("is random even in evaluation mode; pass `training=self.training` to it")
    # In evaluation mode, RReLU uses the mean of its limits.
    return _activate(graph, call, "leaky_relu", slope=(call.args["lower"] + call.args["upper"]) / 2)


def _prelu(graph: Graph, call: Call) -> Value:
    value, slopes = call.value, call.args["weight"]
    if slopes.numel() == 1:
        return _activate(graph, call, "leaky_relu", slope=float(slopes))
    slope = graph.expand_constant(call, slopes.reshape(-1, *[1] * (len(value.shape) - 2)), value)
    # PReLU is relu(x) - slope * relu(-x).
    negative = graph.nodes.add_affine(graph.nodes.add_affine(value.node, -1.0, 0.0, "relu"), -slope, 0.0)
    return value.with_node(graph.nodes.add_sum([graph.nodes.add_affine(value.node, 1.0, 0.0, "relu"), negative]))


def _clamp(graph: Graph, call: Call) -> Value:
    value = call.value
    low = call.args.get("min", call.args.get("min_val"))
    high = call.args.get("max", call.args.get("max_val"))
    if any(isinstance(limit, (Value, torch.Tensor)) for limit in (low, high)):
        call.refuse("has limits that are not plain numbers")
    if low is not None and high is not None:
        if (low, high) == (0, 6):
            return _activate(graph, call, "relu6")
        return _activate(graph, call, "hardtanh", low=float(low), high=float(high))
    node = value.node
    if low is not None:
        node = _clamp_below(graph, node, float(low))
    elif high is not None:  # min(x, high) = -max(-x, -high)
        node = graph.nodes.add_affine(
            _clamp_below(graph, graph.nodes.add_affine(node, -1.0, 0.0), -float(high)), -1.0, 0.0
        )
    return value.with_node(node)


def _clamp_below(graph: Graph, node: int, low: float) -> int:
    if low == 0:
        return graph.nodes.add_activation(node, activations.Activation(name="relu"))
    return graph.nodes.add_affine(graph.nodes.add_affine(node, 1.0, -low, "relu"), 1.0, low)


def _threshold(graph: Graph, call: Call) -> Value:
    if call.args["threshold"] != call.args["value"]:
        call.refuse("has a value other than its threshold, which makes it jump there")
    value = call.value
    return value.with_node(_clamp_below(graph, value.node, float(call.args["threshold"])))


def _abs(graph: Graph, call: Call) -> Value:
    value = call.value
    # A bundle has no node for it, but relu of x and of -x are nodes that predict runs fast.
    sides = [graph.nodes.add_affine(value.node, sign, 0.0, "relu") for sign in (1.0, -1.0)]
    node = graph.nodes.add_sum(sides)  # relu(x) + relu(-x)
    graph.patterns[node] = ("abs", value.node)
    return value.with_node(node)


def _pow(graph: Graph, call: Call) -> Value:
    exponent = call.args["exponent"]
    if isinstance(exponent, (Value, torch.Tensor)) or exponent not in {1, 2}:
        call.refuse("has an exponent other than 1 and 2")
    return _activate(graph, call, "square") if exponent == 2 else call.value


def _softmax(graph: Graph, call: Call) -> Value:
    value = call.value
    dim = call.args["dim"] % len(value.shape)
    # A bundle's softmax is over all values of a node; one over each of several groups would need a node for each.
    if value.shape[dim] != math.prod(value.row_shape) or dim == value.axis:
        call.refuse(_NOT_ALL_VALUES)
    return value.with_node(graph.nodes.add_softmax(value.node))


def _linear(graph: Graph, call: Call) -> Value:
    return _add_dense(graph, call, call.args["input"], call.args["weight"], call.args["bias"], transposed=True)


def _matmul(graph: Graph, call: Call) -> Value:
    first, second = list(call.args.values())[:2]
    if isinstance(first, torch.Tensor) and isinstance(second, Value) and second.axis == 1 and first.ndim == 2:
        bias = torch.zeros(first.shape[0])
        by_rows = Value(node=second.node, shape=second.shape[::-1], axis=0)
        product = _add_dense(graph, call, by_rows, first, bias, transposed=True)  # (W x^T)^T = x W^T
        return Value(node=product.node, shape=product.shape[::-1], axis=1)
    return _add_dense(graph, call, first, second, None, transposed=False)


def _addmm(graph: Graph, call: Call) -> Value:
    if call.args["beta"] != 1 or call.args["alpha"] != 1:
        call.refuse("has alpha or beta other than 1")
    return _add_dense(graph, call, call.args["mat1"], call.args["mat2"], call.args["self"], transposed=False)


def _add_dense(graph: Graph, call: Call, value: Any, weights: Any, bias: Any, *, transposed: bool) -> Value:
    """Add a dense layer: weights (n_out, n_in) if transposed, as in PyTorch's layers, else (n_in, n_out)."""
    if not isinstance(value, Value) or not isinstance(weights, torch.Tensor):
        call.refuse("multiplies values that both depend on the inputs" if _are_values(value, weights) else _OTHER_ROWS)
    if isinstance(bias, Value) or value.axis != 0 or math.prod(value.row_shape) != value.shape[-1]:
        call.refuse(_NOT_ALL_VALUES)
    matrix = _to_float64(weights)
    is_vector = matrix.ndim == 1
    matrix = matrix[:, None] if is_vector else matrix.T if transposed else matrix
    if matrix.ndim != 2 or matrix.shape[0] != value.shape[-1]:
        call.refuse("has weights of more than two dimensions")
    shift = np.zeros(matrix.shape[1]) if bias is None else np.broadcast_to(_to_float64(bias).ravel(), matrix.shape[1:])
    node = graph.nodes.add_dense(value.node, matrix, shift)
    shape = (*value.shape[:-1], *(() if is_vector else (matrix.shape[1],)))
    return Value(node=node, shape=shape, axis=0)


def _add(graph: Graph, call: Call) -> Value:
    return _add_scaled(graph, call, call.args["self"], call.args["other"], factor=float(call.args.get("alpha", 1)))


def _sub(graph: Graph, call: Call) -> Value:
    return _add_scaled(graph, call, call.args["self"], call.args["other"], factor=-float(call.args.get("alpha", 1)))


def _rsub(graph: Graph, call: Call) -> Value:
    return _add_scaled(graph, call, call.args["other"], call.args["self"], factor=-float(call.args.get("alpha", 1)))


def _neg(graph: Graph, call: Call) -> Value:
    value = call.value
    return value.with_node(graph.nodes.add_affine(value.node, -1.0, 0.0))


def _add_scaled(graph: Graph, call: Call, first: Any, second: Any, *, factor: float) -> Value:
    """Add ``first + factor * second``."""
    shape = call.shape or ()
    if isinstance(first, Value) and isinstance(second, Value):
        value, other = graph.broadcast(call, first, shape), graph.broadcast(call, second, shape)
        if value.axis != other.axis:
            call.refuse(_OTHER_ROWS)
        node = other.node if factor == 1 else graph.nodes.add_affine(other.node, factor, 0.0)
        return value.with_node(graph.nodes.add_sum([value.node, node]))
    if isinstance(first, Value):
        value = graph.broadcast(call, first, shape)
        node = graph.nodes.add_affine(value.node, 1.0, factor * graph.expand_constant(call, second, value))
        pattern = graph.patterns.get(first.node, ("", 0))
        if pattern[0] == "abs" and isinstance(second, (int, float)) and factor * second == 1:
            graph.patterns[node] = ("1 + abs", pattern[1])  # the divisor of a softsign
        return value.with_node(node)
    value = graph.broadcast(call, second, shape)
    return value.with_node(graph.nodes.add_affine(value.node, factor, graph.expand_constant(call, first, value)))


def _mul(graph: Graph, call: Call) -> Value:
    first, second = call.args["self"], call.args["other"]
    if _are_values(first, second):
        return _multiply_values(graph, call, first, second)
    value, number = (first, second) if isinstance(first, Value) else (second, first)
    value = graph.broadcast(call, value, call.shape or ())
    return value.with_node(graph.nodes.add_affine(value.node, graph.expand_constant(call, number, value), 0.0))


def _multiply_values(graph: Graph, call: Call, first: Value, second: Value) -> Value:
    """Add the product of two values if it is an activation: the square, or SiLU, which is x * sigmoid(x)."""
    for value, factor in ((first, second), (second, first)):
        if value.shape == factor.shape and value.axis == factor.axis:
            if value.node == factor.node:
                return _activate(graph, call, "square", value)
            if graph.patterns.get(factor.node) == ("sigmoid", value.node):
                return _activate(graph, call, "silu", value)
    return call.refuse("multiplies values that both depend on the inputs")


def _div(graph: Graph, call: Call) -> Value:
    first, second = call.args["self"], call.args["other"]
    if call.args.get("rounding_mode") is not None:
        call.refuse("has a rounding_mode")
    is_softsign = _are_values(first, second) and graph.patterns.get(second.node) == ("1 + abs", first.node)
    if is_softsign and first.shape == second.shape:
        return _activate(graph, call, "softsign", first)
    if isinstance(second, Value):
        call.refuse("divides by values that depend on the inputs")
    value = graph.broadcast(call, first, call.shape or ())
    return value.with_node(graph.nodes.add_affine(value.node, 1.0 / graph.expand_constant(call, second, value), 0.0))


def _batch_norm(graph: Graph, call: Call) -> Any:
    mean, variance = call.args["running_mean"], call.args["running_var"]
    value: Value = call.args["input"]
    if call.args.get("training") or mean is None or variance is None:
        call.refuse(_BATCH_STATISTICS)
    if value.axis != 0 or any(isinstance(statistic, Value) for statistic in (mean, variance)):
        call.refuse()
    # In evaluation mode it is affine: https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html
    deviation = np.sqrt(_to_float64(variance) + call.args["eps"])
    gain = (_to_float64(call.args["weight"]) if call.args["weight"] is not None else 1.0) / deviation
    shift = (_to_float64(call.args["bias"]) if call.args["bias"] is not None else 0.0) - _to_float64(mean) * gain
    repetitions = math.prod(value.shape[2:])  # a channel may have several values
    node = graph.nodes.add_affine(value.node, np.repeat(gain, repetitions), np.repeat(shift, repetitions))
    return (value.with_node(node), None, None)  # ATen also returns the statistics, which are not used


def _batch_norm_output(graph: Graph, call: Call) -> Any:
    return _batch_norm(graph, call)[0]


def _refuse_batch_statistics(graph: Graph, call: Call) -> Any:  # noqa: ARG001
    call.refuse(_BATCH_STATISTICS)


def _layer_norm(graph: Graph, call: Call) -> Value:
    value: Value = call.args["input"]
    shape = tuple(call.args["normalized_shape"])
    if value.axis != 0 or math.prod(shape) != math.prod(value.row_shape):
        call.refuse(_NOT_ALL_VALUES)
    return _add_norm(graph, call, value, shape)


def _group_norm(graph: Graph, call: Call) -> Value:
    value: Value = call.args["input"]
    # One group is a norm over all values of a row, with a weight for each channel instead of each value.
    if call.args["num_groups"] != 1 or value.axis != 0:
        call.refuse("has more than one group")
    return _add_norm(graph, call, value, (value.shape[1], *[1] * (len(value.shape) - 2)))


def _add_norm(graph: Graph, call: Call, value: Value, shape: tuple[int, ...]) -> Value:
    weight, bias = call.args["weight"], call.args["bias"]

    def expand(tensor: Any, default: float) -> Array:
        array = np.full(1, default) if tensor is None else _to_float64(tensor).reshape(shape)
        return np.array(np.broadcast_to(array, value.row_shape or (1,))).ravel()

    node = graph.nodes.add_norm(value.node, expand(weight, 1.0), expand(bias, 0.0), float(call.args["eps"]))
    return value.with_node(node)


def _reduce(graph: Graph, call: Call) -> Value:
    """Add the sum or the mean over some dimensions, as a dense layer with constant weights."""
    value = call.value
    count = len(value.shape)
    dims = call.args.get("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(count))
    reduced = {dim % count for dim in dims}
    if value.axis in reduced:
        call.refuse("is over the rows, which are predicted one by one")
    row_dims = [dim - (dim > value.axis) for dim in sorted(reduced)]
    indices = np.arange(math.prod(value.row_shape)).reshape(value.row_shape)
    # One line for each result, with the indices of the values that it reduces.
    size = math.prod(value.shape[dim] for dim in reduced)
    groups = np.moveaxis(indices, row_dims, range(-len(row_dims), 0)).reshape(-1, size)
    weights = np.zeros((indices.size, len(groups)))
    weights[groups, np.arange(len(groups))[:, None]] = 1.0 / size if call.name == "mean" else 1.0
    node = graph.nodes.add_dense(value.node, weights, np.zeros(len(groups)))
    axis = value.axis if call.args.get("keepdim") else value.axis - sum(dim < value.axis for dim in reduced)
    return Value(node=node, shape=call.shape or (), axis=axis)


def _pass_through(graph: Graph, call: Call) -> Value:  # noqa: ARG001
    value: Value = next(argument for argument in call.args.values() if isinstance(argument, Value))
    return value


def _nan_to_num(graph: Graph, call: Call) -> Value:
    value = float(call.args["nan"] or 0.0)
    if value not in graph.nan_replacements:
        graph.nan_replacements.append(value)
    # No node: a bundle replaces missing inputs before the network. See missing.find_imputation.
    return _pass_through(graph, call)


def _cast(graph: Graph, call: Call) -> Value:
    dtype = call.args.get("dtype")
    if dtype is not None and not dtype.is_floating_point:
        call.refuse("rounds to integers")
    if dtype in {torch.float16, torch.bfloat16}:
        call.refuse("rounds to half precision")
    return _pass_through(graph, call)


def _dropout(graph: Graph, call: Call) -> Value:
    if call.args.get("train", call.args.get("training")):
        call.refuse(_RANDOM)
    return _pass_through(graph, call)


def _refuse_random(graph: Graph, call: Call) -> Value:  # noqa: ARG001
    call.refuse(_RANDOM)


def _are_values(first: Any, second: Any) -> bool:
    return isinstance(first, Value) and isinstance(second, Value)


def _to_float64(tensor: torch.Tensor) -> Array:
    numbers: Array = tensor.detach().cpu().to(torch.float64).numpy()
    return numbers


_MOVE_OPERATORS = """
    alias atleast_2d broadcast_to cat chunk clone concat concatenate contiguous copy detach expand expand_as
    flatten flip hstack index index_select lift_fresh_copy movedim narrow permute ravel repeat reshape roll
    select select_scatter slice slice_scatter split split_with_sizes squeeze stack swapaxes t tensor_split
    transpose unbind unflatten unsqueeze view view_as _unsafe_view vstack _reshape_alias
"""

OPERATORS: Mapping[str, Callable[[Graph, Call], Any]] = MappingProxyType(
    {
        **dict.fromkeys(_MOVE_OPERATORS.split(), torch_graph.Graph.move_values),
        **{
            activation.aten: _make_activation_handler(name)
            for name, activation in ACTIVATIONS.items()
            if activation.aten
        },
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
        "batch_norm": _batch_norm_output,
        "_native_batch_norm_legit_no_training": _batch_norm,
        "_native_batch_norm_legit": _refuse_batch_statistics,
        "layer_norm": _layer_norm,
        "group_norm": _group_norm,
        "sum": _reduce,
        "mean": _reduce,
        "_to_copy": _cast,
        "to": _cast,
        "nan_to_num": _nan_to_num,
        "dropout": _dropout,
        "alpha_dropout": _dropout,
        "feature_dropout": _dropout,
        "feature_alpha_dropout": _dropout,
        "native_dropout": _refuse_random,
        "bernoulli": _refuse_random,
        "rand_like": _refuse_random,
    }
)
