"""The hashes of a file while it is on its way: worked out in a thread beside, so that neither waits for the other."""

from __future__ import annotations

import hashlib
import queue
import threading
from typing import Self

_AHEAD = 8
"""Chunks that may wait to be hashed: what keeps memory bounded."""


class Digest:
    """Hashes chunks in their order; ``end`` waits for the last of them.

    Args:
        names: Algorithms, such as ``sha256``. One thread each: they release the interpreter's lock.
    """

    def __init__(self, *names: str) -> None:
        self._hashes = [hashlib.new(name, usedforsecurity=False) for name in names]
        self._queues: list[queue.Queue[bytes | None]] = [queue.Queue(_AHEAD) for _ in names]
        self._threads = [
            threading.Thread(target=_work, args=(one, waiting), daemon=True)
            for one, waiting in zip(self._hashes, self._queues, strict=True)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def update(self, chunk: bytes) -> None:
        """Take the next chunk; waits where the hashing is behind."""
        for waiting in self._queues:
            waiting.put(chunk)

    def end(self) -> list[str]:
        """Return the hashes in hexadecimal, in the order of the names."""
        for waiting, thread in zip(self._queues, self._threads, strict=True):
            if thread.is_alive():
                waiting.put(None)
                thread.join()
        return [one.hexdigest() for one in self._hashes]


def _work(into: hashlib._Hash, waiting: queue.Queue[bytes | None]) -> None:
    while (chunk := waiting.get()) is not None:
        into.update(chunk)
