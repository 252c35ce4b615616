"""Follow the graph that ``torch.export`` traces of a PyTorch module, node by node.

Tracing records what is computed, independent of how the module is written: functions, methods and submodules all become
ATen operators. Of ``torch.sigmoid(self.layer(x)).squeeze(1)``, for instance, the trace is

    linear = torch.ops.aten.linear.default(x, p_layer_weight, p_layer_bias)
    sigmoid = torch.ops.aten.sigmoid.default(linear)
    squeeze = torch.ops.aten.squeeze.dim(sigmoid, 1)

``Graph.trace`` calls the handler of each operator (``operators.OPERATORS``), which adds the nodes of a bundle's network
and returns the operator's result as a :class:`Value`: a node, and how its numbers are arranged as a tensor. A node
returns a number of values a row and has no other shape, so an operator that only rearranges them, like ``squeeze``,
needs no code of its own: see ``Graph.move_values``. The trace has a fixed number of rows, and an operator that mixes
rows is refused.

Traces are described in https://docs.pytorch.org/docs/stable/export.ir_spec.html.
"""

from __future__ import annotations

import dataclasses
import operator
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch

from builder import errors
from builder.export.pytorch import node_builder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from builder.export.conversion import Array

TRACE_ROWS = 11
"""Rows of the traced batch: a size that few layers have, so that the rows are not mistaken for another dimension."""
ADVICE = "see docs/export/predict-function.md"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor that depends on the inputs: the values of one node, for each row.

    With 11 rows and ``axis`` 0, shape (11, 3, 4) is a node of 12 values, in the order of ``reshape(11, 12)``.

    Attributes:
        node: Index of the node; -1 for the inputs.
        shape: Shape of the tensor.
        axis: The dimension that counts the rows; the others, in their order, hold the node's values.
    """

    node: int
    shape: tuple[int, ...]
    axis: int

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape without the rows."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    def with_node(self, node: int) -> Value:
        """Return the values of another node in this shape."""
        return dataclasses.replace(self, node=node)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operator in the graph.

    Attributes:
        name: ATen's name of the operator, without its overload.
        target: The operator.
        args: Its arguments by name, with defaults: each a ``Value``, a constant ``torch.Tensor``, or plain Python.
        shape: Shape of the result; None if there are several results.
        module: The class and the path of the module that makes the call.
    """

    name: str
    target: Any
    args: Mapping[str, Any]
    shape: tuple[int, ...] | None
    module: tuple[str, str]

    @property
    def value(self) -> Value:
        """The argument ``self``, for operators of one value."""
        value: Value = self.args["self"]
        return value

    def refuse(self, reason: str = "cannot be expressed in a bundle") -> NoReturn:
        """Raise an ``ExportError`` that names the operator and the module."""
        class_name, path = self.module
        location = f"`{path}`" if path else "the top of the model"
        short_name = class_name.rpartition(".")[2]
        # The user recognizes a torch.nn layer by its class, but their own module by the operator that it calls.
        part = short_name if class_name.startswith("torch.nn.") else f"`{self.name}` in {short_name}"
        raise errors.ExportError(f"{part} at {location} {reason}; {ADVICE}")


