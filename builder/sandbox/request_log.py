"""Record every request without its secrets: neither tokens nor the query of a presigned URL."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(kw_only=True)
class Record:
    """One request.

    Attributes:
        method: GET, POST, PUT, or a method that was refused.
        path: Without its query.
        host: The Host header.
        operation: The GraphQL operation's name, or its first root field without a name; empty for storage.
        fields: The root fields of the GraphQL operation.
        variables: The variables of the GraphQL operation.
        headers: The names of the headers, in lower case.
        had_token: Whether there was an Authorization header.
        bytes_read: How much of the body was read.
        status: The HTTP status of the response; None until there is one.
    """

    method: str
    path: str
    host: str = ""
    operation: str = ""
    fields: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    headers: frozenset[str] = frozenset()
    had_token: bool = False
    bytes_read: int = 0
    status: int | None = None

    def matches(self, name: str) -> bool:
        """Return whether ``name`` is the method, the operation, a root field, or ``*``."""
        return name in {"*", self.method, self.operation, *self.fields}


class Requests:
    """All requests so far, in the order in which they arrived."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[Record]:
        with self._changed:
            return iter(list(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def find_all(self, name: str) -> list[Record]:
        """Return the requests with a method, an operation or a root field of that name."""
        return [record for record in self if record.matches(name)]

    def count(self, name: str) -> int:
        """Return how many requests :meth:`find_all` returns."""
        return len(self.find_all(name))

    def clear(self) -> None:
        """Remove all records."""
        with self._changed:
            self._records.clear()

    def add(self, record: Record) -> None:
        """Record a request; called by the server."""
        with self._changed:
            self._records.append(record)
            self._changed.notify_all()

    def update(self, record: Record, *, bytes_read: int | None = None, status: int | None = None) -> None:
        """Record the progress of a request; called by the server."""
        with self._changed:
            record.bytes_read = record.bytes_read if bytes_read is None else bytes_read
            record.status = record.status if status is None else status
            self._changed.notify_all()

    def wait_for(self, name: str, *, count: int = 1, bytes_read: int = 0, timeout: float = 30) -> Record:
        """Wait until the ``count``-th request of a name has arrived with ``bytes_read`` of its body; return it.

        Raises:
            TimeoutError: It did not arrive within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                records = [record for record in self._records if record.matches(name)]
                if len(records) >= count and records[count - 1].bytes_read >= bytes_read:
                    return records[count - 1]
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"request {name} did not arrive {count} times within {timeout:g} s")
