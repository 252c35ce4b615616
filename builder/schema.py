"""Typed values from plain data, by pydantic: a dataclass, or every problem with the data; and strict JSON.

Data is taken as strict JSON: ``true`` and ``"1"`` are not numbers, ``1.0`` is not an integer, numbers are finite,
unknown keys are refused. ``Rule``, ``Reads`` and ``Keyed`` go into ``Annotated``. Keys that must agree are checked in a
dataclass's ``__post_init__``, which raises ``ValueError`` with ``what is wrong; what to do``.

Pydantic is imported when the first value is read, since ``--help`` does without.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from builder.text import describe, find_nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema, ErrorDetails

T = TypeVar("T")
KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a file to a value."""

DEPTH = 64
"""How deep lists and objects may nest in JSON."""

_MOST_PROBLEMS = 1_000
"""Data with more than these is something else than was expected; the rest is not explained."""
_DIGITS = 400
"""Longer numbers are refused: no double has more digits, and to read them takes quadratic time."""
_NOUNS = {"int": "an integer", "float": "a number", "str": "text", "tuple": "a list", "bool": "true or false"}
_EXPECTED = {
    **{f"{name}_type": noun for name, noun in _NOUNS.items()},
    "string_type": "text",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong in a file.

    Attributes:
        path: Where it is: keys and list positions from the top.
        text: ``what is wrong; what to do``.
    """

    path: KeyPath
    text: str

    def __str__(self) -> str:
        return ": ".join(filter(None, [".".join(map(str, self.path)), self.text]))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Constraint:
    """A condition on a value that already has the right type.

    Attributes:
        text: Completes the name of the type in a message: ``an integer`` + ``from 1 to 9``.
        holds: Whether a value meets it.
        schema: The same in JSON Schema.
    """

    text: str
    holds: Callable[[Any], bool]
    schema: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        inner = handler(source)
        expected = f"{_NOUNS.get(inner['type'], 'a value')} {self.text}"

        def check(value: Any) -> Any:
            if not self.holds(value):
                raise _custom_error(expected)
            return value

        checked = _core().no_info_after_validator_function(check, inner)
        # A list's items have errors of their own.
        return checked if inner["type"] == "tuple" else _with_message(checked, expected)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), **self.schema}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ParsedText:
    """The value is written as text and parsed.

    Attributes:
        parse: From the text to the value; raises ``ValueError`` with ``what is wrong; what to do``.
        text: What is expected, in a message.
        schema: What may be written, in JSON Schema.
    """

    parse: Callable[[str], object]
    text: str
    schema: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        text = _with_message(_core().str_schema(), self.text)
        return _core().no_info_after_validator_function(self.parse, text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), **self.schema}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TaggedUnion:
    """A mapping with exactly one key, which names the dataclass that its value is read into."""

    kinds: Mapping[str, type]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        core = _core()
        fields = {
            name: core.typed_dict_field(handler.generate_schema(kind), required=False)
            for name, kind in self.kinds.items()
        }
        return core.no_info_after_validator_function(
            self._value,
            core.typed_dict_schema(fields, extra_behavior="forbid"),
            serialization=core.plain_serializer_function_ser_schema(self._write),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        json_schema = handler(schema)
        for name, kind in self.kinds.items():
            json_schema["properties"][name]["description"], _ = _descriptions(kind)
        return {**json_schema, "minProperties": 1, "maxProperties": 1}

    def _value(self, mapping: dict[str, object]) -> object:
        if len(mapping) != 1:
            raise ValueError(f"{len(mapping)} keys; expected exactly one of {', '.join(self.kinds)}")
        return next(iter(mapping.values()))

    def _write(self, value: object) -> dict[str, Any]:
        return {name: to_data(kind, value) for name, kind in self.kinds.items() if type(value) is kind}


def require_between(low: float, high: float) -> Constraint:
    """Return the rule that a number lies from ``low`` to ``high``, both included."""
    return Constraint(
        text=f"from {low:,} to {high:,}",
        holds=lambda value: low <= value <= high,
        schema={"minimum": low, "maximum": high},
    )


def require_above(low: float, high: float) -> Constraint:
    """Return the rule that a number lies above ``low`` and is at most ``high``."""
    return Constraint(
        text=f"above {low:,} and at most {high:,}",
        holds=lambda value: low < value <= high,
        schema={"exclusiveMinimum": low, "maximum": high},
    )


def require_equal(number: int) -> Constraint:
    """Return the rule that an integer is ``number``; unlike ``Literal``, it takes neither ``true`` nor ``1.0``."""
    return Constraint(text=f"equal to {number}", holds=lambda value: value == number, schema={"const": number})


def require_pattern(regex: str, text: str) -> Constraint:
    """Return the rule that the whole of a text matches; ``text`` describes it (``of 1 to 40 letters``)."""
    compiled = re.compile(regex)
    return Constraint(
        text=text, holds=lambda value: bool(compiled.fullmatch(value)), schema={"pattern": f"^(?:{regex})$"}
    )


def require_line(most: int) -> Constraint:
    """Return the rule that a text is one line, printable, of at most so many characters."""
    return Constraint(
        text=f"of at most {most:,} printable characters",
        holds=lambda value: len(value) <= most and value.isprintable(),
        schema={"maxLength": most},
    )


def require_length(low: int, high: int) -> Constraint:
    """Return the rule that a list or text has from ``low`` to ``high`` items."""
    return Constraint(
        text=f"of {low:,} to {high:,} items",
        holds=lambda value: low <= len(value) <= high,
        schema={"minItems": low, "maxItems": high},
    )


Sha256 = Annotated[str, require_pattern(r"[0-9a-f]{64}", "that is a sha256 in hexadecimal")]
Digest = Annotated[str, require_pattern(r"sha256:[0-9a-f]{64}", "that is sha256: and 64 hexadecimal digits")]


def parse(kind: type[T], data: object, *, spelling: Mapping[KeyPath, str] | None = None) -> T | list[Problem]:
    """Read plain data into ``kind``: a dataclass, or any type that pydantic takes.

    Args:
        kind: The type.
        data: dict, list, str, int, float, bool and None; anything else is a problem.
        spelling: How values were written where that differs from how Python prints them (``3.10``), by place.

    Returns:
        The value, or all that is wrong with the data.
    """
    if problems := list(_unreadable(data, ())):
        return problems
    value = _validate(kind, data)
    return _Explainer(kind, data, spelling or {}).problems(value) if isinstance(value, _Errors) else value


def to_data(kind: Any, value: Any) -> Any:
    """Return what ``parse`` reads as ``value``: plain data, every default written out, keys that are None left out."""
    return _adapter(kind).dump_python((value,), mode="json", exclude_none=True)[0]


def build_json_schema(kind: Any, *, title: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what ``parse(kind, ...)`` takes, as plain data.

    A key's description is its entry in the ``Attributes:`` section of the class docstring, so that it is written once.
    Rules that are code alone (a path that exists, two keys that agree) are not in it.
    """
    from pydantic.json_schema import GenerateJsonSchema  # noqa: PLC0415 - see the module's docstring

    class Generator(GenerateJsonSchema):
        def dataclass_schema(self, schema: Any) -> dict[str, Any]:
            json_schema = super().dataclass_schema(schema)
            del json_schema["title"]
            json_schema["description"], texts = _descriptions(schema["cls"])
            for key, text in texts.items():
                json_schema["properties"].get(key, {})["description"] = text
            return json_schema

        def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - a title repeats the key
            return False

    json_schema = _adapter(kind).json_schema(schema_generator=Generator)
    (top,), defs = json_schema["prefixItems"], json_schema.get("$defs", {})
    top = defs.pop(top["$ref"].rpartition("/")[2]) if "$ref" in top else top
    return {"$schema": GenerateJsonSchema.schema_dialect, **top, "title": title, "$defs": defs}


def canonical_json(data: object) -> bytes:
    """Return the one way to write plain data: sorted keys, no spaces, UTF-8, no newline.

    Args:
        data: dict with text keys, list, tuple, str, int, finite float, bool, None.

    Raises:
        TypeError: If something else is in it, or a key that is not text.
        ValueError: If a number is not finite or a text has lone surrogates.
    """
    for key in _keys(data):
        if not isinstance(key, str):
            # json.dumps would write 1 and "1" alike.
            raise TypeError(f"the key {key!r} is not text")
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def read_json(text: bytes) -> dict[str, Any] | list[Problem]:
    """Read one JSON object, which Python's reader takes with duplicate keys, NaN, and numbers that overflow.

    Args:
        text: UTF-8, no byte order mark.

    Returns:
        Plain data, or everything that is wrong with it, by key path: duplicate keys, numbers that are not finite,
        lone surrogates, nesting beyond ``DEPTH``. A syntax error has an empty path and says line and column.
    """
    problems: list[Problem] = []
    try:
        decoded = text.decode("utf-8")
        if decoded.startswith("\ufeff"):
            return [Problem(path=(), text="starts with a byte order mark; expected plain UTF-8")]
        raw = json.loads(
            decoded, object_pairs_hook=_Pairs, parse_constant=_Refused, parse_int=_integer, parse_float=_decimal
        )
        if not isinstance(raw, _Pairs):
            return [Problem(path=(), text="the file does not hold an object; expected {...}")]
        data = _build(raw, (), problems)
    except UnicodeDecodeError as error:
        return [Problem(path=(), text=f"byte {error.start + 1} is not UTF-8; expected JSON in UTF-8")]
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        return [Problem(path=(), text=f"{at}: not valid JSON ({error.msg}); write the file again")]
    except RecursionError:
        return [Problem(path=(), text=f"lists and objects nest deeper than {DEPTH}; this is not a file of this tool")]
    return problems or data


class _Errors(list["ErrorDetails"]):
    """What pydantic finds wrong."""


def _validate(kind: Any, data: object) -> Any:
    from pydantic import ValidationError  # noqa: PLC0415 - see the module's docstring

    try:
        # Through JSON: only there strict means a list for a tuple and a mapping for a dataclass.
        return _adapter(kind).validate_json(json.dumps([data]))[0]
    except ValidationError as error:
        return _Errors(error.errors(include_url=False))


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 - see the module's docstring

    # In a tuple: a dataclass itself takes no configuration from outside, but inherits that of what it is in.
    return TypeAdapter(tuple[kind], config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))


