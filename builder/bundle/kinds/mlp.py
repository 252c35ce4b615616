"""The ``mlp`` kind: a network of nodes, over inputs that are imputed, centred and scaled.

Its arrays, with n inputs and the nodes counted from 0: ``imputation``, ``centre`` and ``scale`` (n,); of dense layers
``w0``, ``w1`` and so on (n_in, n_out) and ``b0``, ``b1`` and so on (n_out,); of other nodes as ``nodes`` says. The last
node gives one value a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from builder import schema
from builder.bundle import chain, nodes
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle.kinds import scaling
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class MlpHeader(bundle_header.BundleHeader):
    """``bundle.json`` of an ``mlp``.

    Attributes:
        layers: For each node its op, what it takes, its activation and the activation's constants.
    """

    MODEL: ClassVar[type] = bundle_model.Network

    layers: Annotated[tuple[dict[str, object], ...], schema.require_length(1, 1_000)]

    @classmethod
    def own_keys(cls, model: bundle_model.Network) -> dict[str, object]:
        return {"layers": nodes.as_data(model.layers)}

    @classmethod
    def own_arrays(cls, model: bundle_model.Network) -> dict[str, bundle_model.Numbers]:
        return {**scaling.arrays_of(model), **nodes.arrays_of(model.layers)}

    @classmethod
    def parameters(cls, model: bundle_model.Network) -> int:
        return nodes.parameters(model.layers)

    @classmethod
    def is_bounded(cls, model: bundle_model.Network) -> bool:
        """Tell whether what is last lies in [0, 1]: a sigmoid, or a clip."""
        return nodes.is_bounded(model.layers)

    def own_faults(self) -> list[schema.Problem]:
        format_list = self._chain()
        what = f"an mlp of {len(self.layers)} layers"
        names = nodes.name_faults(self.arrays, [*scaling.NAMES, *format_list.names()], what=what)
        return names + scaling.faults(self) + format_list.faults(self.arrays)

    def value_faults(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        return scaling.value_faults(self.columns, arrays) + self._chain().value_faults(self.arrays, arrays)

    def model(
        self,
        arrays: Mapping[str, bundle_model.Numbers],
        contents: Mapping[str, bytes | Path],  # noqa: ARG002 - none here
    ) -> bundle_model.Network:
        return bundle_model.Network(
            layers=self._chain().built(arrays), **{name: arrays[name] for name in scaling.NAMES}
        )

    def _chain(self) -> chain.Chain:
        return chain.Chain(
            entries=self.layers,
            place=("layers",),
            inputs=len(self.columns),
            said=f"{scaling.counted(self)} ({format_list(self.columns)})",
            said_at=("features",),
        )
