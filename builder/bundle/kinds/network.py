"""The ``mlp`` kind: a network of nodes, over inputs that are imputed, centred and scaled.

The kind is called ``mlp`` in ``bundle.json`` because its first version had dense layers only. Arrays, for n inputs and
nodes counted from 0: ``imputation``, ``centre`` and ``scale`` (n,); of a dense layer with index i ``wi`` (n_in, n_out)
and ``bi`` (n_out,); of other nodes see ``builder.bundle.nodes``. The last node returns one value a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from builder import schema
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle import node_graph, nodes
from builder.bundle.kinds import scaling
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class NetworkHeader(bundle_header.BundleHeader):
    """``bundle.json`` of an ``mlp``.

    Attributes:
        layers: The nodes; see ``builder.bundle.nodes``.
    """

    MODEL: ClassVar[type] = bundle_model.Network

    layers: Annotated[tuple[dict[str, object], ...], schema.require_length(1, 1_000)]

    @classmethod
    def dump_keys(cls, model: bundle_model.Network) -> dict[str, object]:
        return {"layers": nodes.as_data(model.layers)}

    @classmethod
    def dump_arrays(cls, model: bundle_model.Network) -> dict[str, bundle_model.Numbers]:
        return {**scaling.collect_arrays(model), **nodes.collect_arrays(model.layers)}

    @classmethod
    def count_parameters(cls, model: bundle_model.Network) -> int:
        return nodes.count_parameters(model.layers)

    @classmethod
    def is_bounded(cls, model: bundle_model.Network) -> bool:
        """Return whether the last node limits its results to [0, 1]: a sigmoid, or a clip."""
        return nodes.is_bounded(model.layers)

    def find_kind_problems(self) -> list[schema.Problem]:
        graph = self._graph()
        owner = f"an mlp of {len(self.layers)} layers"
        names = nodes.find_name_problems(self.arrays, [*scaling.NAMES, *graph.list_array_names()], owner=owner)
        return names + scaling.find_problems(self) + graph.find_problems(self.arrays)

    def find_value_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        return scaling.find_value_problems(self.columns, arrays) + self._graph().find_value_problems(
            self.arrays, arrays
        )

    def build_model(
        self,
        arrays: Mapping[str, bundle_model.Numbers],
        contents: Mapping[str, bytes | Path],  # noqa: ARG002 - none here
    ) -> bundle_model.Network:
        return bundle_model.Network(
            layers=self._graph().build_nodes(arrays), **{name: arrays[name] for name in scaling.NAMES}
        )

    def _graph(self) -> node_graph.NodeGraph:
        return node_graph.NodeGraph(
            entries=self.layers,
            path=("layers",),
            inputs=len(self.columns),
            source_text=f"{scaling.describe_inputs(self)} ({format_list(self.columns)})",
            source_path=("features",),
        )