class _Explainer:
    """Says in words what pydantic finds wrong with data."""

    def __init__(self, kind: Any, data: object, spelling: Mapping[KeyPath, str]) -> None:
        self._kind, self._data, self._spelling = kind, data, spelling

    def problems(self, errors: _Errors) -> list[Problem]:
        """Return one problem a place."""
        grouped = _by_place(errors[:_MOST_PROBLEMS], self._data)
        # What would be right for a missing key is what pydantic says of a null there; and text without its quotes is
        # known by being right with them.
        trial = json.loads(json.dumps(self._data))
        for path, (error, *_) in grouped.items():
            if error["type"] == "missing":
                trial = _replaced(trial, path, None)
            elif isinstance(error["input"], bool | int | float) and error["type"] != "unexpected_keyword_argument":
                trial = _replaced(trial, path, self._shown(path, error["input"]))
        again = _validate(self._kind, trial)
        after = _by_place(again, trial) if isinstance(again, _Errors) else {}
        return [
            Problem(path=path, text=self._text(path, group, after.get(path, []))) for path, group in grouped.items()
        ]

    def _text(self, path: KeyPath, errors: Sequence[ErrorDetails], after: Sequence[ErrorDetails]) -> str:
        error = errors[0]
        if error["type"] == "value_error":
            return str(error["ctx"]["error"])
        if error["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            return self._unknown_key(path)
        if error["type"] == "missing":
            return f"missing; expected {self._expected(path, after)}"
        shown, value = self._shown(path, error["input"]), error["input"]
        text = f"{shown} is invalid; expected {self._expected(path, errors)}"
        if isinstance(value, bool | int | float) and not after:
            return f'{text}: quote it, "{shown}"'
        words = re.findall("'([^']*)'", error.get("ctx", {}).get("expected", ""))
        near = find_nearest(value, words) if isinstance(value, str) else None
        return f"{text}; did you mean {describe(near)}?" if near else text

    def _expected(self, path: KeyPath, errors: Sequence[ErrorDetails]) -> str:
        texts = []
        for error in errors:
            text = _EXPECTED.get(error["type"]) or error["msg"].removeprefix("Input should be ")
            keys = self._known_keys(path) if text == "a mapping" else []
            texts.append(f"{text} with the keys {', '.join(keys)}" if keys else text)
        return " or ".join(dict.fromkeys(texts))

    def _shown(self, path: KeyPath, value: object) -> str:
        return self._spelling.get(path) or ("null" if value is None else describe(value))

    def _unknown_key(self, path: KeyPath) -> str:
        known = self._known_keys(path[:-1])
        mapping = functools.reduce(lambda data, part: data[part], path[:-1], cast("Any", self._data))
        # A key that is not there yet is the likelier one to have been meant.
        near = find_nearest(str(path[-1]), [key for key in known if key not in mapping]) or find_nearest(
            str(path[-1]), known
        )
        if near:
            return f"unknown key; did you mean {near}?"
        return f"unknown key; {'the keys here are ' + ', '.join(known) if known else 'no key is expected here'}"

    def _known_keys(self, path: KeyPath) -> list[str]:
        json_schema = _plain_schema(self._kind)
        return _keys_at(json_schema["prefixItems"][0], path, json_schema.get("$defs", {}))


@functools.cache
def _plain_schema(kind: Any) -> dict[str, Any]:
    return _adapter(kind).json_schema()


def _keys_at(schema: Mapping[str, Any], path: KeyPath, defs: Mapping[str, Any]) -> list[str]:
    """Return the keys that a JSON Schema knows at a place."""
    if "$ref" in schema:
        return _keys_at(defs[schema["$ref"].rpartition("/")[2]], path, defs)
    if "anyOf" in schema:
        return next(filter(None, (_keys_at(choice, path, defs) for choice in schema["anyOf"])), [])
    properties = schema.get("properties", {})
    if not path:
        return list(properties)
    inner = properties.get(path[0]) or schema.get("items") or schema.get("additionalProperties")
    return _keys_at(inner, path[1:], defs) if isinstance(inner, dict) else []


def _by_place(errors: Sequence[ErrorDetails], data: object) -> dict[KeyPath, list[ErrorDetails]]:
    """Return the errors by place; of a union's alternatives, those of the ones that were likely meant."""
    grouped: dict[KeyPath, list[ErrorDetails]] = {}
    for error in errors:
        grouped.setdefault(_place(error, data), []).append(error)
    # An alternative with an error inside the value has the right type; the others have not.
    above = {path[:end] for path in grouped for end in range(len(path))}
    return {
        path: [error for error in group if error["type"] == "value_error"] or group
        for path, group in grouped.items()
        if path not in above
    }


def _place(error: ErrorDetails, data: Any) -> KeyPath:
    """Return the place of an error in the data: pydantic's, without the names of a union's alternatives."""
    path: list[str | int] = []
    _, *parts = error["loc"] or (0,)
    for part in parts:
        if part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int):
            data = data[part]
            path.append(part)
    return (*path, parts[-1]) if error["type"] == "missing" else tuple(path)


