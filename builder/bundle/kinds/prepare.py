"""What is done to the inputs of trees and boosters: the key ``prepare``, arrays that begin with ``prepare.``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from builder import schema
from builder.bundle import chain, nodes
from builder.bundle import model as bundle_model
from builder.bundle.kinds import scaling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.bundle import header as bundle_header

PREFIX = "prepare."


@dataclass(frozen=True, kw_only=True)
class PrepareHeader:
    """The key ``prepare``.

    Attributes:
        layers: The nodes, as of a network; often none.
    """

    layers: Annotated[tuple[dict[str, object], ...], schema.require_length(0, 1_000)] = ()

    def names(self, header: bundle_header.BundleHeader) -> list[str]:
        """Return the names of the arrays that there must be."""
        return [*(PREFIX + name for name in scaling.NAMES), *self._chain(header).names()]

    def faults(self, header: bundle_header.BundleHeader) -> list[schema.Problem]:
        """Return what is wrong with the nodes, and with the types and shapes of the arrays that are there."""
        return scaling.faults(header, prefix=PREFIX) + self._chain(header).faults(header.arrays)

    def value_faults(self, header: bundle_header.BundleHeader, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        """Return what is wrong with the numbers of those arrays that could be read."""
        found = scaling.value_faults(header.columns, arrays, prefix=PREFIX, may_miss=True)
        return found + self._chain(header).value_faults(header.arrays, arrays)

    def width(self, header: bundle_header.BundleHeader) -> int | None:
        """Return how many values a row come out; None where a fault hides it."""
        return self._chain(header).width(header.arrays)

    def prepare(
        self, header: bundle_header.BundleHeader, arrays: Mapping[str, bundle_model.Numbers]
    ) -> bundle_model.Preprocessing:
        """Return it, all being without fault."""
        return bundle_model.Preprocessing(
            **{name: arrays[PREFIX + name] for name in scaling.NAMES}, layers=self._chain(header).built(arrays)
        )

    def _chain(self, header: bundle_header.BundleHeader) -> chain.Chain:
        return chain.Chain(
            entries=self.layers,
            place=("prepare", "layers"),
            prefix=PREFIX,
            inputs=len(header.columns),
            said=scaling.counted(header),
            said_at=("features",),
            outputs=None,
        )


def keys_of(prepare: bundle_model.Preprocessing | None) -> dict[str, object]:
    """Return the key ``prepare``; none where the inputs are taken as they are."""
    return {} if prepare is None else {"prepare": {"layers": nodes.as_data(prepare.layers)}}


def arrays_of(prepare: bundle_model.Preprocessing | None) -> dict[str, bundle_model.Numbers]:
    """Return its arrays under their names."""
    if prepare is None:
        return {}
    return {**scaling.arrays_of(prepare, prefix=PREFIX), **nodes.arrays_of(prepare.layers, prefix=PREFIX)}
