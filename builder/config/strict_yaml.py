"""Read and write the strict subset of YAML that configs and the lock file use, with the position of each key.

YAML 1.1 surprises people: the last of two equal keys wins, ``3.10`` is 3.1, ``1e-3`` is text, ``NO`` is false, ``0123``
is 83, ``12:30:45`` is 45045, a few aliases fill the memory, and a tag can call Python. So this module converts PyYAML's
nodes itself: a scalar without quotes is null, a boolean, an integer or a decimal number only if YAML 1.1 and 1.2 agree
on it; if they disagree, it is a problem.

``read`` works in two steps: ``_Loader`` composes PyYAML's tree of nodes, each with its position, and ``_Reader``
converts the nodes to data and collects the problems of the whole file. After a syntax error, what was composed before
it is still converted. ``write`` quotes all text that ``read``, or another YAML reader, would not read as text.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

import yaml

from builder import schema

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 1_000_000
"""Largest file that is read."""

MAX_DEPTH = 32
"""Deepest nesting of lists and mappings."""

MAX_VALUES = 100_000
"""Most keys and values: those of 36 lists of all features. Each takes 2 KB while it is read."""

UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that text may not contain, escaped or not."""

_MAX_PROBLEMS = 100  # a file with more is not a config with mistakes in it

_ONE_MAPPING = "expected one mapping (key: value)"
# Without what YAML 1.1 and 1.2 read differently: leading zeros (octal), 0x, 0o, underscores, base 60, and exponents
# without a point or a sign (https://github.com/yaml/pyyaml/issues/173).
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+][0-9]{1,4})?")
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None, "true": True, "false": False}
_UNQUOTED_TEXT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,100}")
_TAG = "tag:yaml.org,2002:"  # PyYAML's name for what is written as !!


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """The content of a file, as far as it could be read.

    Attributes:
        data: dict, list, str, int, float, bool, None; an invalid value is its text.
        positions: Line and column, from 1, of each key and list item; of the whole file with an empty path.
        spelling: Numbers and booleans as they are written in the file.
        problems: Line and column of each problem, in the order of the file; if there are any, ``data`` may be
            incomplete. A syntax error has an empty path, and its message quotes no value: it could be a secret.
    """

    data: dict[str, Any]
    positions: Mapping[schema.KeyPath, tuple[int, int]]
    spelling: Mapping[schema.KeyPath, str]
    problems: tuple[tuple[tuple[int, int], schema.Problem], ...]

    def position(self, path: schema.KeyPath) -> tuple[int, int]:
        """Return line and column of a key path, or of its nearest parent that is in the file."""
        while path not in self.positions and path:
            path = path[:-1]
        return self.positions.get(path, (1, 1))


def read(content: bytes) -> Document:
    """Read one YAML mapping; every problem is in the result, so that this never raises."""
    reader = _Reader()
    data = reader.read(content)
    return Document(
        data=data if isinstance(data, dict) else {},
        positions=reader.positions,
        spelling=reader.spelling,
        problems=tuple(sorted(reader.problems, key=lambda problem: problem[0])[:_MAX_PROBLEMS]),
    )


def write(data: Any) -> str:
    """Return plain data as YAML, with quotes around all text that some YAML reader would not read as text."""
    return _dump(data, flow=False)


def write_flow(value: Any) -> str:
    """Return plain data as YAML on one line."""
    # As a list, and without its brackets: after a bare scalar, PyYAML writes the end of the document (...).
    return _dump([value], flow=True)[1:-2]


class _ExplainedError(yaml.MarkedYAMLError):
    """A syntax error whose problem is a complete message for people."""