class Graph:
    """A traced module, and the network nodes that it becomes."""

    def __init__(self, inputs: int, operators: Mapping[str, Callable[[Graph, Call], Any]]) -> None:
        self.nodes = node_builder.NetworkBuilder(inputs)
        self.patterns: dict[int, tuple[str, int]] = {}
        """Nodes that may be a part of an activation that is written as a formula.

        After ``s = torch.sigmoid(x)``, the node of ``s`` has ``("sigmoid", node of x)``: ``x * s`` will become a SiLU.
        """
        self.nan_replacements: list[float] = []
        """The values that calls of ``nan_to_num`` put for NaN."""
        self._operators = operators

    def trace(self, module: torch.nn.Module, rows: torch.Tensor) -> list[Value]:
        """Trace a module, add its nodes, and return its outputs.

        Raises:
            errors.ExportError: The module cannot be traced, or has a part that cannot be expressed.
        """
        program = _export_program(module, rows)
        signature = program.graph_signature
        # A trace has all weights as arguments, before the input: this maps the names of their placeholders to those in
        # the state dict. A placeholder without one is the input.
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        names |= signature.inputs_to_lifted_tensor_constants
        constants = {**program.state_dict, **program.constants}
        results: dict[Any, Any] = {}
        outputs: list[Value] = []
        for node in program.graph.nodes:
            if node.op == "placeholder":
                results[node] = (
                    constants[names[node.name]].detach()
                    if node.name in names
                    else Value(node=-1, shape=tuple(rows.shape), axis=0)
                )
            elif node.op == "call_function":
                results[node] = self._convert_call(node, results)
            elif node.op == "output":
                user_outputs = {spec.arg.name for spec in signature.output_specs if spec.kind.name == "USER_OUTPUT"}
                # A module may also return what is not a tensor: (y, None), {"y": y, "count": 3}.
                nodes = [item for item in _flatten(node.args) if isinstance(item, torch.fx.Node)]
                outputs = [self._check_output(results[item]) for item in nodes if item.name in user_outputs]
        return outputs

    def broadcast(self, call: Call, value: Value, shape: tuple[int, ...]) -> Value:
        """Return a value broadcast to a shape.

        Raises:
            errors.ExportError: The rows would be broadcast too.
        """
        axis = value.axis + len(shape) - len(value.shape)  # broadcasting adds dimensions at the front
        if shape[axis] != TRACE_ROWS:
            call.refuse("mixes rows, which are predicted one by one")
        row_shape = shape[:axis] + shape[axis + 1 :]
        indices = np.arange(self.nodes.get_width(value.node)).reshape(value.row_shape)
        indices = np.broadcast_to(indices, row_shape).ravel()
        return Value(node=self.nodes.add_select(value.node, indices.tolist()), shape=shape, axis=axis)

    def expand_constant(self, call: Call, constant: Any, value: Value) -> Array:
        """Return a constant as one float64 number for each value of a row.

        Raises:
            errors.ExportError: The constant differs between rows.
        """
        array: Array = np.asarray(torch.as_tensor(constant).to(torch.float64))
        array = array.reshape((1,) * (len(value.shape) - array.ndim) + array.shape)
        if not (array == array.take([0], axis=value.axis)).all():
            call.refuse("has constants that differ between rows")
        row: Array = np.broadcast_to(array.take(0, axis=value.axis), value.row_shape).ravel().astype(np.float64)
        return row

    def move_values(self, call: Call) -> Any:
        """Return the result of an operator that only moves values (``cat``, ``view``, ``index``).

        The operator itself is run on tensors that number the values, and the numbers in its result show where each
        value went, so that these operators need no implementation of their own. If row r of the input holds the numbers
        3r, 3r + 1 and 3r + 2, and row r of ``flip(x, [1])`` holds 3r + 2, 3r + 1 and 3r, the result is the node that
        selects the values 2, 1 and 0.

        Raises:
            errors.ExportError: The operator mixes rows, or inserts constants.
        """
        flat = list(_flatten(list(call.args.values())))
        values = [item for item in flat if isinstance(item, Value)]
        if any(isinstance(item, torch.Tensor) and item.is_floating_point() for item in flat):
            call.refuse("puts constants among the values that depend on the inputs")
        # With several values, as in a `cat`, each has its own range of numbers; `starts` ends with their total.
        starts = np.cumsum([0, *(self.nodes.get_width(value.node) for value in values)])
        numbers = {
            id(value): _number_values(value, int(start), int(starts[-1]))
            for value, start in zip(values, starts[:-1], strict=True)
        }
        arguments = {name: _substitute(argument, numbers) for name, argument in call.args.items()}
        result = call.target(**arguments)
        if isinstance(result, torch.Tensor):
            return self._decode(call, result, values, starts)
        return [self._decode(call, item, values, starts) for item in result]

    def _decode(self, call: Call, result: torch.Tensor, values: Sequence[Value], starts: Any) -> Value:
        """Return the value that a tensor of numbers from ``_number_values`` represents."""
        numbers = result.numpy()
        rows, indices = np.divmod(numbers, int(starts[-1]))
        # The axis of the rows is the one along which they are 0, 1, 2, ...; then a row has only values of its own.
        for axis in range(numbers.ndim):
            expected = np.arange(TRACE_ROWS).reshape([-1 if other == axis else 1 for other in range(numbers.ndim)])
            if numbers.shape[axis] == TRACE_ROWS and (rows == expected).all():
                break
        else:
            call.refuse("mixes rows, which are predicted one by one")
        # All rows must be rearranged in the same way: `x.diagonal()`, for instance, takes another value of each.
        if not (indices == indices.take([0], axis=axis)).all():
            call.refuse("mixes rows, which are predicted one by one")
        flat = indices.take(0, axis=axis).ravel()
        # Concatenate only the values that occur in the result, and count from the first of them.
        owners = np.searchsorted(starts, flat, side="right") - 1
        used = sorted(set(owners.tolist()))
        source = self.nodes.add_concat([values[owner].node for owner in used])
        widths = [starts[owner + 1] - starts[owner] for owner in used]
        offsets = dict(zip(used, np.cumsum([0, *widths]), strict=False))
        selected = [int(index - starts[owner] + offsets[owner]) for index, owner in zip(flat, owners, strict=True)]
        return Value(node=self.nodes.add_select(source, selected), shape=numbers.shape, axis=axis)

    def _convert_call(self, node: Any, results: Mapping[Any, Any]) -> Any:
        if node.target is operator.getitem:
            return results[node.args[0]][node.args[1]]
        schema = getattr(node.target, "_schema", None)  # a plain Python function has none
        # The modules whose forward is running, from the whole model to the innermost.
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, kind = stack[-1] if stack else ("", "the model")
        meta_value = node.meta.get("val")  # the result during the trace: a tensor with a shape but without numbers
        call = Call(
            name=schema.name.partition("::")[2] if schema else str(node.target),
            target=node.target,
            args=_bind_arguments(node, schema, results),
            shape=tuple(meta_value.shape) if isinstance(meta_value, torch.Tensor) else None,
            module=(kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}", path),
        )
        # torch.export adds checks of shapes and types, which have no result.
        if call.name.startswith(("_assert", "sym_constrain")):
            return None
        # An operator of constants alone, such as a weight_norm, is computed here and becomes a constant.
        if not any(isinstance(item, Value) for item in _flatten(list(call.args.values()))):
            with torch.no_grad():
                return node.target(**call.args)
        handler = self._operators.get(call.name)
        return handler(self, call) if handler else call.refuse()

    def _check_output(self, value: Any) -> Value:
        if isinstance(value, Value):
            return value
        raise errors.ExportError(f"the model returns a constant, which does not depend on its inputs; {ADVICE}")


