"""The ``trees`` kind: a forest as flat arrays.

Arrays, for m nodes, t trees and k outputs: ``feature``, ``left`` and ``right`` int32 (m,), ``threshold`` and ``value``
float64 (m,), ``missing_left`` uint8 (m,), ``roots`` and ``output`` int32 (t,), ``base`` float64 (k,); ``model.Trees``
describes them. The tree ``0.2 if x0 <= 0.5 else (0.4 if x2 <= 1 else 0.9)`` alone is:

    node        0     1     2     3     4
    feature     0    -1     2    -1    -1       -1 at a leaf
    threshold   0.5   0     1     0     0       not used at a leaf
    left        1    -1     3    -1    -1
    right       2    -1     4    -1    -1
    value       0     0.2   0     0.4   0.9     used at a leaf only
    roots       [0]

The nodes of all trees are in the same arrays. Children come after their parents, so that the walk of a row through a
tree always ends; otherwise the order of nodes is free. ``inside.fold.trees`` turns the arrays into what a pickle holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from builder import schema
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle import node_graph, nodes
from builder.bundle.kinds import preprocessing
from builder.bundle.kinds.preprocessing import PreprocessingHeader  # noqa: TC001 - annotations are read at run time
from builder.inside.fold.trees import NODE_ARRAYS, TREE_ARRAYS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_TYPES = MappingProxyType({**NODE_ARRAYS, **TREE_ARRAYS, "base": "float64"})

_HEAD_PREFIX = "finish."  # arrays of the head: finish.w0, finish.b0, ...

_BELOW_ONE = 1 - 1e-9  # a margin for rounding: the sum of many leaves depends on the order of summing


@dataclass(frozen=True, kw_only=True)
class TreesHeader(bundle_header.BundleHeader):
    """``bundle.json`` of ``trees``.

    The fields are the keys of the file; format 2 calls the preprocessing ``prepare`` and the head ``finish``.

    Attributes:
        rounded: Whether inputs are rounded to float32 before they are compared.
        averaged: Whether the trees' values are averaged and not summed.
        prepare: Preprocessing of the inputs.
        finish: Head: nodes over the outputs, as in a network.
    """

    MODEL: ClassVar[type] = bundle_model.Trees

    rounded: bool
    averaged: bool = False
    prepare: PreprocessingHeader | None = None
    finish: Annotated[tuple[dict[str, object], ...], schema.require_length(0, 1_000)] = ()

    @classmethod
    def dump_keys(cls, model: bundle_model.Trees) -> dict[str, object]:
        averaged = {"averaged": True} if model.averaged else {}
        finish = {"finish": nodes.as_data(model.head)} if model.head else {}
        return {"rounded": model.rounded, **averaged, **preprocessing.to_keys(model.preprocessing), **finish}

    @classmethod
    def dump_arrays(cls, model: bundle_model.Trees) -> dict[str, bundle_model.Numbers]:
        return {
            **{name: getattr(model, name) for name in _TYPES},
            **preprocessing.collect_arrays(model.preprocessing),
            **nodes.collect_arrays(model.head, prefix=_HEAD_PREFIX),
        }

    @classmethod
    def count_parameters(cls, model: bundle_model.Trees) -> int:
        return int(model.feature.size) + nodes.count_parameters(model.head)

    @classmethod
    def is_bounded(cls, model: bundle_model.Trees) -> bool:
        """Return whether the sums of the smallest and of the largest leaves are in [0, 1], or the head limits them."""
        low, high = _compute_output_ranges(model)
        return nodes.is_bounded(model.head, inputs=bool(low.min() >= 0 and high.max() <= _BELOW_ONE))

    def find_kind_problems(self) -> list[schema.Problem]:
        problems = nodes.find_name_problems(
            self.arrays, self._list_array_names(), owner="a bundle of trees", fix="remove it"
        )
        for name, declared in self.arrays.items():
            if name in _TYPES and declared.dtype != _TYPES[name]:
                text = f"{declared.dtype}; expected {_TYPES[name]}"
                problems.append(schema.Problem(path=("arrays", name, "dtype"), text=text))
        problems += self.prepare.find_problems(self) if self.prepare else []
        problems += self._head_graph().find_problems(self.arrays) if self.finish else []
        problems += self._find_shape_problems(NODE_ARRAYS, "node") + self._find_shape_problems(TREE_ARRAYS, "tree")
        return problems + self._find_base_problems()

    def find_value_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        problems = []
        for name in ("value", "base"):
            if name in arrays:
                problems += bundle_header.find_bad_values(
                    name, arrays[name], ~np.isfinite(arrays[name]), node_graph.DIVERGED
                )
        if "threshold" in arrays:
            fix = "expected a number; to split missing values from all others, use infinity"
            problems += bundle_header.find_bad_values(
                "threshold", arrays["threshold"], np.isnan(arrays["threshold"]), fix
            )
        if "missing_left" in arrays:
            bad = arrays["missing_left"] > 1
            problems += bundle_header.find_bad_values("missing_left", arrays["missing_left"], bad, "expected 0 or 1")
        problems += self._find_range_problems(arrays)
        # Children can be checked only if the three arrays are readable and of one length; else that is the problem.
        shapes = {arrays[name].shape for name in ("feature", "left", "right") if name in arrays}
        if len(shapes) == 1 and len(next(iter(shapes))) == 1 and {"feature", "left", "right"} <= arrays.keys():
            problems += _find_child_problems(arrays)
        problems += self.prepare.find_value_problems(self, arrays) if self.prepare else []
        return problems + self._head_graph().find_value_problems(self.arrays, arrays)

    def build_model(
        self,
        arrays: Mapping[str, bundle_model.Numbers],
        contents: Mapping[str, bytes | Path],  # noqa: ARG002 - none here
    ) -> bundle_model.Trees:
        return bundle_model.Trees(
            **{name: arrays[name] for name in _TYPES},
            rounded=self.rounded,
            averaged=self.averaged,
            preprocessing=self.prepare.prepare(self, arrays) if self.prepare else None,
            head=self._head_graph().build_nodes(arrays),
        )

    def _list_array_names(self) -> list[str]:
        """List the names of the arrays that the model must have."""
        preprocessing_names = self.prepare.list_array_names(self) if self.prepare else []
        return [*_TYPES, *preprocessing_names, *self._head_graph().list_array_names()]

    def _count_inputs(self) -> int:
        """Count the values a row that the trees take; the largest int32 if a problem hides it."""
        prepared = self.prepare.compute_width(self) if self.prepare else len(self.columns)
        return np.iinfo(np.int32).max if prepared is None else prepared

    def _head_graph(self) -> node_graph.NodeGraph:
        base = self.arrays.get("base")
        count = base.shape[0] if base and len(base.shape) == 1 else None
        return node_graph.NodeGraph(
            entries=self.finish,
            path=("finish",),
            prefix=_HEAD_PREFIX,
            inputs=count,
            source_text=f"{count} outputs" if count else "the outputs",
            source_path=("arrays", "base", "shape"),
        )

    def _find_shape_problems(self, names: Mapping[str, str], unit: str) -> list[schema.Problem]:
        """Find arrays that are not one-dimensional, or not as long as the others."""
        shapes = {name: self.arrays[name].shape for name in names if name in self.arrays}
        expected = next((shape for shape in shapes.values() if len(shape) == 1), None)
        fix = f"expected {expected}, like the other arrays" if expected else "expected (count,)"
        return [
            schema.Problem(path=("arrays", name, "shape"), text=f"{shape}; {fix}: one value for each {unit}")
            for name, shape in shapes.items()
            if shape != expected
        ]

    def _find_base_problems(self) -> list[schema.Problem]:
        base = self.arrays.get("base")
        if base is None or base.shape == (1,) or (self.finish and len(base.shape) == 1):
            return []
        text = f"{base.shape}; expected (1,): without `finish`, the model must return one value a row"
        return [schema.Problem(path=("arrays", "base", "shape"), text=text)]

    def _find_range_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        """Find indices of inputs, nodes or outputs that are out of range."""
        inputs = self._count_inputs()
        ranges = {
            "feature": (-1, inputs - 1, f"expected the index of an input, from 0 to {inputs - 1:,}, or -1 for a leaf")
        }
        if "feature" in arrays:
            last = arrays["feature"].size - 1
            ranges["roots"] = (0, last, f"expected the index of a node, from 0 to {last:,}")
        if "base" in arrays:
            last = arrays["base"].size - 1
            ranges["output"] = (0, last, f"expected the index of an output, from 0 to {last:,}")
        problems = []
        for name, (low, high, fix) in ranges.items():
            if name in arrays:
                problems += bundle_header.find_bad_values(
                    name, arrays[name], (arrays[name] < low) | (arrays[name] > high), fix
                )
        return problems


def _find_child_problems(arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
    """Find invalid children: out of range, before their parents, or with several parents."""
    count = arrays["feature"].size
    leaf = arrays["feature"] == -1
    indices = np.arange(count)
    problems = []
    for name in ("left", "right"):
        child = arrays[name]
        fix = f"expected the index of a later node, up to {count - 1:,}"
        problems += bundle_header.find_bad_values(name, child, ~leaf & ((child <= indices) | (child >= count)), fix)
        problems += bundle_header.find_bad_values(
            name, child, leaf & (child != -1), "expected -1 for a leaf (feature -1)"
        )
    if problems or "roots" not in arrays:
        return problems
    references = [arrays["left"][~leaf], arrays["right"][~leaf], arrays["roots"].reshape(-1)]
    children = np.concatenate(references)
    # Each node belongs to one tree: two parents would make it count twice, and a node without one is never reached.
    times = np.bincount(children[(children >= 0) & (children < count)], minlength=count)
    return _find_parent_problems(times)


def _find_parent_problems(times: NDArray[np.intp]) -> list[str]:
    """Find nodes that are not a root or a child exactly once; ``times`` counts how often each node is one."""
    bad = np.flatnonzero(times != 1)
    if not bad.size:
        return []
    more = f", and {bad.size - 1:,} other nodes" if bad.size > 1 else ""
    return [f"roots: node {bad[0]} is a root or a child {times[bad[0]]} times{more}; expected once for each node"]


def _compute_output_ranges(model: bundle_model.Trees) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the smallest and largest possible outputs from the extreme leaves of each tree: float64 (k,) each.

    All trees are walked at once, level by level: from the roots down to list the inner nodes of each level, and back up
    to find the extremes below each of them.
    """
    least, greatest = model.value.astype(np.float64), model.value.astype(np.float64)
    levels, level = [], model.roots
    while (level := level[model.feature[level] != -1]).size:
        levels.append(level)
        level = np.concatenate([model.left[level], model.right[level]])
    for level in reversed(levels):
        least[level] = np.minimum(least[model.left[level]], least[model.right[level]])
        greatest[level] = np.maximum(greatest[model.left[level]], greatest[model.right[level]])
    low, high = np.zeros((2, model.base.size))
    np.add.at(low, model.output, least[model.roots])
    np.add.at(high, model.output, greatest[model.roots])
    count = np.maximum(np.bincount(model.output, minlength=model.base.size), 1) if model.averaged else 1
    return model.base + low / count, model.base + high / count
