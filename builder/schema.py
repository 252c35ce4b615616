"""Validation of plain data against dataclasses, by pydantic, with all problems at once; and strict JSON.

The rules are those of strict JSON: ``true`` and ``"1"`` are not numbers, ``1.0`` is not an integer, numbers are finite,
unknown keys are refused. :class:`Constraint`, :class:`ParsedText` and :class:`TaggedUnion` are used in ``Annotated``.
Keys that must agree are checked in a dataclass's ``__post_init__``, which raises ``ValueError`` with ``what is wrong;
what to do``.

Pydantic is imported when the first value is validated, so that ``--help`` stays fast.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from builder import lfs
from builder.text import describe, find_nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema, ErrorDetails

T = TypeVar("T")
KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a file to a value."""

DEPTH = 64
"""How deep lists and objects may nest in JSON."""

MOST_VALUES = 200_000
"""Values in one JSON text: a bundle may have 100,000 features. Each takes up to 4 KB if it has a problem."""

_MOST_PROBLEMS = 1_000
"""Problems that are reported at most: data with more of them is of another kind than expected."""
_DIGITS = 400
"""Digits that an integer has at most: a longer one overflows a double, and parsing takes quadratic time."""
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
        path: Keys and list indices from the top of the file.
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
        text: Follows the type in a message: ``an integer`` + ``from 1 to 9``.
        holds: Returns whether a value meets the condition.
        schema: The same condition in JSON Schema.
    """

    text: str
    holds: Callable[[Any], bool]
    schema: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        inner = handler(source)
        expected = f"{_NOUNS.get(inner['type'], 'a value')} {self.text}"

        def check(value: Any) -> Any:
            if not self.holds(value):
                raise _create_error(expected)
            return value

        checked = _import_core_schema().no_info_after_validator_function(check, inner)
        # The errors of a list's items must keep their own messages.
        return checked if inner["type"] == "tuple" else _with_message(checked, expected)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), **self.schema}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ParsedText:
    """A value that is written as text in the file, and parsed.

    Attributes:
        parse: Returns the value for a text; raises ``ValueError`` with ``what is wrong; what to do``.
        text: What messages report as expected.
        schema: The JSON Schema of the text.
    """

    parse: Callable[[str], object]
    text: str
    schema: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        text = _with_message(_import_core_schema().str_schema(), self.text)
        return _import_core_schema().no_info_after_validator_function(self.parse, text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), **self.schema}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TaggedUnion:
    """A mapping with exactly one key, which selects the dataclass of its value."""

    kinds: Mapping[str, type]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        core = _import_core_schema()
        fields = {
            name: core.typed_dict_field(handler.generate_schema(kind), required=False)
            for name, kind in self.kinds.items()
        }
        return core.no_info_after_validator_function(
            self._select_value,
            core.typed_dict_schema(fields, extra_behavior="forbid"),
            serialization=core.plain_serializer_function_ser_schema(self._write),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        json_schema = handler(schema)
        for name, kind in self.kinds.items():
            json_schema["properties"][name]["description"], _ = _read_docstring(kind)
        return {**json_schema, "minProperties": 1, "maxProperties": 1}

    def _select_value(self, mapping: dict[str, object]) -> object:
        if len(mapping) != 1:
            raise ValueError(f"{len(mapping)} keys; expected exactly one of {', '.join(self.kinds)}")
        return next(iter(mapping.values()))

    def _write(self, value: object) -> dict[str, Any]:
        return {name: to_data(kind, value) for name, kind in self.kinds.items() if type(value) is kind}


def require_between(low: float, high: float) -> Constraint:
    """Require a number from ``low`` to ``high``, both included."""
    return Constraint(
        text=f"from {low:,} to {high:,}",
        holds=lambda value: low <= value <= high,
        schema={"minimum": low, "maximum": high},
    )


def require_above(low: float, high: float) -> Constraint:
    """Require a number above ``low`` and at most ``high``."""
    return Constraint(
        text=f"above {low:,} and at most {high:,}",
        holds=lambda value: low < value <= high,
        schema={"exclusiveMinimum": low, "maximum": high},
    )


def require_equal(number: int) -> Constraint:
    """Require the integer ``number``; unlike ``Literal``, this refuses ``true`` and ``1.0``."""
    return Constraint(text=f"equal to {number}", holds=lambda value: value == number, schema={"const": number})


def require_pattern(regex: str, text: str) -> Constraint:
    """Require a text that matches ``regex`` as a whole; ``text`` describes it (``of 1 to 40 letters``)."""
    compiled = re.compile(regex)
    return Constraint(
        text=text, holds=lambda value: bool(compiled.fullmatch(value)), schema={"pattern": f"^(?:{regex})$"}
    )


def require_line(most: int) -> Constraint:
    """Require one line of printable text, of at most ``most`` characters."""
    return Constraint(
        text=f"of at most {most:,} printable characters",
        holds=lambda value: len(value) <= most and value.isprintable(),
        schema={"maxLength": most},
    )


def require_length(low: int, high: int) -> Constraint:
    """Require a list or text of ``low`` to ``high`` items or characters, both included."""
    return Constraint(
        text=f"of {low:,} to {high:,} items",
        holds=lambda value: low <= len(value) <= high,
        schema={"minItems": low, "maxItems": high},
    )


Sha256 = Annotated[str, require_pattern(r"[0-9a-f]{64}", "that is a sha256 in hexadecimal")]
Digest = Annotated[str, require_pattern(r"sha256:[0-9a-f]{64}", "that is sha256: and 64 hexadecimal digits")]


def parse(kind: type[T], data: object, *, spelling: Mapping[KeyPath, str] | None = None) -> T | list[Problem]:
    """Validate plain data and convert it to ``kind``.

    Args:
        kind: A dataclass, or any type that pydantic supports.
        data: dict, list, str, int, float, bool and None; any other type is a problem.
        spelling: For messages: values as they are written in the file, by key path, if Python prints them in another
            way (``3.10``).

    Returns:
        The value, or all problems of the data, one for each key path.
    """
    if problems := list(_find_problems(data, ())):
        return problems
    value = _validate(kind, data)
    return _Explainer(kind, data, spelling or {}).explain(value) if isinstance(value, _Errors) else value


def to_data(kind: Any, value: Any) -> Any:
    """Convert a value to plain data that ``parse`` converts back: with all defaults, without keys that are None."""
    return _create_adapter(kind).dump_python((value,), mode="json", exclude_none=True)[0]


def build_json_schema(kind: Any, *, title: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the data that ``parse(kind, ...)`` accepts, as plain data.

    The descriptions of keys come from the ``Attributes:`` section of the class docstrings. Conditions that only code
    checks (a path exists, two keys agree) are missing.
    """
    from pydantic.json_schema import GenerateJsonSchema  # noqa: PLC0415 - see the module's docstring

    class Generator(GenerateJsonSchema):
        def dataclass_schema(self, schema: Any) -> dict[str, Any]:
            json_schema = super().dataclass_schema(schema)
            del json_schema["title"]
            json_schema["description"], texts = _read_docstring(schema["cls"])
            for key, text in texts.items():
                json_schema["properties"].get(key, {})["description"] = text
            return json_schema

        def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - a title repeats the key
            return False

    json_schema = _create_adapter(kind).json_schema(schema_generator=Generator)
    (top,), defs = json_schema["prefixItems"], json_schema.get("$defs", {})
    top = defs.pop(top["$ref"].rpartition("/")[2]) if "$ref" in top else top
    return {"$schema": GenerateJsonSchema.schema_dialect, **top, "title": title, "$defs": defs}


