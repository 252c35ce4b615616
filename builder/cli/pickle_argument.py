"""Finds the pickle that a ``SLOT|PICKLE`` argument refers to."""

from __future__ import annotations

from builder import commands, errors, tournament
from builder.text import sanitize


def resolve_pickle(
    api: tournament.Tournament, target: tournament.Slot | tournament.UploadedPickle, *, assigned: bool = False
) -> tournament.UploadedPickle:
    """Return the pickle that a slot runs, else the newest one uploaded for it; returns a pickle unchanged.

    Args:
        api: The tournament.
        target: The slot or pickle that a ``SLOT|PICKLE`` argument refers to.
        assigned: Do not fall back to uploaded pickles.

    Raises:
        errors.UsageError: There is no pickle to return.
    """
    if isinstance(target, tournament.UploadedPickle):
        return target
    if target.pickle is not None:
        return target.pickle
    uploaded = () if assigned else api.list_pickles(target.id)
    if not uploaded:
        more = (
            f"`{commands.suggest_plain('pickles', target.name)}` lists what was uploaded for it"
            if assigned
            else f"upload one: `{commands.suggest('upload', None, f'--model={target.name}')}`"
        )
        raise errors.UsageError(f"{sanitize(target.name)}: runs no pickle; {more}")
    return uploaded[0]
