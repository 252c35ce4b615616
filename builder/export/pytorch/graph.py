"""A PyTorch module's graph, as ``torch.export`` traces it, followed node by node.

What is traced is what is computed, whatever the module's attributes are called: functions, methods and modules alike
come out as ATen operators. They are traced on a fixed number of rows, and what mixes rows is refused.
"""

from __future__ import annotations

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

ROWS = 11
"""Rows it is traced on."""
WAY_OUT = "export a function that predicts with it, as docs/export/custom.md shows"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor that depends on the inputs: a node's values, row by row.

    Attributes:
        place: Of the node.
        shape: The tensor's.
        axis: Which of its dimensions counts the rows; the others, in their order, hold the node's values.
    """

    place: int
    shape: tuple[int, ...]
    axis: int

    @property
    def rest(self) -> tuple[int, ...]:
        """The dimensions beside the rows."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One operator of the graph.

    Attributes:
        name: ATen's name of it, without overload.
        target: The operator.
        given: Its arguments by name, defaults too: ``Value``, a constant ``torch.Tensor``, or plain Python.
        shape: Of its result; None where it has several.
        module: The class and the path of the module that it is called in.
    """

    name: str
    target: Any
    given: Mapping[str, Any]
    shape: tuple[int, ...] | None
    module: tuple[str, str]

    def refuse(self, why: str = "cannot be expressed in a bundle") -> NoReturn:
        """Raise the error that names the part."""
        kind, path = self.module
        at = f"`{path}`" if path else "the top of the model"
        called = kind.rpartition(".")[2]
        # A part of PyTorch is known by its own name, what somebody wrote by the operator that it calls.
        named = called if kind.startswith("torch.nn.") else f"`{self.name}` in {called}"
        raise errors.ExportError(f"{named} at {at} {why}; {WAY_OUT}")


class Graph:
    """A traced module, and the nodes that it becomes."""

    def __init__(self, inputs: int, operators: Mapping[str, Callable[[Graph, Call], Any]]) -> None:
        self.nodes = node_builder.Builder(inputs)
        self.notes: dict[int, tuple[str, int]] = {}
        """What a node is to those that know a pattern: a word, and the place of what it was made of."""
        self.nan_values: list[float] = []
        """What its calls of ``nan_to_num`` put where they find a NaN."""
        self._operators = operators

    def follow(self, module: torch.nn.Module, rows: torch.Tensor) -> list[Value]:
        """Return the values that come out.

        Raises:
            errors.ExportError: It cannot be traced, or has a part that cannot be expressed.
        """
        program = _exported(module, rows)
        signature = program.graph_signature
        held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        constants = {**program.state_dict, **program.constants}
        held |= signature.inputs_to_lifted_tensor_constants
        known: dict[Any, Any] = {}
        found: list[Value] = []
        for node in program.graph.nodes:
            if node.op == "placeholder":
                known[node] = (
                    constants[held[node.name]].detach()
                    if node.name in held
                    else Value(place=-1, shape=tuple(rows.shape), axis=0)
                )
            elif node.op == "call_function":
                known[node] = self._call(node, known)
            elif node.op == "output":
                results = {spec.arg.name for spec in signature.output_specs if spec.kind.name == "USER_OUTPUT"}
                # Beside nodes there may be what a module gives that is no tensor: (y, None), {"y": y, "count": 3}.
                nodes = [one for one in _flat(node.args) if isinstance(one, torch.fx.Node)]
                found = [self._result(known[one]) for one in nodes if one.name in results]
        return found

    def like(self, value: Value, place: int) -> Value:
        """Return a node's values in the shape of others."""
        return Value(place=place, shape=value.shape, axis=value.axis)

    def spread(self, call: Call, value: Value, shape: tuple[int, ...]) -> Value:
        """Return a value broadcast to a shape.

        Raises:
            errors.ExportError: The rows would not stay rows.
        """
        axis = value.axis + len(shape) - len(value.shape)
        if shape[axis] != ROWS:
            call.refuse("mixes rows, which are predicted one by one")
        rest = shape[:axis] + shape[axis + 1 :]
        places = np.broadcast_to(np.arange(self.nodes.width(value.place)).reshape(value.rest), rest)
        return Value(place=self.nodes.select(value.place, places.ravel().tolist()), shape=shape, axis=axis)

    def constant(self, call: Call, number: Any, like: Value) -> Array:
        """Return a constant as one number for each value of a row.

        Raises:
            errors.ExportError: It differs between rows.
        """
        array: Array = np.asarray(torch.as_tensor(number).to(torch.float64))
        array = array.reshape((1,) * (len(like.shape) - array.ndim) + array.shape)
        if not (array == array.take([0], axis=like.axis)).all():
            call.refuse("has constants that differ between rows")
        flat: Array = np.broadcast_to(array.take(0, axis=like.axis), like.rest).ravel().astype(np.float64)
        return flat

    def moved(self, call: Call) -> Any:
        """Return the result of an operator that moves values about: what it does to their numbers, it does to them."""
        values = [one for one in _flat(list(call.given.values())) if isinstance(one, Value)]
        if any(isinstance(one, torch.Tensor) and one.is_floating_point() for one in _flat(list(call.given.values()))):
            call.refuse("puts constants among the values that depend on the inputs")
        starts = np.cumsum([0, *(self.nodes.width(value.place) for value in values)])
        numbers = {
            id(value): _numbers(value, int(start), int(starts[-1]))
            for value, start in zip(values, starts[:-1], strict=True)
        }
        given = {name: _replaced(one, numbers) for name, one in call.given.items()}
        result = call.target(**given)
        if isinstance(result, torch.Tensor):
            return self._decoded(call, result, values, starts)
        return [self._decoded(call, one, values, starts) for one in result]

    def _decoded(self, call: Call, result: torch.Tensor, values: Sequence[Value], starts: Any) -> Value:
        """Return the value that a tensor of numbers stands for."""
        numbers = result.numpy()
        rows, places = np.divmod(numbers, int(starts[-1]))
        for axis in range(numbers.ndim):
            wanted = np.arange(ROWS).reshape([-1 if one == axis else 1 for one in range(numbers.ndim)])
            if numbers.shape[axis] == ROWS and (rows == wanted).all():
                break
        else:
            call.refuse("mixes rows, which are predicted one by one")
        flat = places.take(0, axis=axis).ravel()
        if not (places == places.take([0], axis=axis)).all():
            call.refuse("mixes rows, which are predicted one by one")
        used = [place for place in range(len(values)) if ((flat >= starts[place]) & (flat < starts[place + 1])).any()]
        source = self.nodes.concat([values[place].place for place in used])
        begins = dict(zip(used, np.cumsum([0, *(starts[place + 1] - starts[place] for place in used)]), strict=False))
        owner = np.searchsorted(starts, flat, side="right") - 1
        chosen = [int(place - starts[one] + begins[one]) for place, one in zip(flat, owner, strict=True)]
        return Value(place=self.nodes.select(source, chosen), shape=numbers.shape, axis=axis)

    def _call(self, node: Any, known: Mapping[Any, Any]) -> Any:
        if node.target is operator.getitem:
            return known[node.args[0]][node.args[1]]
        schema = getattr(node.target, "_schema", None)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, kind = stack[-1] if stack else ("", "the model")
        val = node.meta.get("val")
        call = Call(
            name=schema.name.partition("::")[2] if schema else str(node.target),
            target=node.target,
            given=_arguments(node, schema, known),
            shape=tuple(val.shape) if isinstance(val, torch.Tensor) else None,
            module=(kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}", path),
        )
        if call.name.startswith(("_assert", "sym_constrain")):
            return None
        if not any(isinstance(one, Value) for one in _flat(list(call.given.values()))):
            with torch.no_grad():
                return node.target(**call.given)
        handler = self._operators.get(call.name)
        return handler(self, call) if handler else call.refuse()

    def _result(self, value: Any) -> Value:
        if isinstance(value, Value):
            return value
        raise errors.ExportError(f"the model gives a constant, which does not depend on its inputs; {WAY_OUT}")