def _replaced(data: Any, path: KeyPath, value: object) -> Any:
    """Return plain data with one value set, in place."""
    if not path:
        return value
    functools.reduce(lambda inner, part: inner[part], path[:-1], data)[path[-1]] = value
    return data


def _core() -> Any:
    from pydantic_core import core_schema  # noqa: PLC0415 - see the module's docstring

    return core_schema


def _custom_error(expected: str) -> ValueError:
    from pydantic_core import PydanticCustomError  # noqa: PLC0415 - see the module's docstring

    return PydanticCustomError("rule", "{text}", {"text": expected})


def _with_message(schema: CoreSchema, expected: str) -> Any:
    """Return a schema all of whose errors say what is expected."""
    context = {"text": expected}
    return _core().custom_error_schema(schema, "rule", custom_error_message="{text}", custom_error_context=context)


def _descriptions(kind: type) -> tuple[str, dict[str, str]]:
    """Return the first line of a google-style docstring, and the entries of its ``Attributes:``, each on one line."""
    import inspect  # noqa: PLC0415 - no run needs it

    head, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    texts: dict[str, str] = {}
    name = ""
    for row in section.splitlines():
        if entry := re.match(r" {4}(\w+): (.*)", row):
            name, texts[name] = entry[1], entry[2]
        elif name and row.startswith(" " * 8):
            texts[name] += " " + row.strip()
    return head.partition("\n")[0], {key: text.replace("``", "") for key, text in texts.items()}


