"""What a dataclass field may be declared as, and how messages name it; ``builder.schema.parse`` reads values.

Nothing that takes time to import: every command of this tool waits for this module. Rules and the like compare by
identity, since types that carry them must be hashable to stand in a union.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from typing import Annotated, Any, Literal

from builder.text import show

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOT_A_KEY = {"not_a_key": True}
"""Metadata of a dataclass field that no file gives: code fills it in after reading."""

_NAMES: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    object: "anything",
    Any: "anything",
    type(None): "nothing",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """A condition on a value that already has the right type.

    Attributes:
        text: Completes the name of the type in a message: ``a whole number`` + ``from 1 to 9``.
        holds: Whether a value meets it.
        schema: The same in JSON Schema.
    """

    text: str
    holds: Callable[[Any], bool]
    schema: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reads:
    """The value is written as a plainer type and parsed.

    Attributes:
        source: What is written.
        parse: From what is written to the value; raises ``ValueError`` with ``what is wrong; what would be right``.
        write: The way back.
        text: What is needed, in a message.
        schema: What may be written, in JSON Schema.
    """

    source: Any
    parse: Callable[[Any], object]
    write: Callable[[Any], object] = str
    text: str
    schema: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Keyed:
    """A mapping with exactly one key, which names the dataclass that its value is read into."""

    kinds: Mapping[str, type]


def between(low: float, high: float) -> Rule:
    """Return the rule that a number lies from ``low`` to ``high``, both included."""
    return Rule(
        text=f"from {low:,} to {high:,}",
        holds=lambda value: low <= value <= high,
        schema={"minimum": low, "maximum": high},
    )


def above(low: float, high: float) -> Rule:
    """Return the rule that a number lies above ``low`` and is at most ``high``."""
    return Rule(
        text=f"above {low:,} and at most {high:,}",
        holds=lambda value: low < value <= high,
        schema={"exclusiveMinimum": low, "maximum": high},
    )


def pattern(regex: str, text: str) -> Rule:
    """Return the rule that the whole of a text matches; ``text`` says so in words (``of 1 to 40 letters``)."""
    compiled = re.compile(regex)
    return Rule(text=text, holds=lambda value: bool(compiled.fullmatch(value)), schema={"pattern": f"^(?:{regex})$"})


def line(most: int) -> Rule:
    """Return the rule that a text is one line, printable, of at most so many characters."""
    return Rule(
        text=f"of at most {most:,} printable characters",
        holds=lambda value: len(value) <= most and value.isprintable(),
        schema={"maxLength": most},
    )


def length(low: int, high: int) -> Rule:
    """Return the rule that a list has from ``low`` to ``high`` items."""
    return Rule(
        text=f"of {low:,} to {high:,} items",
        holds=lambda value: low <= len(value) <= high,
        schema={"minItems": low, "maxItems": high},
    )


def keys(kind: Any) -> dict[str, tuple[Any, dataclasses.Field[Any]]]:
    """Return the type, annotations kept, and the field of each key that a dataclass reads, in order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = dataclasses.fields(kind)
    return {field.name: (hints[field.name], field) for field in fields if field.metadata != NOT_A_KEY}


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether a key must be given."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def members(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union; nothing for any other type."""
    return typing.get_args(kind) if typing.get_origin(kind) in {typing.Union, types.UnionType} else ()


def extras(kind: Any) -> tuple[Any, ...]:
    """Return what ``Annotated`` adds to a type; nothing for any other type."""
    return typing.get_args(kind)[1:] if typing.get_origin(kind) is Annotated else ()


def has_form(kind: Any, data: Any) -> bool:  # noqa: PLR0911 - one return a sort of type
    """Whether data is of the plain type that a kind is written as, whatever its value."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        for extra in extras(kind):
            if isinstance(extra, Reads):
                return has_form(extra.source, data)
            if isinstance(extra, Keyed):
                return isinstance(data, dict)
        return has_form(arguments[0], data)
    if alternatives := members(kind):
        return any(has_form(item, data) for item in alternatives)
    if origin is Literal:
        return any(type(data) is type(item) for item in arguments)
    if origin is tuple:
        return isinstance(data, list)
    if origin is dict or dataclasses.is_dataclass(kind):
        return isinstance(data, dict)
    if kind is float:
        return type(data) in {int, float}
    return kind in {object, Any} or type(data) is kind


def describe(kind: Any) -> str:  # noqa: PLR0911 - one return a sort of type
    """Return what a type asks for, in words that complete ``... is needed``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _describe_annotated(kind)
    if alternatives := members(kind):
        return " or ".join(describe(item) for item in alternatives if item is not type(None))
    if origin is Literal:
        return " or ".join(show(item) for item in arguments)
    if origin is tuple:
        return f"a list (of {describe(arguments[0])})"
    if origin is dict:
        return f"a mapping (to {describe(arguments[1])})"
    if dataclasses.is_dataclass(kind):
        return f"a mapping with the keys {', '.join(keys(kind))}"
    return _NAMES[kind]


def _describe_annotated(kind: Any) -> str:
    text = describe(typing.get_args(kind)[0]) if not any(isinstance(x, Reads | Keyed) for x in extras(kind)) else ""
    for extra in extras(kind):
        if isinstance(extra, Reads):
            return extra.text
        if isinstance(extra, Keyed):
            return f"a mapping with one key ({', '.join(extra.kinds)})"
        if isinstance(extra, Rule):
            text += " " + extra.text
    return text
