"""A list of nodes where it stands in ``bundle.json``: over how many inputs, under which names, and all its faults."""

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
    """A list of nodes.

    Attributes:
        entries: As ``bundle.json`` has them.
        path: Where they stand in it: ``("layers",)``.
        prefix: Before the names of their arrays.
        inputs: How many values a row the list is given; None where that cannot be told.
        said: What gives so many: ``3 features and 0 benchmarks make 3 inputs``.
        said_at: Where in ``bundle.json`` that is decided.
        outputs: How many values a row its last node must give; None where any number will do.
    """

    entries: Sequence[Mapping[str, object]]
    path: schema.KeyPath
    prefix: str = ""
    inputs: int | None
    source_text: str
    source_path: schema.KeyPath
    outputs: int | None = 1

    def list_array_names(self) -> list[str]:
        """Return the names of the arrays that the list must have."""
        return [name for index, _ in enumerate(self.entries) for name in self._name_arrays(index)]

    def find_problems(self, declared: Mapping[str, tensors.ArraySpec]) -> list[schema.Problem]:
        """Return what is wrong with the entries, and with the types and shapes of those arrays that are declared."""
        problems = []
        taken: set[int] = set()
        for index, entry in enumerate(self.entries):
            read = nodes.read_entry(entry, index)
            if isinstance(read, list):
                problems += [schema.Problem(path=(*self.path, index), text=text) for text in read]
            taken |= set(_read_sources(entry, index))
        for index in range(len(self.entries) - 1):
            if index not in taken:
                text = "nothing takes its result; take it out, or name it in the `from` of a later one"
                problems.append(schema.Problem(path=(*self.path, index), text=text))
        return problems + self._find_shape_problems(declared)

    def compute_width(self, declared: Mapping[str, tensors.ArraySpec]) -> int | None:
        """Return how many values a row the list gives; None where that cannot be told."""
        return self._compute_widths(declared)[len(self.entries) - 1]

    def find_value_problems(
        self, declared: Mapping[str, tensors.ArraySpec], arrays: Mapping[str, bundle_model.Numbers]
    ) -> list[str]:
        """Return what is wrong with the numbers of those arrays that could be read."""
        widths = self._compute_widths(declared)
        problems = []
        for index, entry in enumerate(self.entries):
            for name, part in self._name_arrays(index).items():
                if name not in arrays:
                    continue
                array = arrays[name]
                if part.is_index:
                    width = widths[_read_sources(entry, index)[0]]
                    most = np.iinfo(np.int32).max if width is None else width - 1
                    cure = f"expected from 0 to {most:,}: an index of the values that it takes"
                    problems += bundle_header.find_bad_values(name, array, (array < 0) | (array > most), cure)
                else:
                    problems += _find_value_problems(name, part, array)
        return problems

    def build_nodes(self, arrays: Mapping[str, bundle_model.Numbers]) -> tuple[bundle_model.Node, ...]:
        """Return the nodes, all being without fault."""
        made = []
        for index, entry in enumerate(self.entries):
            read = nodes.read_entry(entry, index)
            if isinstance(read, list):  # faults() has said so
                raise TypeError(read[0])
            own = {array.name: arrays[name] for name, array in self._name_arrays(index).items()}
            made.append(bundle_model.Node(arrays=own, **read))
        return tuple(made)

    def _name_arrays(self, index: int) -> dict[str, Array]:
        """Return the arrays of the node at an index by their names in the bundle; none if its op is unknown."""
        operator = nodes.find_operator(self.entries[index])
        return {array.key(self.prefix, index): array for array in operator.arrays} if operator else {}

    def _compute_widths(self, declared: Mapping[str, tensors.ArraySpec]) -> dict[int, int | None]:
        """Return how many values a row each node gives, -1 being what the list is given; None where none can tell."""
        widths = {-1: self.inputs}
        for index, entry in enumerate(self.entries):
            operator = nodes.find_operator(entry)
            counts: dict[str, int] = {}
            for name, array in reversed(self._name_arrays(index).items()):  # the first of several decides
                if name in declared and len(declared[name].shape) == len(array.shape):
                    counts |= zip(array.shape, declared[name].shape, strict=True)
            given = [widths.get(source) for source in _read_sources(entry, index)]
            widths[index] = operator.compute_width(given, counts) if operator else None
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
            known: dict[str, tuple[int, str]] = {}
            width = widths.get(sources[0])
            if width is not None:
                known["in"] = (width, self._describe_source(sources[0], width, declared))
            for name, array in self._name_arrays(index).items():
                if name in declared:
                    problems += self._find_array_problems(name, array, declared[name], known, sources[0])
        given = widths[len(self.entries) - 1]
        if self.outputs is not None and given is not None and given != self.outputs:
            problems.append(self._describe_output_problem(given, declared))
        return problems

    def _find_array_problems(
        self, name: str, part: Array, one: tensors.ArraySpec, known: dict[str, tuple[int, str]], source: int
    ) -> list[schema.Problem]:
        """Return what is wrong with one array's type and shape; note its dimensions for those that come after it."""
        problems = []
        if (one.dtype != "int32") if part.is_index else (not one.dtype.startswith("float")):
            needed = "int32" if part.is_index else "float32 or float64"
            problems.append(schema.Problem(path=("arrays", name, "dtype"), text=f"{one.dtype}; expected {needed}"))
        at: schema.KeyPath = ("arrays", name, "shape")
        if len(one.shape) != len(part.shape):
            needed = (
                "(inputs, outputs)"
                if part.shape == ("in", "out")
                else f"({', '.join(part.shape)}{',' * (len(part.shape) == 1)})"
            )
            return [*problems, schema.Problem(path=at, text=f"{one.shape}; expected {needed}")]
        for dimension, count in zip(part.shape, one.shape, strict=True):
            wanted, source_text = known.get(dimension, (count, ""))
            if wanted == count:
                known.setdefault(dimension, (count, f"{name} {one.shape}"))
            elif dimension == "in" and source == -1:
                text = f"{source_text}, but {name} {one.shape} takes {count:,}; make them agree"
                problems.append(schema.Problem(path=self.source_path, text=text))
            elif dimension == "in":
                what = "rows" if part.shape == ("in", "out") else "values"
                text = f"{source_text} to {name} {one.shape} does not chain; {name} needs {wanted:,} {what}"
                problems.append(schema.Problem(path=at, text=text))
            else:
                needed = f"({wanted},)" if len(part.shape) == 1 else f"{wanted:,}"
                problems.append(schema.Problem(path=at, text=f"{one.shape} beside {source_text}; expected {needed}"))
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
        return [schema.Problem(path=(*self.path, index), text=f"a sum of unlike widths: {text}; make them agree")]

    def _describe_output_problem(self, given: int, declared: Mapping[str, tensors.ArraySpec]) -> schema.Problem:
        last = len(self.entries) - 1
        name = f"{self.prefix}w{last}"
        wanted = f"the last layer gives {self.outputs:,}"
        if last >= 0 and "op" not in self.entries[last] and name in declared:
            text = f"{declared[name].shape} gives {given:,} values a row; {wanted}"
            return schema.Problem(path=("arrays", name, "shape"), text=text)
        at = (*self.path, last) if last >= 0 else self.source_path
        return schema.Problem(path=at, text=f"gives {given:,} values a row; {wanted}")

    def _describe_source(self, source: int, width: int, declared: Mapping[str, tensors.ArraySpec]) -> str:
        """Return who gives so many values: for a dense layer, its weights."""
        if source == -1:
            return self.source_text
        name = f"{self.prefix}w{source}"
        if "op" not in self.entries[source] and name in declared:
            return f"{name} {declared[name].shape}"
        return f"{self.path[-1]}.{source} ({self.entries[source].get('op', 'dense')}, {width:,} values)"


def _read_sources(entry: Mapping[str, object], index: int) -> tuple[int, ...]:
    """Return what an entry takes, of an entry that may be anything: what is no place of an earlier node is left out."""
    listed = entry.get("from")
    if not isinstance(listed, (list, tuple)):
        return (index - 1,)
    return tuple(one for one in listed if type(one) is int and -1 <= one < index) or (index - 1,)


def _find_value_problems(name: str, part: Array, array: bundle_model.Numbers) -> list[str]:
    """Return what is wrong with the numbers of an array that is none of indices."""
    problems = bundle_header.find_bad_values(name, array, ~np.isfinite(array), DIVERGED)
    if part.is_sorted:
        falls = np.zeros(array.shape, dtype=bool)
        falls[1:] = np.diff(array, axis=0) < 0
        problems += bundle_header.find_bad_values(name, array, falls, "each is at least the one before it")
    if part.is_fraction:
        problems += bundle_header.find_bad_values(
            name, array, (array < 0) | (array > 1), "expected a share, from 0 to 1"
        )
    if part.is_divisor:
        problems += bundle_header.find_bad_values(name, array, array == 0, "it divides: none is 0")
    return problems