def _export_program(module: torch.nn.Module, rows: torch.Tensor) -> Any:
    """Return the traced program in functional form: no operator writes to its arguments."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # PyTorch warns about its own parts
            # An empty table: no operator is decomposed; it only replaces in-place operators with functional ones.
            return torch.export.export(module, (rows,)).run_decompositions({})
    except Exception as error:  # tracing runs the user's code, which may raise anything
        message = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
        raise errors.ExportError(
            f"{type(module).__name__} cannot be traced by torch.export ({message}); {ADVICE}"
        ) from error


def _bind_arguments(node: Any, schema: Any, results: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a call's arguments by name, with defaults."""
    if schema is None:
        return {str(index): _resolve(argument, results) for index, argument in enumerate(node.args)}
    bound = {}
    for index, parameter in enumerate(schema.arguments):
        if index < len(node.args) and not parameter.kwarg_only:
            bound[parameter.name] = _resolve(node.args[index], results)
        elif parameter.name in node.kwargs:
            bound[parameter.name] = _resolve(node.kwargs[parameter.name], results)
        elif parameter.has_default_value():
            bound[parameter.name] = parameter.default_value
    return bound


def _resolve(argument: Any, results: Mapping[Any, Any]) -> Any:
    """Return an argument with the graph's nodes in it replaced with their results."""
    if isinstance(argument, (list, tuple)):
        return [_resolve(item, results) for item in argument]
    return results[argument] if isinstance(argument, torch.fx.Node) else argument


def _substitute(argument: Any, numbers: Mapping[int, torch.Tensor]) -> Any:
    """Return an argument with each ``Value`` in it replaced with the tensor that numbers its values."""
    if isinstance(argument, list):
        return [_substitute(item, numbers) for item in argument]
    return numbers[id(argument)] if isinstance(argument, Value) else argument


def _number_values(value: Value, start: int, total: int) -> torch.Tensor:
    """Return a tensor of the value's shape that numbers its values: ``row * total + start + index in the row``."""
    columns = start + np.arange(int(np.prod(value.row_shape, dtype=np.int64)))
    numbers = np.arange(TRACE_ROWS)[:, None] * total + columns
    numbers = np.moveaxis(numbers.reshape((TRACE_ROWS, *value.row_shape)), 0, value.axis)
    return torch.from_numpy(np.ascontiguousarray(numbers))


def _flatten(tree: Any) -> Iterator[Any]:
    """Yield the items of nested lists, tuples and dicts."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for item in tree:
            yield from _flatten(item)
    else:
        yield tree