def canonical_json(data: object) -> bytes:
    """Return plain data as JSON with sorted keys, no spaces and no newline, in UTF-8: equal data gives equal bytes.

    Args:
        data: dict with text keys, list, tuple, str, int, finite float, bool, None.

    Raises:
        TypeError: The data contains another type, or a key that is not text.
        ValueError: A number is not finite, or a text has lone surrogates.
    """
    for key in _iterate_keys(data):
        if not isinstance(key, str):
            # json.dumps would write 1 and "1" alike.
            raise TypeError(f"the key {key!r} is not text")
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def read_json(text: bytes) -> dict[str, Any] | list[Problem]:  # noqa: PLR0911 - one return for each way to fail
    """Parse one JSON object strictly: unlike ``json.loads``, refuse duplicate keys, NaN and numbers that overflow.

    Args:
        text: The file's bytes, UTF-8 without a byte order mark.

    Returns:
        Plain data, or all problems by key path: duplicate keys, numbers that are not finite, lone surrogates, nesting
        deeper than ``DEPTH``, more than ``MOST_VALUES``. A syntax error has an empty path and a text with its line and
        column.
    """
    # Before anything is parsed. These characters are counted in texts too, where they are rare.
    if sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        return [Problem(path=(), text=f"has more than {MOST_VALUES:,} values; this file was not written by this tool")]
    if text.startswith(lfs.START):
        return [Problem(path=(), text=lfs.PROBLEM)]
    problems: list[Problem] = []
    try:
        decoded = text.decode("utf-8")
        if decoded.startswith("\ufeff"):
            return [Problem(path=(), text="starts with a byte order mark; expected plain UTF-8")]
        raw = json.loads(
            decoded,
            object_pairs_hook=_Pairs,
            parse_constant=_InvalidNumber,
            parse_int=_parse_integer,
            parse_float=_parse_float,
        )
        if not isinstance(raw, _Pairs):
            return [Problem(path=(), text="the file does not contain a JSON object; expected {...}")]
        data = _convert(raw, (), problems)
    except UnicodeDecodeError as error:
        return [Problem(path=(), text=f"byte {error.start + 1} is not UTF-8; expected JSON in UTF-8")]
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        return [Problem(path=(), text=f"{position}: not valid JSON ({error.msg}); write the file again")]
    except RecursionError:
        return [
            Problem(path=(), text=f"lists and objects nest deeper than {DEPTH}; this file was not written by this tool")
        ]
    return problems or data


