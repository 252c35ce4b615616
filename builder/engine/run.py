"""Label everything that one run of this tool creates on an engine, and remove it when the run ends.

A run is one command from :func:`start` to its end. Its id, such as ``1f2e3d4c-0a1b2c3d4e5f``, is the owner (a cache
folder, :func:`get_owner_id`) and a random number, and it is the value of a label on every container, image and volume
that the run creates. While it lives, it holds a lock on a file of that name in ``runs/`` of the cache folder.

The kernel releases the lock even if the run is killed. So a label of the same owner whose lock is free belongs to a run
that has ended, and the next run removes what it left. Things of a run that is still alive, or of another user or
machine that shares the engine, are never touched.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from builder import errors, interrupts, locks, paths
from builder.engine import protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_REMOVE_TIMEOUT = 60  # seconds; a busy engine needs a while to stop the steps of an interrupted build
QUIET_SECONDS = 0.8
"""How long to look again after an interrupt: the build that it ended may still start its next step."""


@contextlib.contextmanager
def start(engine: protocol.Engine) -> Iterator[str]:
    """Start a run and yield its id, the value of :data:`protocol.RUN_LABEL` on everything that the run creates.

    What killed runs left is removed at the start, and what this run created at the end.

    Raises:
        errors.EngineError: The engine does not answer.
    """
    owner, folder = get_owner_id(), paths.runs_folder()
    folder.mkdir(exist_ok=True)
    run_id = f"{owner}-{secrets.token_hex(6)}"
    lock = folder / run_id
    with locks.acquire(lock, _ignore_wait):
        quiet = 0.0
        try:
            remove_leftovers(
                engine, lambda run: run.startswith(f"{owner}-") and run != run_id and not locks.is_held(folder / run)
            )
            for ended in find_ended():
                locks.remove_if_free(ended)
            yield run_id
        except KeyboardInterrupt:
            quiet = QUIET_SECONDS
            raise
        finally:
            with interrupts.defer():  # a second Ctrl-C must not end the removal half-way
                with contextlib.suppress(errors.EngineError):  # it would hide the error that ended the run
                    remove_leftovers(engine, lambda run: run == run_id, quiet=quiet)
                lock.unlink(missing_ok=True)


def remove_leftovers(engine: protocol.Engine, matches: Callable[[str], bool], *, quiet: float = 0.0) -> None:
    """Remove every container, image and volume of the matching runs; retry while the engine is busy.

    Args:
        engine: The engine.
        matches: Returns whether to remove what a run created, by the run's id.
        quiet: As :func:`remove_all` takes it.

    Raises:
        errors.EngineError: The engine does not answer, or refuses to remove something for too long.
    """

    def find() -> list[protocol.Leftover]:
        return [item for item in engine.list_leftovers() if matches(item.labels.get(protocol.RUN_LABEL, ""))]

    remove_all(find, engine.remove, quiet=quiet)


def remove_all(find: Callable[[], Sequence[T]], remove: Callable[[T], object], *, quiet: float = 0.0) -> None:
    """Remove what ``find`` returns until it returns nothing; retry while the engine is busy.

    Args:
        find: Returns what is still there.
        remove: Removes one of these.
        quiet: Seconds without a further one before this returns; an interrupted build may still start its next step.

    Raises:
        errors.EngineError: The engine does not answer, or refuses to remove something for too long.
    """
    last_found = time.monotonic()
    deadline = last_found + _REMOVE_TIMEOUT  # not forever: somebody else may use a volume or an image of this run
    while True:
        failure: errors.EngineError | None = None
        items = find()
        for item in items:
            try:
                remove(item)
            except errors.EngineError as error:  # a step that is still being stopped: the next round tries again
                failure = error
        now = time.monotonic()
        last_found = now if items else last_found
        if failure is None and (now - last_found >= quiet or now > deadline):
            return
        if failure is not None and now > deadline:
            raise failure
        time.sleep(0.2)


def get_owner_id() -> str:
    """Return the random id of this cache folder; it is created and stored at the first call.

    Only who can see the lock files of a run can judge whether it has ended, so the owner is the folder that holds them.
    A user name or host name is not enough: two machines or containers may share both, and an engine, but not a cache
    folder.
    """
    path = paths.cache_folder() / "owner"
    with locks.acquire(path.with_suffix(".lock"), _ignore_wait):
        owner = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if not re.fullmatch("[0-9a-f]{8}", owner):
            owner = secrets.token_hex(4)
            paths.write_atomically(path, owner.encode())
    return owner


def find_ended() -> list[Path]:
    """Return the lock files of killed runs, which may have left something on an engine.

    Raises:
        errors.LockError: A file cannot be opened or locked.
    """
    return [lock for lock in sorted(paths.runs_folder().glob("*")) if not locks.is_held(lock)]


def _ignore_wait(_holder: str) -> None:
    """Report nothing about a wait for a lock: it takes a moment only."""
