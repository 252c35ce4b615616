"""What is done to the inputs of trees and boosters: the key ``prepare``, arrays that begin with ``prepare.``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from builder.bundle import chain, nodes
from builder.bundle import model as bundle_model
from builder.bundle.kinds import scaling
from builder.schema import parse, types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.bundle import text as bundle_text

PREFIX = "prepare."


@dataclass(frozen=True, kw_only=True)
class PrepareText:
    """The key ``prepare``.

    Attributes:
        layers: The nodes, as of a network; often none.
    """

    layers: Annotated[tuple[dict[str, object], ...], types.length(0, 1_000)] = ()

    def names(self, text: bundle_text.Text) -> list[str]:
        """Return the names of the arrays that there must be."""
        return [*(PREFIX + name for name in scaling.NAMES), *self._chain(text).names()]

    def faults(self, text: bundle_text.Text) -> list[parse.Problem]:
        """Return what is wrong with the nodes, and with the types and shapes of the arrays that are there."""
        return scaling.faults(text, prefix=PREFIX) + self._chain(text).faults(text.arrays)

    def value_faults(self, text: bundle_text.Text, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        """Return what is wrong with the numbers of those arrays that could be read."""
        found = scaling.value_faults(text.columns, arrays, prefix=PREFIX, may_miss=True)
        return found + self._chain(text).value_faults(text.arrays, arrays)

    def width(self, text: bundle_text.Text) -> int | None:
        """Return how many values a row come out; None where a fault hides it."""
        return self._chain(text).width(text.arrays)

    def prepare(self, text: bundle_text.Text, arrays: Mapping[str, bundle_model.Numbers]) -> bundle_model.Prepare:
        """Return it, all being without fault."""
        return bundle_model.Prepare(
            **{name: arrays[PREFIX + name] for name in scaling.NAMES}, layers=self._chain(text).built(arrays)
        )

    def _chain(self, text: bundle_text.Text) -> chain.Chain:
        return chain.Chain(
            entries=self.layers,
            place=("prepare", "layers"),
            prefix=PREFIX,
            inputs=len(text.columns),
            said=scaling.counted(text),
            said_at=("features",),
            outputs=None,
        )


def keys_of(prepare: bundle_model.Prepare | None) -> dict[str, object]:
    """Return the key ``prepare``; none where the inputs are taken as they are."""
    return {} if prepare is None else {"prepare": {"layers": nodes.as_data(prepare.layers)}}


def arrays_of(prepare: bundle_model.Prepare | None) -> dict[str, bundle_model.Numbers]:
    """Return its arrays under their names."""
    if prepare is None:
        return {}
    return {**scaling.arrays_of(prepare, prefix=PREFIX), **nodes.arrays_of(prepare.layers, prefix=PREFIX)}