def _exported(module: torch.nn.Module, rows: torch.Tensor) -> Any:
    """Return the program: functions alone, no operator that writes to what it is given."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of PyTorch about its own parts
            return torch.export.export(module, (rows,)).run_decompositions({})
    except Exception as error:
        # Whatever the user's own code does while it is traced, and what torch.export says of it, comes out here.
        said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
        raise errors.ExportError(
            f"{type(module).__name__} cannot be traced by torch.export ({said}); {WAY_OUT}"
        ) from error


def _arguments(node: Any, schema: Any, known: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a call's arguments by name, defaults too."""
    if schema is None:
        return {str(place): _looked_up(one, known) for place, one in enumerate(node.args)}
    given = {}
    for place, argument in enumerate(schema.arguments):
        if place < len(node.args) and not argument.kwarg_only:
            given[argument.name] = _looked_up(node.args[place], known)
        elif argument.name in node.kwargs:
            given[argument.name] = _looked_up(node.kwargs[argument.name], known)
        elif argument.has_default_value():
            given[argument.name] = argument.default_value
    return given


def _looked_up(one: Any, known: Mapping[Any, Any]) -> Any:
    if isinstance(one, (list, tuple)):
        return [_looked_up(inner, known) for inner in one]
    return known[one] if isinstance(one, torch.fx.Node) else one


def _replaced(one: Any, numbers: Mapping[int, torch.Tensor]) -> Any:
    if isinstance(one, list):
        return [_replaced(inner, numbers) for inner in one]
    return numbers[id(one)] if isinstance(one, Value) else one


def _numbers(value: Value, start: int, total: int) -> torch.Tensor:
    """Return a tensor of the value's shape: in each place the row, and which value of how many it is."""
    columns = start + np.arange(int(np.prod(value.rest, dtype=np.int64)))
    ids = np.arange(ROWS)[:, None] * total + columns
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(ids.reshape((ROWS, *value.rest)), 0, value.axis)))


def _flat(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for one in tree:
            yield from _flat(one)
    else:
        yield tree
