"""One run of this tool on an engine: everything it creates carries its id, and nothing outlives it.

A run holds a lock file while it lives. What a killed run left is found by its label and removed by the next run of
the same user on the same machine; what belongs to a run that is alive, or to somebody else on the same engine, is not
touched.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, interrupts, locks, paths
from builder.engine import protocol as engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SWEEP_SECONDS = 60  # a busy engine needs its time to end what an interrupted build was running
_QUIET_SECONDS = 0.8  # and may be about to begin the next step of it


@contextlib.contextmanager
def start(on: engine.Engine) -> Iterator[str]:
    """Begin a run; the id it yields labels what the run creates, and what carries it is removed at the end.

    Raises:
        errors.EngineError: the engine does not answer.
    """
    ours, folder = get_owner_id(), paths.cache_folder() / "runs"
    folder.mkdir(exist_ok=True)
    identity = f"{ours}-{secrets.token_hex(6)}"
    lock = folder / identity
    with locks.acquire(lock, _wait):
        quiet = 0.0
        try:
            remove_leftovers(on, lambda run: run.startswith(f"{ours}-") and run != identity and _is_dead(folder / run))
            yield identity
        except KeyboardInterrupt:
            quiet = _QUIET_SECONDS
            raise
        finally:
            with interrupts.defer():
                with contextlib.suppress(errors.EngineError):
                    remove_leftovers(on, lambda run: run == identity, quiet=quiet)
                lock.unlink(missing_ok=True)


def remove_leftovers(on: engine.Engine, is_ours: Callable[[str], bool], *, quiet: float = 0.0) -> None:
    """Remove every container, image and volume whose run ``is_ours``, trying again while the engine is still busy.

    Args:
        on: The engine.
        is_ours: Judges the id of a run.
        quiet: Seconds in which nothing more may turn up before this is done.

    Raises:
        errors.EngineError: the engine does not answer, or refuses for too long.
    """
    seen = time.monotonic()
    deadline = seen + _SWEEP_SECONDS
    while True:
        failed: errors.EngineError | None = None
        left = [one for one in on.list_leftovers() if is_ours(one.labels.get(engine.RUN_LABEL, ""))]
        for leftover in left:
            try:
                on.remove(leftover)
            except errors.EngineError as error:
                failed = error
        now = time.monotonic()
        seen = now if left else seen
        if failed is None and (now - seen >= quiet or now > deadline):
            return
        if failed is not None and now > deadline:
            raise failed
        time.sleep(0.2)


def _is_dead(lock: Path) -> bool:
    """Tell whether nobody holds the lock of a run (a run whose file is gone has ended)."""
    if locks.is_held(lock):
        return False
    lock.unlink(missing_ok=True)
    return True


def get_owner_id() -> str:
    """Return a random name for this cache folder, made once: whoever has it sees the locks of all its runs.

    Two machines, or two containers, that share an engine and no cache folder have two names, whatever else they share.
    """
    path = paths.cache_folder() / "owner"
    with locks.acquire(path.with_suffix(".lock"), _wait):
        name = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if not re.fullmatch("[0-9a-f]{8}", name):
            name = secrets.token_hex(4)
            paths.write_atomically(path, name.encode())
    return name


def _wait(_holder: str) -> None:
    """Say nothing: it takes a moment."""
