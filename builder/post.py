"""Post-processing steps as values, shared by configs and bundles.

Written as a list of mappings with one key each, ``- rank: {scope: era, ties: average}``; ``- rank: {}`` means the
defaults. To add a step: one frozen dataclass here, one entry in ``KINDS``, one alternative in ``Step``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal

from builder import typed

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rank:
    """Replace predictions by their percent ranks in (0, 1].

    Attributes:
        scope: Rank the rows of each era by themselves, or the whole frame at once.
        ties: Equal predictions get the mean of their ranks, or ranks in the order of the rows.
    """

    scope: Literal["era", "frame"] = "era"
    ties: Literal["average", "first"] = "average"


KINDS: dict[str, type] = {"rank": Rank}
"""Every step by its key."""

Step = Annotated[Rank, typed.Keyed(kinds=KINDS)]
"""One step; in a file, a mapping with the one key that names it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """A list of steps by itself, to be read.

    Attributes:
        post: The steps, in order.
    """

    post: tuple[Step, ...] = ()


def as_data(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the steps as JSON has them, every default written out."""
    return [typed.as_data(Step, step) for step in steps]


def needs_era(steps: Sequence[Step]) -> bool:
    """Whether a step looks at the ``era`` column."""
    return any(isinstance(step, Rank) and step.scope == "era" for step in steps)
