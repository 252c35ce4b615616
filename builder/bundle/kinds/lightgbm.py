"""The ``lightgbm`` kind: a booster in LightGBM's own text format, compressed: ``model.txt.gz``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from builder import schema
from builder.bundle import model as bundle_model
from builder.bundle import nodes
from builder.bundle.kinds import boosters, lightgbm_text, lightgbm_trees, scaling
from builder.bundle.storage import files
from builder.inside.fold.lightgbm import FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# See `objective` in https://lightgbm.readthedocs.io/en/stable/Parameters.html.
_SHARES = frozenset({"binary", "cross_entropy", "multiclass", "multiclassova"})
"""Objectives whose outputs are probabilities, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class LightGbmHeader(boosters.BoosterHeader):
    """``bundle.json`` of a ``lightgbm``.

    Attributes:
        objective: Of the booster, with its constants.
        trees: Number of trees.
        leaves: Number of leaves of all trees.
        averaged: Whether the trees' values are averaged and not summed.
    """

    MODEL: ClassVar[type] = bundle_model.LightGbm
    FILE: ClassVar[str] = FILE

    objective: Annotated[str, schema.require_length(0, 200)]
    trees: Annotated[int, schema.require_between(1, 100_000_000)]
    leaves: Annotated[int, schema.require_between(1, 1 << 40)]
    averaged: bool = False

    @classmethod
    def dump_keys(cls, model: Any) -> dict[str, object]:
        return {
            **super().dump_keys(model),
            "objective": model.objective,
            "trees": model.trees,
            "leaves": model.leaves,
            "averaged": model.averaged,
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
        width = self.compute_width()
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
            categories=self.build_categories(),
            preprocessing=self.build_preprocessing(arrays),
            head=self.build_head(arrays),
        )
