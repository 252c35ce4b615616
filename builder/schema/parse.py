"""Plain data, as YAML or JSON gives it, read into frozen keyword-only dataclasses; every fault found at once.

A field's type says what may stand in its place: ``str``, ``int``, ``float`` (whole numbers too), ``bool``, ``object``
(anything), ``Literal[...]``, another dataclass, ``tuple[T, ...]`` (a list), ``dict[str, T]``, unions of these, and
``Annotated[T, ...]`` with

- ``Rule``: a condition on the value (``between``, ``above``, ``pattern`` and ``length`` make the usual ones);
- ``Reads``: the value is written as something plainer and parsed by a function;
- ``Keyed``: a mapping with exactly one key, which names the dataclass that its value is read into.

Keys that must agree with one another: the dataclass's ``__post_init__`` raises ``ValueError`` with ``what is wrong;
what would be right``.

Nothing is coerced: ``true`` is no number, ``"1"`` is no number, ``1.0`` is no whole number, and numbers are finite.

Written by hand, not with pydantic: to import that and prepare a type costs 0.24 s (measured), several times what a
whole run with nothing to do takes otherwise.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from builder.schema import types
from builder.schema.types import NOT_A_KEY, Keyed, Reads, Rule, above, between, length, line, pattern
from builder.text import show, sort_of

__all__ = [
    "NOT_A_KEY",
    "Keyed",
    "Place",
    "Problem",
    "Reads",
    "Rule",
    "above",
    "as_data",
    "between",
    "length",
    "line",
    "parse",
    "pattern",
]

T = TypeVar("T")
Place = tuple[str | int, ...]
"""Keys and list positions from the top of a file to a value."""

_FAILED: Any = object()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong in a file.

    Attributes:
        path: Where it is: keys and list positions from the top.
        text: ``what is wrong; what would be right``.
    """

    path: Place
    text: str


def parse(kind: type[T], data: object, *, spelling: Mapping[Place, str] | None = None) -> T | list[Problem]:
    """Read plain data into ``kind``.

    Args:
        kind: A dataclass, or any type of the module's docstring.
        data: dict, list, str, int, float, bool and None only.
        spelling: How values were written where that differs from how Python prints them (``3.10``), by place.

    Returns:
        The value, or all that is wrong with the data. Fields with the metadata ``NOT_A_KEY`` keep their defaults.
    """
    reader = _Reader(spelling or {})
    value = reader.read(kind, data, ())
    return reader.faults or typing.cast("T", value)


def as_data(kind: Any, value: Any) -> Any:
    """Return what ``parse`` reads as ``value``: plain data, every default written out, keys that are None left out."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Annotated:
        return _annotated_as_data(kind, value)
    if alternatives := types.members(kind):
        return as_data(_member_of(alternatives, value), value)
    if dataclasses.is_dataclass(value):
        items = ((key, hint, getattr(value, key)) for key, (hint, _) in types.keys(type(value)).items())
        return {key: as_data(hint, item) for key, hint, item in items if item is not None}
    if isinstance(value, tuple | list):
        return [as_data(arguments[0] if arguments else object, item) for item in value]
    if isinstance(value, Mapping):
        return {key: as_data(arguments[1] if arguments else object, item) for key, item in value.items()}
    return value


def _annotated_as_data(kind: Any, value: Any) -> Any:
    for extra in types.extras(kind):
        if isinstance(extra, Reads):
            return extra.write(value)
        if isinstance(extra, Keyed):
            name = next(key for key, candidate in extra.kinds.items() if type(value) is candidate)
            return {name: as_data(extra.kinds[name], value)}
    return as_data(typing.get_args(kind)[0], value)


def _member_of(alternatives: tuple[Any, ...], value: Any) -> Any:
    """Return the alternative whose Python type, without annotations, is the value's."""
    for candidate in alternatives:
        inner = typing.get_args(candidate)[0] if typing.get_origin(candidate) is Annotated else candidate
        bare = typing.get_origin(inner) or inner
        if value in typing.get_args(inner) if bare is Literal else isinstance(value, bare):
            return candidate
    return object


