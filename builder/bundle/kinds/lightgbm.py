"""The ``lightgbm`` kind: a booster in LightGBM's own text format, compressed: ``model.txt.gz``.

Its only arrays are those of ``prepare`` (the preprocessing) and ``finish`` (the head), with these keys as prefixes; see
``builder.bundle.nodes``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from builder import schema
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle import node_graph, nodes
from builder.bundle.kinds import lightgbm_text, lightgbm_trees, preprocessing, scaling
from builder.bundle.kinds.preprocessing import PreprocessingHeader  # noqa: TC001 - annotations are read at run time
from builder.bundle.storage import files
from builder.inside.fold.lightgbm import FILE
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEAD_PREFIX = "finish."

# See `objective` in https://lightgbm.readthedocs.io/en/stable/Parameters.html.
_SHARES = frozenset({"binary", "cross_entropy", "multiclass", "multiclassova"})
"""Objectives whose outputs are probabilities, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class CategoriesHeader:
    """Inputs that the booster takes as indices of their values in a list; see ``model.Categories``.

    Attributes:
        inputs: Indices of the inputs, after ``prepare``.
        values: The list; any other value counts as missing.
    """

    inputs: Annotated[tuple[Annotated[int, schema.require_between(0, 1 << 31)], ...], schema.require_length(1, 100_000)]
    values: Annotated[tuple[float, ...], schema.require_length(1, 100_000)]


