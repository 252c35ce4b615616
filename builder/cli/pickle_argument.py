"""The pickle that a ``SLOT|PICKLE`` argument means."""

from __future__ import annotations

from builder import commands, errors, tournament
from builder.text import sanitize


def resolve_pickle(
    api: tournament.Tournament, found: tournament.Slot | tournament.UploadedPickle, *, assigned: bool = False
) -> tournament.UploadedPickle:
    """Return the pickle that a slot runs, else the newest that was uploaded for it; a pickle is itself.

    Args:
        api: The tournament.
        found: What a ``SLOT|PICKLE`` argument names.
        assigned: Only what the slot runs.

    Raises:
        errors.UsageError: There is none.
    """
    if isinstance(found, tournament.UploadedPickle):
        return found
    if found.pickle is not None:
        return found.pickle
    uploaded = () if assigned else api.list_pickles(found.id)
    if not uploaded:
        more = (
            f"`python -m builder pickles {found.name}` lists what was uploaded for it"
            if assigned
            else f"upload one: `{commands.suggest('upload', None, f'--model={found.name}')}`"
        )
        raise errors.UsageError(f"{sanitize(found.name)}: runs no pickle; {more}")
    return uploaded[0]