class _Reader:
    """One pass over the data; gathers faults instead of stopping at the first."""

    def __init__(self, spelling: Mapping[Place, str]) -> None:
        self.faults: list[Problem] = []
        self._spelling = spelling

    def read(self, kind: Any, data: Any, path: Place) -> Any:
        """Return the value, or ``_FAILED`` when a fault was added."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        value = data
        if origin is Annotated:
            value = self._read_annotated(kind, data, path)
        elif alternatives := types.members(kind):
            value = self._read_union(kind, alternatives, data, path)
        elif not types.has_form(kind, data) or (origin is Literal and data not in arguments):
            value = self._wrong(kind, data, path)
        elif origin is tuple:
            items = [self.read(arguments[0], item, (*path, index)) for index, item in enumerate(data)]
            value = _FAILED if _FAILED in items else tuple(items)
        elif origin is dict:
            entries = {key: self.read(arguments[1], item, (*path, key)) for key, item in data.items()}
            value = _FAILED if _any_failed(entries) else entries
        elif dataclasses.is_dataclass(kind):
            value = self._read_dataclass(kind, data, path)
        elif kind is float:
            value = self._read_float(data, path)
        return value

    def _fault(self, path: Place, text: str) -> Any:
        self.faults.append(Problem(path=path, text=text))
        return _FAILED

    def _wrong(self, kind: Any, data: Any, path: Place) -> Any:
        """Add the fault of a value of the wrong type, or that a rule or a list of words refuses."""
        shown = self._spelling.get(path) or show(data)
        fits = types.has_form(kind, data)
        needed = types.describe(kind)
        if fits:
            text = f"{shown} will not do; {needed} is needed"
        elif isinstance(data, dict | list) or data is None:
            text = f"{shown} stands here; {needed} is needed"
        else:
            text = f"{shown} is {sort_of(data)}; {needed} is needed"
            if not isinstance(data, str) and not isinstance(parse(kind, shown), list):
                text += f': quote it, "{shown}"'
        if isinstance(data, str) and (near := _nearest(data, _words(kind))):
            text += f"; did you mean {show(near)}?"
        return self._fault(path, text)

    def _read_float(self, data: float, path: Place) -> Any:
        try:
            value = float(data)
        except OverflowError:
            value = math.inf
        if math.isfinite(value):
            return value
        return self._fault(path, f"{show(data)} is too large; a finite number is needed")

    def _read_annotated(self, kind: Any, data: Any, path: Place) -> Any:
        for extra in types.extras(kind):
            if isinstance(extra, Reads):
                return self._read_parsed(kind, extra, data, path)
            if isinstance(extra, Keyed):
                return self._read_keyed(kind, extra, data, path)
        if not types.has_form(kind, data):
            return self._wrong(kind, data, path)
        value = self.read(typing.get_args(kind)[0], data, path)
        rules = [extra for extra in types.extras(kind) if isinstance(extra, Rule)]
        return value if value is _FAILED or all(rule.holds(value) for rule in rules) else self._wrong(kind, data, path)

    def _read_parsed(self, kind: Any, extra: Reads, data: Any, path: Place) -> Any:
        if not types.has_form(kind, data):
            return self._wrong(kind, data, path)
        source = self.read(extra.source, data, path)
        if source is _FAILED:
            return _FAILED
        try:
            return extra.parse(source)
        except ValueError as error:
            return self._fault(path, str(error))

    def _read_keyed(self, kind: Any, extra: Keyed, data: Any, path: Place) -> Any:
        if not isinstance(data, dict):
            return self._wrong(kind, data, path)
        unknown = [key for key in data if key not in extra.kinds]
        for key in unknown:
            self._fault((*path, key), _unknown_key(key, list(extra.kinds), list(extra.kinds)))
        if unknown:
            return _FAILED
        if len(data) != 1:
            return self._fault(path, f"{len(data)} keys stand here; {types.describe(kind)} is needed")
        ((key, value),) = data.items()
        return self.read(extra.kinds[key], value, (*path, key))

    def _read_union(self, kind: Any, alternatives: tuple[Any, ...], data: Any, path: Place) -> Any:
        fitting = [item for item in alternatives if types.has_form(item, data)]
        attempts: list[list[Problem]] = []
        for item in fitting:
            attempt = _Reader(self._spelling)
            value = attempt.read(item, data, path)
            if not attempt.faults:
                return value
            attempts.append(attempt.faults)
        if not attempts:
            return self._wrong(kind, data, path)
        # Of several that could be meant, the one with the least wrong in it is most likely the one that was.
        fewest = min(attempts, key=len)
        self.faults += fewest
        return _FAILED

    def _read_dataclass(self, kind: Any, data: dict[str, Any], path: Place) -> Any:
        known = types.keys(kind)
        missing = [key for key in known if key not in data]
        values: dict[str, Any] = {}
        for key, item in data.items():
            if key in known:
                values[key] = self.read(known[key][0], item, (*path, key))
            else:
                values[key] = self._fault((*path, key), _unknown_key(key, missing, list(known)))
        for key in missing:
            hint, field = known[key]
            if types.is_required(field):
                values[key] = self._fault((*path, key), f"missing; {types.describe(hint)} is needed")
        if _any_failed(values):
            return _FAILED
        try:
            return kind(**values)
        except ValueError as error:
            return self._fault(path, str(error))


def _any_failed(values: Mapping[Any, Any]) -> bool:
    return any(value is _FAILED for value in values.values())


def _words(kind: Any) -> list[str]:
    """Return the words that a type, or a member of a union, takes literally."""
    if typing.get_origin(kind) is Literal:
        return [word for word in typing.get_args(kind) if isinstance(word, str)]
    return [word for item in types.members(kind) for word in _words(item)]


def _nearest(word: str, words: list[str]) -> str | None:
    # difflib is quadratic, and nobody mistypes a name of hundreds of letters.
    if len(word) > 40 or not words:
        return None
    import difflib  # noqa: PLC0415 - only a fault waits for it

    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return near[0] if near else None


def _unknown_key(key: str, missing: list[str], known: list[str]) -> str:
    # A key that is not there yet is the likelier one to have been meant.
    near = _nearest(key, missing) or _nearest(key, known)
    if near:
        return f"unknown key; did you mean {near}?"
    return f"unknown key; {'the keys here are ' + ', '.join(known) if known else 'no key belongs here'}"