class _Errors(list["ErrorDetails"]):
    """The errors of a ``ValidationError`` of pydantic."""


def _validate(kind: Any, data: object) -> Any:
    from pydantic import ValidationError  # noqa: PLC0415 - see the module's docstring

    try:
        # In strict mode, pydantic accepts a list for a tuple and a mapping for a dataclass only from JSON:
        # https://docs.pydantic.dev/latest/concepts/conversion_table/
        return _create_adapter(kind).validate_json(json.dumps([data]))[0]
    except ValidationError as error:
        return _Errors(error.errors(include_url=False))


@functools.cache
def _create_adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 - see the module's docstring

    # TypeAdapter refuses a config for a dataclass, but a dataclass inherits the config of the tuple around it.
    return TypeAdapter(tuple[kind], config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))


class _Explainer:
    """Converts the errors of pydantic to problems."""

    def __init__(self, kind: Any, data: object, spelling: Mapping[KeyPath, str]) -> None:
        self._kind, self._data, self._spelling = kind, data, spelling

    def explain(self, errors: _Errors) -> list[Problem]:
        """Return one problem for each key path."""
        errors_by_path = _group_by_path(errors[:_MOST_PROBLEMS], self._data)
        # Pydantic does not report what it expects for a missing key, but for null it does; and if a number is valid as
        # text, its quotes are missing. So a second validation takes null and text in these places.
        trial = json.loads(json.dumps(self._data))
        for path, (error, *_) in errors_by_path.items():
            if error["type"] == "missing":
                trial = _replace(trial, path, None)
            elif isinstance(error["input"], bool | int | float) and error["type"] != "unexpected_keyword_argument":
                trial = _replace(trial, path, self._format_value(path, error["input"]))
        value = _validate(self._kind, trial)
        trial_errors = _group_by_path(value, trial) if isinstance(value, _Errors) else {}
        return [
            Problem(path=path, text=self._describe(path, errors, trial_errors.get(path, [])))
            for path, errors in errors_by_path.items()
        ]

    def _describe(self, path: KeyPath, errors: Sequence[ErrorDetails], trial_errors: Sequence[ErrorDetails]) -> str:
        error = errors[0]
        if error["type"] == "value_error":
            return str(error["ctx"]["error"])
        if error["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            return self._describe_unknown_key(path)
        if error["type"] == "missing":
            return f"missing; expected {self._describe_expected(path, trial_errors)}"
        shown, value = self._format_value(path, error["input"]), error["input"]
        text = f"{shown} is invalid; expected {self._describe_expected(path, errors)}"
        if isinstance(value, bool | int | float) and not trial_errors:
            return f'{text}: quote it, "{shown}"'
        words = re.findall("'([^']*)'", error.get("ctx", {}).get("expected", ""))
        near = find_nearest(value, words) if isinstance(value, str) else None
        return f"{text}; did you mean {describe(near)}?" if near else text

    def _describe_expected(self, path: KeyPath, errors: Sequence[ErrorDetails]) -> str:
        texts = []
        for error in errors:
            text = _EXPECTED.get(error["type"]) or error["msg"].removeprefix("Input should be ")
            keys = self._find_known_keys(path) if text == "a mapping" else []
            texts.append(f"{text} with the keys {', '.join(keys)}" if keys else text)
        return " or ".join(dict.fromkeys(texts))

    def _format_value(self, path: KeyPath, value: object) -> str:
        return self._spelling.get(path) or ("null" if value is None else describe(value))

    def _describe_unknown_key(self, path: KeyPath) -> str:
        keys = self._find_known_keys(path[:-1])
        mapping = functools.reduce(lambda data, part: data[part], path[:-1], cast("Any", self._data))
        # A key that the mapping does not have yet is the more likely one.
        missing = [key for key in keys if key not in mapping]
        near = find_nearest(str(path[-1]), missing) or find_nearest(str(path[-1]), keys)
        if near:
            return f"unknown key; did you mean {near}?"
        return f"unknown key; {'valid keys: ' + ', '.join(keys) if keys else 'this mapping has no keys'}"

    def _find_known_keys(self, path: KeyPath) -> list[str]:
        json_schema = _create_json_schema(self._kind)
        return _find_keys(json_schema["prefixItems"][0], path, json_schema.get("$defs", {}))


@functools.cache
def _create_json_schema(kind: Any) -> dict[str, Any]:
    return _create_adapter(kind).json_schema()


def _find_keys(schema: Mapping[str, Any], path: KeyPath, defs: Mapping[str, Any]) -> list[str]:
    """Return the keys that a JSON Schema defines for the mapping at a path; for a union, of its first mapping."""
    if "$ref" in schema:
        return _find_keys(defs[schema["$ref"].rpartition("/")[2]], path, defs)
    if "anyOf" in schema:
        return next(filter(None, (_find_keys(choice, path, defs) for choice in schema["anyOf"])), [])
    properties = schema.get("properties", {})
    if not path:
        return list(properties)
    inner = properties.get(path[0]) or schema.get("items") or schema.get("additionalProperties")
    return _find_keys(inner, path[1:], defs) if isinstance(inner, dict) else []


def _group_by_path(errors: Sequence[ErrorDetails], data: object) -> dict[KeyPath, list[ErrorDetails]]:
    """Group errors by key path; drop those of a union's members of which the data is clearly not."""
    groups: dict[KeyPath, list[ErrorDetails]] = {}
    for error in errors:
        groups.setdefault(_find_path(error, data), []).append(error)
    # If one member has an error inside of the value, its type is right, so the type errors of the others are noise.
    parents = {path[:end] for path in groups for end in range(len(path))}
    return {
        path: [error for error in group if error["type"] == "value_error"] or group
        for path, group in groups.items()
        if path not in parents
    }


def _find_path(error: ErrorDetails, data: Any) -> KeyPath:
    """Return the key path of an error: pydantic's ``loc`` without the names of union members."""
    path: list[str | int] = []
    _, *parts = error["loc"] or (0,)
    for part in parts:
        if part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int):
            data = data[part]
            path.append(part)
    return (*path, parts[-1]) if error["type"] == "missing" else tuple(path)