class _Pairs(list[tuple[str, Any]]):
    """A mapping as written, duplicates and all."""


class _Refused(str):
    """A number that cannot be: ``NaN``, ``Infinity``, or one of hundreds of digits."""

    __slots__ = ()


def _integer(digits: str) -> int | _Refused:
    return int(digits) if len(digits.lstrip("-")) <= _DIGITS else _Refused(digits)


def _decimal(digits: str) -> float | _Refused:
    value = float(digits)
    return value if math.isfinite(value) else _Refused(digits)


def _build(raw: Any, path: KeyPath, problems: list[Problem]) -> Any:
    """Return plain data.

    Raises:
        RecursionError: It nests deeper than ``DEPTH``.
    """
    if len(path) >= DEPTH and isinstance(raw, list):
        raise RecursionError
    if isinstance(raw, _Pairs):
        data: dict[str, Any] = {}
        for key, item in raw:
            key_path = (*path, key)
            if key in data:
                problems.append(Problem(path=key_path, text="duplicate key; leave one of them"))
            else:
                problems += _unreadable({key: None}, path)
            data[key] = _build(item, key_path, problems)
        return data
    if isinstance(raw, list):
        return [_build(item, (*path, index), problems) for index, item in enumerate(raw)]
    problems += _unreadable(raw, path)
    return raw


