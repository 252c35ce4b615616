"""What a pickle would create when it is loaded, as inert values: nothing is imported, called or copied.

Integers up to 16 bytes and texts of up to 300 characters are themselves; None is also for booleans. The classes have no
repr: values share their parts, so that it could be exponentially long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(slots=True, eq=False, repr=False)
class Global:
    """A class or function that the loader imports by its name; ``name`` may contain dots."""

    module: str
    name: str
    position: int


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """The result of a call while loading.

    Attributes:
        function: What is called.
        arguments: Its arguments, usually a tuple.
        position: Where the opcode of the call is.
        is_new: Whether ``__new__`` of a class is called, which runs no ``__init__``.
        states: What ``__setstate__`` or ``__dict__`` of the result receives.
        items: What is appended to the result, or set as its items: keys and values in turn.
    """

    function: Value
    arguments: Value
    position: int
    is_new: bool = False
    states: list[Value] = field(default_factory=list)
    items: list[Value] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Container:
    """A tuple, list, dict (keys and values in turn), set or frozenset."""

    kind: str
    items: list[Value]


@dataclass(slots=True, eq=False, repr=False)
class Blob:
    """Bytes, a bytearray or a long text: where it is in the file."""

    kind: str
    start: int
    size: int


@dataclass(slots=True, eq=False, repr=False)
class Number:
    """Numbers whose values are not read: a float, a large integer, or many numbers in a row.

    Attributes:
        size: The bytes of all of them in the pickle.
        count: How many; 0 if they begin at ``start`` and are not counted yet.
        start: Where they are in the file.
    """

    size: int
    count: int = 1
    start: int = -1


FLOAT = Number(9)
EMPTY_TUPLE = Container("tuple", [])
"""All floats and all empty tuples are these objects, since there may be millions."""

SCALARS = frozenset({int, str, type(None)})

Value: TypeAlias = Global | Call | Container | Blob | Number | str | int | None


def list_children(value: Value) -> list[Value]:
    """Return what a value directly contains."""
    if isinstance(value, Container):
        return value.items
    if isinstance(value, Call):
        return [value.function, value.arguments, *value.states, *value.items]
    return []


def walk(*roots: Value, seen: set[int] | None = None) -> Iterator[Value]:
    """Yield the roots, and each value that they contain once, without recursion and without the scalars in containers.

    ``seen`` has the ids of the values to leave out.
    """
    seen = set() if seen is None else seen
    pending = list(reversed(roots))
    while pending:
        value = pending.pop()
        if type(value) not in SCALARS and value is not FLOAT:
            if id(value) in seen:
                continue
            seen.add(id(value))
            # There are millions: calls are saved here, and most values are scalars.
            items = value.items if type(value) is Container else list_children(value)
            parts = [item for item in items if type(item) not in SCALARS and item is not FLOAT]
            parts.reverse()
            pending += parts
        yield value


def get_items(value: Value) -> list[Value]:
    """Return the items of a container; empty for anything else."""
    return value.items if isinstance(value, Container) else []


def to_pairs(value: Value) -> list[tuple[Value, Value]]:
    """Return the keys and values of a dict; empty for anything else."""
    if not isinstance(value, Container) or value.kind != "dict":
        return []
    return list(zip(value.items[::2], value.items[1::2], strict=False))
