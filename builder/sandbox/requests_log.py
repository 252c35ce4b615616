"""A record of every request, without its secrets: no token, and no query of an address."""

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
        method: GET, POST, PUT, or one that is refused.
        path: Without its query.
        host: The Host header.
        operation: The name that the GraphQL operation has in its text, or its first root field; empty for storage.
        fields: The root fields of the GraphQL operation.
        variables: Of the GraphQL operation.
        headers: The names of the headers, in lower case.
        had_token: Whether there was an Authorization header.
        read: Bytes of the body that were read.
        status: The HTTP status of the answer; None while there is none, and for ever where there was none.
    """

    method: str
    path: str
    host: str = ""
    operation: str = ""
    fields: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    headers: frozenset[str] = frozenset()
    had_token: bool = False
    read: int = 0
    status: int | None = None

    def matches(self, name: str) -> bool:
        """Tell whether it is a request of that method, operation or root field."""
        return name in {"*", self.method, self.operation, *self.fields}


class Requests:
    """All requests so far, in the order in which they came: iterate, or ask for some by name."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[Record]:
        with self._changed:
            return iter(list(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def of(self, name: str) -> list[Record]:
        """Return those of a method, an operation or a root field."""
        return [item for item in self if item.matches(name)]

    def count(self, name: str) -> int:
        """Return how many there were."""
        return len(self.of(name))

    def clear(self) -> None:
        """Forget what was asked so far."""
        with self._changed:
            self._records.clear()

    def add(self, record: Record) -> None:
        """Write a request down; for the server."""
        with self._changed:
            self._records.append(record)
            self._changed.notify_all()

    def note(self, record: Record, *, read: int | None = None, status: int | None = None) -> None:
        """Write down what became of a request; for the server."""
        with self._changed:
            record.read = record.read if read is None else read
            record.status = record.status if status is None else status
            self._changed.notify_all()

    def wait_for(self, name: str, *, count: int = 1, read: int = 0, timeout: float = 30) -> Record:
        """Return the ``count``-th request of that name once it is here and so much of its body was read.

        Raises:
            TimeoutError: It did not come.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                result = [item for item in self._records if item.matches(name)]
                if len(result) >= count and result[count - 1].read >= read:
                    return result[count - 1]
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"no request {name} came {count} times")
