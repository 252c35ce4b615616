"""The preprocessing of the inputs of trees and boosters: the key ``prepare``, and arrays named ``prepare.NAME``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from builder import schema
from builder.bundle import model as bundle_model
from builder.bundle import node_graph, nodes
from builder.bundle.kinds import scaling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.bundle import header as bundle_header

PREFIX = "prepare."


@dataclass(frozen=True, kw_only=True)
class PreprocessingHeader:
    """The key ``prepare``.

    Attributes:
        layers: Nodes, as in a network; often none.
    """

    layers: Annotated[tuple[dict[str, object], ...], schema.require_length(0, 1_000)] = ()

    def list_array_names(self, header: bundle_header.BundleHeader) -> list[str]:
        """List the names of the arrays that the preprocessing must have."""
        return [*(PREFIX + name for name in scaling.NAMES), *self._graph(header).list_array_names()]

    def find_problems(self, header: bundle_header.BundleHeader) -> list[schema.Problem]:
        """Find the problems of the nodes, and of the dtypes and shapes of the declared arrays."""
        return scaling.find_problems(header, prefix=PREFIX) + self._graph(header).find_problems(header.arrays)

    def find_value_problems(
        self, header: bundle_header.BundleHeader, arrays: Mapping[str, bundle_model.Numbers]
    ) -> list[str]:
        """Find invalid numbers in the arrays that could be read."""
        problems = scaling.find_value_problems(header.columns, arrays, prefix=PREFIX, may_miss=True)
        return problems + self._graph(header).find_value_problems(header.arrays, arrays)

    def compute_width(self, header: bundle_header.BundleHeader) -> int | None:
        """Compute how many values a row the preprocessing returns; None if a problem hides it."""
        return self._graph(header).compute_width(header.arrays)

    def prepare(
        self, header: bundle_header.BundleHeader, arrays: Mapping[str, bundle_model.Numbers]
    ) -> bundle_model.Preprocessing:
        """Build the preprocessing; only if no check found a problem."""
        return bundle_model.Preprocessing(
            **{name: arrays[PREFIX + name] for name in scaling.NAMES}, layers=self._graph(header).build_nodes(arrays)
        )

    def _graph(self, header: bundle_header.BundleHeader) -> node_graph.NodeGraph:
        return node_graph.NodeGraph(
            entries=self.layers,
            path=("prepare", "layers"),
            prefix=PREFIX,
            inputs=len(header.columns),
            source_text=scaling.describe_inputs(header),
            source_path=("features",),
            outputs=None,
        )


def to_keys(prepare: bundle_model.Preprocessing | None) -> dict[str, object]:
    """Return the key ``prepare`` of ``bundle.json``; empty without preprocessing."""
    return {} if prepare is None else {"prepare": {"layers": nodes.as_data(prepare.layers)}}


def collect_arrays(prepare: bundle_model.Preprocessing | None) -> dict[str, bundle_model.Numbers]:
    """Return the arrays by their names in the bundle; empty without preprocessing."""
    if prepare is None:
        return {}
    return {**scaling.collect_arrays(prepare, prefix=PREFIX), **nodes.collect_arrays(prepare.layers, prefix=PREFIX)}