def _unreadable(data: object, path: KeyPath) -> Iterator[Problem]:
    """Yield the problems of values that no file holds which ``read_json`` takes."""
    if isinstance(data, dict):
        for key, item in data.items():
            if text := _value_problem(key) if isinstance(key, str) else "expected text":
                yield Problem(path=path, text=f"the key {describe(key)} is invalid: {text}")
            yield from _unreadable(item, (*path, key))
    elif isinstance(data, list | tuple):
        for index, item in enumerate(data):
            yield from _unreadable(item, (*path, index))
    elif text := _value_problem(data):
        yield Problem(path=path, text=text)


def _value_problem(value: object) -> str:
    if isinstance(value, _Refused):
        return f"{value if len(value) <= 20 else value[:17] + '...'} is not a finite number; expected a number"
    if isinstance(value, str):
        return "" if _is_encodable(value) else "the text has half a surrogate pair; expected text"
    if isinstance(value, int) and abs(value) >= 10**_DIGITS:
        return f"{describe(value)} is invalid; expected a finite number"
    if isinstance(value, bool | int | float | None):
        return ""
    kind = f"{type(value).__module__}.{type(value).__name__}"
    return f"the type {kind} is invalid; expected what JSON has: text, a number, a list"


def _is_encodable(text: str) -> bool:
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def _keys(data: object) -> Iterator[object]:
    if isinstance(data, dict):
        yield from data
    for item in data.values() if isinstance(data, dict) else data if isinstance(data, list | tuple) else ():
        yield from _keys(item)