@dataclass(frozen=True, kw_only=True)
class LightGbmHeader(bundle_header.BundleHeader):
    """``bundle.json`` of a ``lightgbm``.

    Attributes:
        objective: Of the booster, with its constants.
        outputs: Values a row.
        trees: Number of trees.
        leaves: Number of leaves of all trees.
        averaged: Whether the trees' values are averaged and not summed.
        categories: Inputs that are replaced by indices.
        prepare: Preprocessing of the inputs.
        finish: Head: nodes over the booster's outputs.
    """

    MODEL: ClassVar[type] = bundle_model.LightGbm

    objective: Annotated[str, schema.require_length(0, 200)]
    outputs: Annotated[int, schema.require_between(1, 10_000)]
    trees: Annotated[int, schema.require_between(1, 100_000_000)]
    leaves: Annotated[int, schema.require_between(1, 1 << 40)]
    averaged: bool = False
    categories: Annotated[tuple[CategoriesHeader, ...], schema.require_length(0, 100_000)] = ()
    prepare: PreprocessingHeader | None = None
    finish: Annotated[tuple[dict[str, object], ...], schema.require_length(0, 1_000)] = ()

    @classmethod
    def dump_keys(cls, model: bundle_model.LightGbm) -> dict[str, object]:
        groups = [{"inputs": list(index.inputs), "values": list(index.values)} for index in model.categories]
        return {
            "objective": model.objective,
            "outputs": model.outputs,
            "trees": model.trees,
            "leaves": model.leaves,
            "averaged": model.averaged,
            **({"categories": groups} if groups else {}),
            **preprocessing.to_keys(model.preprocessing),
            **({"finish": nodes.as_data(model.head)} if model.head else {}),
        }

    @classmethod
    def dump_arrays(cls, model: bundle_model.LightGbm) -> dict[str, bundle_model.Numbers]:
        return {
            **preprocessing.collect_arrays(model.preprocessing),
            **nodes.collect_arrays(model.head, prefix=HEAD_PREFIX),
        }

    @classmethod
    def dump_files(cls, model: bundle_model.LightGbm) -> dict[str, bytes | Path]:
        return {FILE: model.text}

    @classmethod
    def count_parameters(cls, model: bundle_model.LightGbm) -> int:
        # A tree of n leaves has n values and n - 1 thresholds.
        return 2 * model.leaves - model.trees + nodes.count_parameters(model.head)

    @classmethod
    def is_bounded(cls, model: bundle_model.LightGbm) -> bool:
        """Return whether the objective returns probabilities, or the head limits its results to [0, 1]."""
        return nodes.is_bounded(model.head, inputs=model.objective.partition(" ")[0] in _SHARES)

    def find_kind_problems(self) -> list[schema.Problem]:
        head = self._head_graph()
        names = [*(self.prepare.list_array_names(self) if self.prepare else []), *head.list_array_names()]
        problems = self._find_declared_problems()
        problems += nodes.find_name_problems(self.arrays, names, owner="this booster", fix="remove it, or add its node")
        problems += self.prepare.find_problems(self) if self.prepare else []
        return problems + head.find_problems(self.arrays) + self._find_category_problems()

    def find_value_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        problems = self.prepare.find_value_problems(self, arrays) if self.prepare else []
        return problems + self._head_graph().find_value_problems(self.arrays, arrays)

    def find_file_problems(self, contents: Mapping[str, bytes | Path]) -> list[str]:
        if FILE not in contents:
            return []  # reported by find_kind_problems
        # Read as a stream: a booster's text may have two gigabytes.
        try:
            with lightgbm_text.open_text(contents[FILE]) as stream:
                header = lightgbm_text.read_header(stream)
                leaves = sum(int(batch.leaves.sum()) for batch in lightgbm_trees.read_batches(stream, header))
                lightgbm_text.read_end(stream)
        except (lightgbm_text.BoosterTextError, OSError) as error:
            return [f"{FILE}: {error}"]
        problems = []
        width = self._compute_width()
        if width is not None and len(header.features) != width:
            width_text = f"prepare returns {width:,}" if self.prepare else scaling.describe_inputs(self)
            problems.append(f"{FILE}: takes {len(header.features):,} features, but {width_text}; make them agree")
        facts = {
            "trees": len(header.sizes),
            "leaves": leaves,
            "outputs": header.outputs,
            "objective": header.objective,
            "averaged": header.averaged,
        }
        return problems + [
            f"{FILE}: has {name} {value!r}; {files.JSON} declares {getattr(self, name)!r}; export the model again"
            for name, value in facts.items()
            if value != getattr(self, name)
        ]

    def build_model(
        self, arrays: Mapping[str, bundle_model.Numbers], contents: Mapping[str, bytes | Path]
    ) -> bundle_model.LightGbm:
        return bundle_model.LightGbm(
            text=contents[FILE],
            objective=self.objective,
            outputs=self.outputs,
            trees=self.trees,
            leaves=self.leaves,
            averaged=self.averaged,
            categories=tuple(
                bundle_model.Categories(inputs=index.inputs, values=tuple(map(float, index.values)))
                for index in self.categories
            ),
            preprocessing=self.prepare.prepare(self, arrays) if self.prepare else None,
            head=self._head_graph().build_nodes(arrays),
        )

    def _head_graph(self) -> node_graph.NodeGraph:
        source_text = f"the booster's {self.outputs:,} outputs"
        return node_graph.NodeGraph(
            entries=self.finish,
            path=("finish",),
            prefix=HEAD_PREFIX,
            inputs=self.outputs,
            source_text=source_text,
            source_path=("outputs",),
        )

    def _compute_width(self) -> int | None:
        """Compute how many values a row the booster takes; None if a problem hides it."""
        return self.prepare.compute_width(self) if self.prepare else len(self.columns)

    def _find_declared_problems(self) -> list[schema.Problem]:
        problems = [
            schema.Problem(path=("files", name), text=f"unexpected file; a booster has {FILE} only: remove it")
            for name in self.files
            if name != FILE
        ]
        if FILE not in self.files:
            problems.append(
                schema.Problem(path=("files",), text=f"the booster {FILE} is missing; export the model again")
            )
        return problems

    def _find_category_problems(self) -> list[schema.Problem]:
        width = self._compute_width()
        problems = []
        for index, group in enumerate(self.categories):
            invalid = [index for index in group.inputs if width is not None and index >= width]
            if invalid:
                text = f"{invalid[0]:,}; expected the index of an input, from 0 to {(width or 1) - 1:,}"
                problems.append(schema.Problem(path=("categories", index, "inputs"), text=text))
            if len(set(group.values)) != len(group.values):
                text = "duplicate value; list each once"
                problems.append(schema.Problem(path=("categories", index, "values"), text=text))
        counts = Counter(index for group in self.categories for index in group.inputs)
        duplicates = [str(index) for index, count in counts.items() if count > 1]
        if duplicates:
            text = f"inputs in several lists: {format_list(duplicates)}; list each input once"
            problems.append(schema.Problem(path=("categories",), text=text))
        return problems