class _Loader(yaml.SafeLoader):
    """Composes nodes of bounded depth, and records the disallowed syntax of each.

    Anchors, tags and aliases are not resolved: a few nested aliases expand to gigabytes
    (https://en.wikipedia.org/wiki/Billion_laughs_attack). Each alias is read as an empty scalar.

    Attributes:
        top: The node of the whole file, as far as it was composed; PyYAML returns none after a syntax error.
        disallowed: Messages by node.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.top: yaml.Node | None = None
        self.disallowed: dict[yaml.Node, list[str]] = {}
        self._depth = 0
        self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.top = self.top or parent
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            alias = yaml.ScalarNode(f"{_TAG}null", "", event.start_mark)  # type: ignore[arg-type]
            self.disallowed[alias] = ["aliases (*name) are not allowed; write the value out"]
            return alias
        disallowed = _find_disallowed(event)
        event.anchor = event.tag = None  # composed as a plain node, so that the rest of the file is checked too
        self._depth += 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise _ExplainedError(
                problem=f"the file has more than {MAX_VALUES:,} keys and values; expected about a page of text",
                problem_mark=event.start_mark,
            )
        # A scalar in the deepest mapping is not a level of its own.
        if self._depth > MAX_DEPTH + isinstance(event, yaml.ScalarEvent):
            raise _ExplainedError(
                problem=f"lists and mappings are nested deeper than {MAX_DEPTH} levels; use fewer levels",
                problem_mark=event.start_mark,
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and disallowed:
            self.disallowed[node] = disallowed
        return node


class _Reader:
    def __init__(self) -> None:
        self.positions: dict[schema.KeyPath, tuple[int, int]] = {}
        self.spelling: dict[schema.KeyPath, str] = {}
        self.problems: list[tuple[tuple[int, int], schema.Problem]] = []
        self._disallowed: dict[yaml.Node, list[str]] = {}

    def read(self, content: bytes) -> Any:
        """Return the mapping; None, and a problem, if there is none."""
        if len(content) > MAX_BYTES:
            return self._add((1, 1), (), f"the file is larger than {MAX_BYTES:,} bytes; expected about a page of text")
        if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            return self._add((1, 1), (), "starts with a byte order mark; save the file as UTF-8 without it")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            at = _get_end_position(content[: error.start].decode("utf-8"))
            return self._add_syntax_error(at, f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8")
        try:
            loader = _Loader(text)
        except yaml.reader.ReaderError as error:
            at = _get_end_position(text[: error.position])
            return self._add_syntax_error(at, "a control character is not allowed; remove it")
        try:
            top = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            self._add_syntax_error(*_explain(error, text.split("\n")))
            top = loader.top
        except (ValueError, OverflowError):  # of chr(), which PyYAML calls for "\UFFFFFFFF"
            at = (loader.line + 1, loader.column + 1)
            self._add_syntax_error(at, "the escape sequence is not a character; use one up to \\U0010FFFF")
            top = loader.top
        self._disallowed = loader.disallowed
        if isinstance(top, yaml.MappingNode):
            return self._convert(top, ())
        if not self.problems:
            kind = "a list" if isinstance(top, yaml.SequenceNode) else "a single value"
            problem = "is empty" if top is None or top.value == "" else f"contains {kind}"
            self._add(_get_position(top), (), f"the file {problem}; {_ONE_MAPPING}")
        return None

    def _add(self, at: tuple[int, int], path: schema.KeyPath, text: str) -> None:
        """Record a problem. Return None in place of the value that could not be read."""
        self.problems.append((at, schema.Problem(path=path, text=text)))

    def _add_syntax_error(self, at: tuple[int, int], text: str) -> None:
        self._add(at, (), f"column {at[1]}: {text}")

    def _convert(self, node: yaml.Node, path: schema.KeyPath) -> Any:
        """Return a node's value; the recursion is bounded, since nodes are at most ``MAX_DEPTH`` deep."""
        self.positions.setdefault(path, _get_position(node))
        for text in self._disallowed.get(node, ()):
            self._add(_get_position(node), path, text)
        if isinstance(node, yaml.SequenceNode):
            return [self._convert(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._convert_mapping(node, path)
        value, problem = _convert_scalar(node)
        if problem:
            self._add(_get_position(node), path, problem)
        elif node.value and not isinstance(value, str):
            self.spelling[path] = node.value
        return value

    def _convert_mapping(self, node: yaml.MappingNode, path: schema.KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._add_syntax_error(_get_position(key), "not a valid key; keys must be text")
                continue
            key_path = (*path, key.value)
            for text in self._disallowed.get(key, ()):
                self._add(_get_position(key), key_path, text)
            value, problem = _convert_scalar(key)
            # PyYAML gives an unquoted << this tag; it would copy the keys of another mapping (a YAML 1.1 extension).
            if key.tag == f"{_TAG}merge" and key.style is None:
                self._add(_get_position(key), key_path, "merge keys are not allowed; write the keys out")
            elif key.value in data:  # which readers resolve differently: PyYAML takes the last one
                text = f"duplicate key, also on line {self.positions[key_path][0]}; remove one of them"
                self._add(_get_position(key), key_path, text)
            elif problem or not isinstance(value, str):
                self._add(_get_position(key), key_path, "this key is not text; quote it")
            else:
                self.positions[key_path] = _get_position(key)
                data[key.value] = self._convert(item, key_path)
        return data


def _convert_scalar(node: Any) -> tuple[Any, str | None]:
    """Return the value of a scalar and None, or its text and the problem with it."""
    text = node.value
    value: Any
    if UNPRINTABLE.search(text):
        return text, "the text contains a control character; remove it"
    if node.style is not None or node.tag == f"{_TAG}str":
        value = text
    elif text in _CONSTANTS:
        value = _CONSTANTS[text]
    elif _INTEGER.fullmatch(text):
        value = int(text)
    elif _DECIMAL.fullmatch(text) and math.isfinite(float(text)):
        value = float(text)
    else:
        good = "true or false" if node.tag == f"{_TAG}bool" else "a number like 12, 0.5 or 1.0e-3"
        shown = text if len(text) <= 60 else text[:57] + "..."
        return text, f'{shown} is not allowed without quotes; write {good}, or "{shown}" if it is text'
    return value, None


def _find_disallowed(event: Any) -> list[str]:
    """Return the messages for the anchor and the tag of a node."""
    problems = []
    if event.anchor is not None:
        problems.append("anchors (&name) are not allowed; write the value out wherever it is used")
    if event.tag is not None:
        name = event.tag.replace(_TAG, "!!", 1)
        # A tag may contain any text, also a secret; only what looks like the name of one is shown.
        shown = f"the tag {name}" if re.fullmatch(r"!!?[a-z/]{0,40}(?::[a-zA-Z0-9_.]{0,40})?", name) else "this tag"
        problems.append(f"{shown} is not allowed; write the plain value")
    return problems


def _get_position(node: yaml.Node | None) -> tuple[int, int]:
    return (node.start_mark.line + 1, node.start_mark.column + 1) if node else (1, 1)


def _get_end_position(text: str) -> tuple[int, int]:
    """Return line and column of the character after a text."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


# Messages by a part of PyYAML's own problem or context; the first match is used.
_SYNTAX_MESSAGES = {
    "but found another document": f"a second document starts here; {_ONE_MAPPING}",
    "mapping values are not allowed": "a key is not expected here; indent it like the other keys, or quote text that "
    "contains a colon",
    "undefined tag handle": "this tag is not allowed; write the plain value",
    "while parsing a flow": "a [ or {{ is not closed{opened}; close it, with commas between the items",
    "while parsing a block": "the indentation matches no block above{opened}; indent it like the lines of its block",
    "while scanning a simple key": "the colon after this key is missing; write key: value",
    "escape": "unknown escape sequence; write \\\\ for a backslash, or use single quotes",
    "while scanning a quoted scalar": "a quote is not closed{opened}; close it",
    "while scanning an a": "anchors and aliases are not allowed; write the value out, or quote text that starts so",
    "cannot start any token": "text cannot start with this character; quote it",
}


def _explain(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[tuple[int, int], str]:
    """Return position and message of a syntax error, without PyYAML's message, which may quote a secret.

    PyYAML has two marks: ``problem_mark``, where it cannot continue, and often ``context_mark``, where the list,
    mapping or quoted text that it was reading begins.
    """
    problem, context = str(error.problem), str(error.context)
    mark, opening = error.problem_mark or error.context_mark, error.context_mark
    if mark is None:
        return (1, 1), "invalid YAML"
    problem_at = (mark.line, mark.column)
    # PyYAML reports an unclosed bracket or quote at the end of the file; the mistake is where it was opened.
    rest = "".join([*(line[mark.column :] for line in lines[mark.line : mark.line + 1]), *lines[mark.line + 1 :]])
    is_unclosed = not rest.strip() and ("flow" in context or "quoted" in context)
    if opening and (is_unclosed or "simple key" in context):
        mark = opening
    at = (mark.line + 1, mark.column + 1)
    line = lines[mark.line] if mark.line < len(lines) else ""
    opening_line = opening.line + 1 if opening and (opening.line, opening.column) < problem_at else None
    opened = f" (opened on line {opening_line})" if opening_line else ""
    if isinstance(error, _ExplainedError):
        return at, problem
    if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column : mark.column + 1] == "\t":
        return at, "a tab is used for indentation; indent with spaces"
    for words, message in _SYNTAX_MESSAGES.items():
        if words in problem or words in context:
            return at, message.format(opened=opened)
    return at, "invalid YAML; quote text that contains special characters"


def _dump(data: Any, *, flow: bool) -> str:
    text = yaml.dump(data, Dumper=_Dumper, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=math.inf)
    # Unprintable characters, such as those that reverse the direction of text, are in quotes, so they can be escaped.
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )


class _Dumper(yaml.SafeDumper):
    # PyYAML would write an object that occurs twice as an alias, which `read` refuses.
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the same for all data
        return True

    def represent_str(self, text: str) -> yaml.ScalarNode:
        tag = self.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        is_plain = _UNQUOTED_TEXT.fullmatch(text) and tag == f"{_TAG}str"
        return self.represent_scalar(f"{_TAG}str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _Dumper.represent_str)
for _class in (_Loader, _Dumper):
    # What PyYAML takes for text, but other readers for a boolean (y and n, https://yaml.org/type/bool.html) or a number
    # (0o17 and 1e3 in YAML 1.2, https://yaml.org/spec/1.2.2/#1032-tag-resolution): the loader refuses it without
    # quotes, and the dumper quotes it.
    _class.add_implicit_resolver(f"{_TAG}bool", re.compile(r"[yYnN]\Z"), list("yYnN"))
    _class.add_implicit_resolver(
        f"{_TAG}float",
        re.compile(r"[-+]?(?:0o[0-7]+|(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?)\Z"),
        list("-+.0123456789"),
    )
