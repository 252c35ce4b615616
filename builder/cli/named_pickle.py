"""The pickle that a ``SLOT|PICKLE`` argument means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import errors
from builder.cli import listing

if TYPE_CHECKING:
    from builder import tournament


def pickle_of(
    api: tournament.Tournament, found: tournament.Slot | tournament.Pickle, *, assigned: bool = False
) -> tournament.Pickle:
    """Return the pickle that a slot runs, else the newest that was uploaded for it; a pickle is itself.

    Args:
        api: The tournament.
        found: What a ``SLOT|PICKLE`` argument names.
        assigned: Only what the slot runs.

    Raises:
        errors.UsageError: There is none.
    """
    from builder import tournament as types  # noqa: PLC0415

    if isinstance(found, types.Pickle):
        return found
    if found.pickle is not None:
        return found.pickle
    uploaded = () if assigned else api.pickles(found.id)
    if not uploaded:
        more = (
            f"`python -m builder pickles {found.name}` lists what was uploaded for it"
            if assigned
            else f"upload one: `make upload CONFIG=... MODEL={found.name}`"
        )
        raise errors.UsageError(f"{listing.clean(found.name)}: runs no pickle; {more}")
    return uploaded[0]
