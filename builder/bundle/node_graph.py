"""Checks a graph of nodes in ``bundle.json`` against its arrays, and builds it.

The entries of a list are the nodes of a directed graph: each takes the result of earlier nodes (``nodes`` describes an
entry). For three inputs, a residual block, whose last layer sums up both ways to one prediction, is

    "layers": [{"activation": "relu"}, {"op": "sum", "from": [0, -1]}, {"activation": "identity"}]
    "arrays": {"w0": float32 (3, 3), "b0": (3,), "w2": (3, 1), "b2": (1,)}

How many values a row a node returns (its width) follows from the shapes of its arrays, here 3, 3 and 1, so the widths
are computed from the first node to the last, and a node whose width is unknown (unknown op, missing array) leaves only
its own followers unchecked.

A bundle is checked in two steps, which are the public methods: ``find_problems`` before anything is read but
``bundle.json``, with the arrays as it declares them (``declared``), and ``find_value_problems`` with the numbers
(``arrays``). In a dimension of an array's shape, ``in`` and ``out`` are the node's widths; see ``definitions.Array``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from builder import schema
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle import nodes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.bundle.storage import tensors
    from builder.inside.predict.definitions import Array

DIVERGED = "export a model whose training has not diverged"


@dataclass(frozen=True, kw_only=True)
class NodeGraph:
    """A graph of nodes as a list of entries in ``bundle.json``.

    Attributes:
        entries: The entries, as read from JSON; they may be invalid.
        path: Key path of the list: ``("layers",)``.
        prefix: Prefix of the names of the arrays.
        inputs: Values a row that the graph takes; None if unknown because of another problem.
        source_text: Where that number comes from, for messages: ``3 features and 0 benchmarks make 3 inputs``.
        source_path: Key path that decides it.
        outputs: Values a row that the last node must return; None if any number is valid.
    """

    entries: Sequence[Mapping[str, object]]
    path: schema.KeyPath
    prefix: str = ""
    inputs: int | None
    source_text: str
    source_path: schema.KeyPath
    outputs: int | None = 1

    def list_array_names(self) -> list[str]:
        """List the names of the arrays that the graph must have."""
        return [name for index, _ in enumerate(self.entries) for name in self._name_arrays(index)]

    def find_problems(self, declared: Mapping[str, tensors.ArraySpec]) -> list[schema.Problem]:
        """Find the problems of the entries, and of the dtypes and shapes of the declared arrays."""
        problems = []
        taken: set[int] = set()
        for index, entry in enumerate(self.entries):
            arguments = nodes.read_entry(entry, index)
            if isinstance(arguments, list):
                problems += [schema.Problem(path=(*self.path, index), text=text) for text in arguments]
            taken |= set(_read_sources(entry, index))
        for index in range(len(self.entries) - 1):  # the last one's result is that of the graph
            if index not in taken:
                text = "no other node takes its result; remove the node, or list it in the `from` of a later one"
                problems.append(schema.Problem(path=(*self.path, index), text=text))
        return problems + self._find_shape_problems(declared)

    def compute_width(self, declared: Mapping[str, tensors.ArraySpec]) -> int | None:
        """Compute how many values a row the graph returns; None if a problem hides it."""
        return self._compute_widths(declared)[len(self.entries) - 1]

    def find_value_problems(
        self, declared: Mapping[str, tensors.ArraySpec], arrays: Mapping[str, bundle_model.Numbers]
    ) -> list[str]:
        """Find the invalid numbers in ``arrays``, which may be fewer than the declared ones."""
        widths = self._compute_widths(declared)
        problems = []
        for index, entry in enumerate(self.entries):
            for name, part in self._name_arrays(index).items():
                if name not in arrays:
                    continue
                array = arrays[name]
                if part.is_index:
                    # Without a width, as after another problem, an index may be any that an int32 holds.
                    width = widths[_read_sources(entry, index)[0]]
                    last_index = np.iinfo(np.int32).max if width is None else width - 1
                    fix = f"expected an index from 0 to {last_index:,} of the values that the node takes"
                    problems += bundle_header.find_bad_values(name, array, (array < 0) | (array > last_index), fix)
                else:
                    problems += _find_value_problems(name, part, array)
        return problems

    def build_nodes(self, arrays: Mapping[str, bundle_model.Numbers]) -> tuple[bundle_model.Node, ...]:
        """Build the nodes.

        Raises:
            TypeError: An entry is invalid; ``find_problems`` was not called, or its result was ignored.
        """
        built = []
        for index, entry in enumerate(self.entries):
            arguments = nodes.read_entry(entry, index)
            if isinstance(arguments, list):
                raise TypeError(arguments[0])
            node_arrays = {array.name: arrays[name] for name, array in self._name_arrays(index).items()}
            built.append(bundle_model.Node(arrays=node_arrays, **arguments))
        return tuple(built)

    def _name_arrays(self, index: int) -> dict[str, Array]:
        """Return the arrays of a node by their names in the bundle; empty if its op is unknown."""
        operator = nodes.find_operator(self.entries[index])
        return {array.key(self.prefix, index): array for array in operator.arrays} if operator else {}

    def _compute_widths(self, declared: Mapping[str, tensors.ArraySpec]) -> dict[int, int | None]:
        """Compute each node's width; -1 is the graph's input, None an unknown width."""
        widths = {-1: self.inputs}
        for index, entry in enumerate(self.entries):
            operator = nodes.find_operator(entry)
            counts: dict[str, int] = {}
            # Reversed, so that of several arrays with one dimension the first decides: messages are about the others.
            for name, array in reversed(self._name_arrays(index).items()):
                if name in declared and len(declared[name].shape) == len(array.shape):
                    counts |= zip(array.shape, declared[name].shape, strict=True)
            values_per_row = [widths.get(source) for source in _read_sources(entry, index)]
            widths[index] = operator.compute_width(values_per_row, counts) if operator else None
        return widths

    def _find_shape_problems(self, declared: Mapping[str, tensors.ArraySpec]) -> list[schema.Problem]:
        widths = self._compute_widths(declared)
        problems = []
        for index, entry in enumerate(self.entries):
            operator = nodes.find_operator(entry)
            if operator is None:
                continue
            sources = _read_sources(entry, index)
            if operator.arity == "same_width":
                problems += self._find_width_conflicts(index, sources, widths, declared)
            # Sizes by the dimension's name, each with the text of where it comes from: the first to have it decides.
            dimensions: dict[str, tuple[int, str]] = {}
            width = widths.get(sources[0])
            if width is not None:
                dimensions["in"] = (width, self._describe_source(sources[0], width, declared))
            for name, array in self._name_arrays(index).items():
                if name in declared:
                    problems += self._find_array_problems(name, array, declared[name], dimensions, sources[0])
        values_per_row = widths[len(self.entries) - 1]
        if self.outputs is not None and values_per_row is not None and values_per_row != self.outputs:
            problems.append(self._describe_output_problem(values_per_row, declared))
        return problems

    def _find_array_problems(
        self, name: str, part: Array, spec: tensors.ArraySpec, dimensions: dict[str, tuple[int, str]], source: int
    ) -> list[schema.Problem]:
        """Find the problems of one array's dtype and shape, and add its dimensions to ``dimensions``."""
        problems = []
        if (spec.dtype != "int32") if part.is_index else (not spec.dtype.startswith("float")):
            expected = "int32" if part.is_index else "float32 or float64"
            problems.append(schema.Problem(path=("arrays", name, "dtype"), text=f"{spec.dtype}; expected {expected}"))
        shape_path: schema.KeyPath = ("arrays", name, "shape")
        if len(spec.shape) != len(part.shape):
            expected = (
                "(inputs, outputs)"
                if part.shape == ("in", "out")
                else f"({', '.join(part.shape)}{',' * (len(part.shape) == 1)})"
            )
            return [*problems, schema.Problem(path=shape_path, text=f"{spec.shape}; expected {expected}")]
        for dimension, count in zip(part.shape, spec.shape, strict=True):
            expected_count, source_text = dimensions.get(dimension, (count, ""))
            if expected_count == count:
                dimensions.setdefault(dimension, (count, f"{name} {spec.shape}"))
            elif dimension == "in" and source == -1:
                # Either may be wrong, and users know their features better than an array: report it there.
                text = f"{source_text}, but {name} {spec.shape} takes {count:,}; make them agree"
                problems.append(schema.Problem(path=self.source_path, text=text))
            elif dimension == "in":
                what = "rows" if part.shape == ("in", "out") else "values"
                text = f"{source_text} does not fit {name} {spec.shape}; expected {expected_count:,} {what} in {name}"
                problems.append(schema.Problem(path=shape_path, text=text))
            else:
                expected = f"({expected_count},)" if len(part.shape) == 1 else f"{expected_count:,}"
                text = f"{spec.shape} does not fit {source_text}; expected {expected}"
                problems.append(schema.Problem(path=shape_path, text=text))
        return problems

    def _find_width_conflicts(
        self,
        index: int,
        sources: Sequence[int],
        widths: Mapping[int, int | None],
        declared: Mapping[str, tensors.ArraySpec],
    ) -> list[schema.Problem]:
        known = [(source, width) for source in sources if (width := widths.get(source)) is not None]
        if len({width for _, width in known}) < 2:
            return []
        text = "; ".join(dict.fromkeys(self._describe_source(source, width, declared) for source, width in known))
        return [schema.Problem(path=(*self.path, index), text=f"a sum of different widths: {text}; make them agree")]

    def _describe_output_problem(
        self, values_per_row: int, declared: Mapping[str, tensors.ArraySpec]
    ) -> schema.Problem:
        index = len(self.entries) - 1  # -1 for an empty graph, which returns its inputs
        name = f"{self.prefix}w{index}"
        expected = f"expected {self.outputs:,} from the last layer"
        if index >= 0 and "op" not in self.entries[index] and name in declared:
            text = f"{declared[name].shape} returns {values_per_row:,} values a row; {expected}"
            return schema.Problem(path=("arrays", name, "shape"), text=text)
        path = (*self.path, index) if index >= 0 else self.source_path
        return schema.Problem(path=path, text=f"returns {values_per_row:,} values a row; {expected}")

    def _describe_source(self, source: int, width: int, declared: Mapping[str, tensors.ArraySpec]) -> str:
        """Describe what a node takes its values from; for a dense layer, its weights, which users know by shape."""
        if source == -1:
            return self.source_text
        name = f"{self.prefix}w{source}"
        if "op" not in self.entries[source] and name in declared:
            return f"{name} {declared[name].shape}"
        return f"{self.path[-1]}.{source} ({self.entries[source].get('op', 'dense')}, {width:,} values)"