def _replace(data: Any, path: KeyPath, value: object) -> Any:
    """Set the value at a path in place, and return the data; ``value`` itself for an empty path."""
    if not path:
        return value
    functools.reduce(lambda inner, part: inner[part], path[:-1], data)[path[-1]] = value
    return data


def _import_core_schema() -> Any:
    from pydantic_core import core_schema  # noqa: PLC0415 - see the module's docstring

    return core_schema


def _create_error(expected: str) -> ValueError:
    from pydantic_core import PydanticCustomError  # noqa: PLC0415 - see the module's docstring

    return PydanticCustomError("rule", "{text}", {"text": expected})


def _with_message(schema: CoreSchema, expected: str) -> Any:
    """Return a schema that reports ``expected`` for every error."""
    context = {"text": expected}
    return _import_core_schema().custom_error_schema(
        schema, "rule", custom_error_message="{text}", custom_error_context=context
    )


def _read_docstring(kind: type) -> tuple[str, dict[str, str]]:
    """Return the first line of a google-style docstring, and the entries of its ``Attributes:``, each on one line."""
    import inspect  # noqa: PLC0415 - only the JSON Schema uses it

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
    """A JSON object as its pairs, with duplicate keys."""


class _InvalidNumber(str):
    """A number that is refused, as written: ``NaN``, ``Infinity``, one that overflows, or one with too many digits."""

    __slots__ = ()


