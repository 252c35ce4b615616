"""Label everything that one run of this tool creates on an engine, and remove it when the run ends.

Each run holds a lock file while it lives. What a killed run left is found by its label and removed by the next run
of the same user on the same machine. Things of a run that is still alive, or of another user or machine that shares the
engine, are never touched.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, interrupts, locks, paths
from builder.engine import protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REMOVE_TIMEOUT = 60  # seconds; a busy engine needs a while to stop the steps of an interrupted build
_QUIET_SECONDS = 0.8  # an interrupted build may still start its next step, so look again for this long


@contextlib.contextmanager
def start(engine: protocol.Engine) -> Iterator[str]:
    """Start a run and yield its id, the value of :data:`protocol.RUN_LABEL` on everything that the run creates.

    What killed runs left is removed at the start, and what this run created at the end.

    Raises:
        errors.EngineError: The engine does not answer.
    """
    owner, folder = get_owner_id(), paths.runs_folder()
    folder.mkdir(exist_ok=True)
    identity = f"{owner}-{secrets.token_hex(6)}"
    lock = folder / identity
    with locks.acquire(lock, _ignore_wait):
        quiet = 0.0
        try:
            remove_leftovers(
                engine, lambda run: run.startswith(f"{owner}-") and run != identity and not locks.is_held(folder / run)
            )
            for ended in find_ended():
                locks.remove_if_free(ended)
            yield identity
        except KeyboardInterrupt:
            quiet = _QUIET_SECONDS
            raise
        finally:
            with interrupts.defer():
                with contextlib.suppress(errors.EngineError):  # it would hide the error that ended the run
                    remove_leftovers(engine, lambda run: run == identity, quiet=quiet)
                lock.unlink(missing_ok=True)


def remove_leftovers(engine: protocol.Engine, matches: Callable[[str], bool], *, quiet: float = 0.0) -> None:
    """Remove every container, image and volume of the matching runs; retry while the engine is busy.

    Args:
        engine: The engine.
        matches: Tells whether to remove what a run created, by the run's id.
        quiet: Seconds without a further leftover before this returns.

    Raises:
        errors.EngineError: The engine does not answer, or refuses to remove something for too long.
    """
    last_found = time.monotonic()
    deadline = last_found + _REMOVE_TIMEOUT
    while True:
        failure: errors.EngineError | None = None
        leftovers = [item for item in engine.list_leftovers() if matches(item.labels.get(protocol.RUN_LABEL, ""))]
        for leftover in leftovers:
            try:
                engine.remove(leftover)
            except errors.EngineError as error:
                failure = error
        now = time.monotonic()
        last_found = now if leftovers else last_found
        if failure is None and (now - last_found >= quiet or now > deadline):
            return
        if failure is not None and now > deadline:
            raise failure
        time.sleep(0.2)


def find_ended() -> list[Path]:
    """Return the lock files of killed runs, which may have left something on an engine.

    Raises:
        errors.LockError: A file cannot be opened or locked.
    """
    return [lock for lock in sorted(paths.runs_folder().glob("*")) if not locks.is_held(lock)]


def get_owner_id() -> str:
    """Return the random id of this cache folder; it is created and stored at the first call.

    Whoever reads the id from the cache folder also sees the lock files of all its runs there. A user name or host name
    would not do: two machines or containers may share both, and an engine, but not a cache folder.
    """
    path = paths.cache_folder() / "owner"
    with locks.acquire(path.with_suffix(".lock"), _ignore_wait):
        identity = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if not re.fullmatch("[0-9a-f]{8}", identity):
            identity = secrets.token_hex(4)
            paths.write_atomically(path, identity.encode())
    return identity


def _ignore_wait(_holder: str) -> None:
    """Report nothing about a wait for a lock: it takes a moment only."""