def _read_sources(entry: Mapping[str, object], index: int) -> tuple[int, ...]:
    """Return the sources of an entry that may be invalid; what is not the index of an earlier node is skipped.

    ``nodes.read_entry`` reports what is skipped here.
    """
    sources = entry.get("from")
    if not isinstance(sources, (list, tuple)):
        return (index - 1,)
    # bool is a subclass of int, so `isinstance` would accept true.
    return tuple(source for source in sources if type(source) is int and -1 <= source < index) or (index - 1,)


def _find_value_problems(name: str, part: Array, array: bundle_model.Numbers) -> list[str]:
    """Find the invalid numbers of an array of floats."""
    problems = bundle_header.find_bad_values(name, array, ~np.isfinite(array), DIVERGED)
    if part.is_sorted:
        falls = np.zeros(array.shape, dtype=bool)
        falls[1:] = np.diff(array, axis=0) < 0
        problems += bundle_header.find_bad_values(
            name, array, falls, "expected each value to be at least the one before it"
        )
    if part.is_fraction:
        problems += bundle_header.find_bad_values(
            name, array, (array < 0) | (array > 1), "expected a fraction from 0 to 1"
        )
    if part.is_divisor:
        problems += bundle_header.find_bad_values(name, array, array == 0, "expected no zeros: the array is a divisor")
    return problems
