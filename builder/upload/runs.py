"""Start a run of a pickle exactly once.

Each request starts another run. So it is not retried; if there is no response, the pickle's list of runs is read to
learn whether the run started.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from builder import commands, errors

if TYPE_CHECKING:
    from collections.abc import Collection

    from builder.tournament import Run, Tournament, UploadedPickle

_PAUSES = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each read: the API may list a new run with a delay."""


def start_run(
    api: Tournament,
    pickle: UploadedPickle,
    slot_id: str | None,
    *,
    validation: bool = False,
) -> Run | None:
    """Start a run of a pickle; return the new run, or None if it is not listed yet.

    Args:
        api: The tournament.
        pickle: The pickle as read before: a run that it does not list is the new one.
        slot_id: The slot to run it for; None for all slots that it is assigned to.
        validation: Repeat its validation.

    Raises:
        errors.UnavailableError: There was no response, and no new run is listed.
        errors.NetworkError: The API rejected the request or cannot be reached; no run was started.
    """
    known = {run.id for run in pickle.triggers}
    try:
        answer = api.trigger(pickle.id, slot_id, validation=validation)
    except errors.UnavailableError as error:
        if not error.sent:
            raise
        run = find_new_run(api, pickle.id, known)
        if run is None:
            raise errors.UnavailableError(
                error.what,
                remedy="could not confirm that the run started, and no new run is listed: check again before you start "
                f"another (`{commands.suggest_plain('logs', pickle.id)}` shows the newest)",
                sent=True,
            ) from error
        return run
    return _find_newest(answer, known) or _find_newest(api.get_pickle(pickle.id), known)


def find_new_run(api: Tournament, identity: str, known: Collection[str]) -> Run | None:
    """Return the newest run of a pickle whose id is not in ``known``; read it several times before giving up."""
    for pause in _PAUSES:
        time.sleep(pause)
        run = _find_newest(api.get_pickle(identity), known)
        if run is not None:
            return run
    return None


def _find_newest(pickle: UploadedPickle | None, known: Collection[str]) -> Run | None:
    return next((run for run in (pickle.runs if pickle else ()) if run.id not in known), None)
