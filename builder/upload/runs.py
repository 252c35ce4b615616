"""Orders a run of a pickle, once: each order is a run of its own, so one whose answer is lost is looked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Collection

    from builder.tournament import Run, Tournament, UploadedPickle

_LOOKS = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each look for a run: a new one may be listed a little later."""


def start_run(
    api: Tournament,
    pickle: UploadedPickle,
    slot_id: str | None,
    *,
    validation: bool = False,
) -> Run | None:
    """Have a pickle run now; return the new run, or None if it is not listed yet.

    Args:
        api: The tournament.
        pickle: As it was read before: a run that it does not list is the new one.
        slot_id: For which slot; None for each that runs it.
        validation: Begin its validation again.

    Raises:
        errors.UnavailableError: The answer was lost, and no new run is listed.
        errors.NetworkError: The API refused, or cannot be reached; no run was begun.
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
                remedy="could not confirm that the run started, and none is listed: look again (`python -m builder "
                f"logs {pickle.id}` names the newest) before another is begun",
                sent=True,
            ) from error
        return run
    return _newest(answer, known) or _newest(api.get_pickle(pickle.id), known)


def find_new_run(api: Tournament, identity: str, known: Collection[str]) -> Run | None:
    """Return the newest run of a pickle that is not among the known ones; it is looked for several times."""
    for pause in _LOOKS:
        time.sleep(pause)
        run = _newest(api.get_pickle(identity), known)
        if run is not None:
            return run
    return None


def _newest(pickle: UploadedPickle | None, known: Collection[str]) -> Run | None:
    return next((run for run in (pickle.runs if pickle else ()) if run.id not in known), None)