def _parse_integer(digits: str) -> int | _InvalidNumber:
    return int(digits) if len(digits.lstrip("-")) <= _DIGITS else _InvalidNumber(digits)


def _parse_float(digits: str) -> float | _InvalidNumber:
    value = float(digits)
    return value if math.isfinite(value) else _InvalidNumber(digits)


def _convert(raw: Any, path: KeyPath, problems: list[Problem]) -> Any:
    """Convert parsed JSON to plain data, and add its problems to ``problems``.

    Raises:
        RecursionError: Lists and objects nest deeper than ``DEPTH``.
    """
    if len(path) >= DEPTH and isinstance(raw, list):
        raise RecursionError
    if isinstance(raw, _Pairs):
        data: dict[str, Any] = {}
        for key, item in raw:
            key_path = (*path, key)
            if key in data:
                problems.append(Problem(path=key_path, text="duplicate key; remove one of them"))
            else:
                problems += _find_problems({key: None}, path)
            data[key] = _convert(item, key_path, problems)
        return data
    if isinstance(raw, list):
        return [_convert(item, (*path, index), problems) for index, item in enumerate(raw)]
    problems += _find_problems(raw, path)
    return raw


def _find_problems(data: object, path: KeyPath) -> Iterator[Problem]:
    """Yield a problem for each value that JSON cannot represent."""
    if isinstance(data, dict):
        for key, item in data.items():
            if text := _describe_problem(key) if isinstance(key, str) else "expected text":
                yield Problem(path=path, text=f"the key {describe(key)} is invalid: {text}")
            yield from _find_problems(item, (*path, key))
    elif isinstance(data, list | tuple):
        for index, item in enumerate(data):
            yield from _find_problems(item, (*path, index))
    elif text := _describe_problem(data):
        yield Problem(path=path, text=text)


def _describe_problem(value: object) -> str:
    if isinstance(value, _InvalidNumber):
        return f"{value if len(value) <= 20 else value[:17] + '...'} is not a finite number; expected a number"
    if isinstance(value, str):
        return "" if _is_encodable(value) else "the text contains a lone surrogate; expected valid Unicode"
    if isinstance(value, int) and abs(value) >= 10**_DIGITS:
        return f"{describe(value)} is invalid; expected a finite number"
    if isinstance(value, bool | int | float | None):
        return ""
    kind = f"{type(value).__module__}.{type(value).__name__}"
    return f"the type {kind} is invalid; expected a type of JSON: text, a number, a list"


def _is_encodable(text: str) -> bool:
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def _iterate_keys(data: object) -> Iterator[object]:
    if isinstance(data, dict):
        yield from data
    for item in data.values() if isinstance(data, dict) else data if isinstance(data, list | tuple) else ():
        yield from _iterate_keys(item)
