"""JSON Schema, for editors and tests, from the types that ``builder.schema.parse`` reads.

A key's description is its entry in the ``Attributes:`` section of the class docstring, so that it is written once.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import Annotated, Any, Literal

from builder.schema import parse, types

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    object: {},
    Any: {},
}


def json_schema(kind: Any, *, title: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what ``parse.parse(kind, ...)`` takes, as plain data.

    Rules that are code alone (a path that exists, two keys that agree) are not in it.
    """
    return {"$schema": _DRAFT, "title": title, **_schema(kind)}


def _schema(kind: Any) -> dict[str, Any]:  # noqa: PLR0911 - one return a sort of type
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _annotated(arguments[0], types.extras(kind))
    if alternatives := types.members(kind):
        given = [_schema(item) for item in alternatives if item is not type(None)]
        return given[0] if len(given) == 1 else {"anyOf": given}
    if origin is Literal:
        return {"enum": list(arguments)} if len(arguments) > 1 else {"const": arguments[0]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    if dataclasses.is_dataclass(kind):
        return _mapping(kind)
    return dict(_SCALARS[kind])


def _annotated(inner: Any, extras: tuple[Any, ...]) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for extra in extras:
        if isinstance(extra, parse.Reads):
            return {**_schema(extra.source), **extra.schema}
        if isinstance(extra, parse.Keyed):
            return {
                "type": "object",
                "properties": {
                    key: {**_schema(item), "description": _docstring(item).partition("\n")[0]}
                    for key, item in extra.kinds.items()
                },
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            }
        if isinstance(extra, parse.Rule):
            schema.update(extra.schema)
    return {**_schema(inner), **schema}


def _mapping(kind: Any) -> dict[str, Any]:
    texts = _descriptions(kind)
    known = types.keys(kind)
    properties: dict[str, Any] = {}
    for key, (hint, field) in known.items():
        properties[key] = _schema(hint)
        if key in texts:
            properties[key]["description"] = texts[key]
        if field.default is not dataclasses.MISSING and field.default is not None:
            properties[key]["default"] = parse.as_data(hint, field.default)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required := [key for key, (_, field) in known.items() if types.is_required(field)]:
        schema["required"] = required
    return schema


def _descriptions(kind: Any) -> dict[str, str]:
    """Return the entries of the ``Attributes:`` section of a google-style docstring, each on one line."""
    _, _, section = _docstring(kind).partition("Attributes:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if entry := re.match(r" {4}(\w+): (.*)", line):
            name, texts[name] = entry[1], entry[2]
        elif name and line.startswith(" " * 8):
            texts[name] += " " + line.strip()
    return {key: text.replace("``", "") for key, text in texts.items()}


def _docstring(kind: Any) -> str:
    return inspect.getdoc(kind) or ""
