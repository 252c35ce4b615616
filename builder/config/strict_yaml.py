"""YAML as configs and the lock file use it: one mapping, read strictly with the place of each key, and written.

YAML surprises people: the last of two equal keys wins, ``3.10`` is 3.1, ``1e-3`` is text, ``NO`` is false, ``0123`` is
83, ``12:30:45`` is 45045, a few aliases fill the memory, a tag can call Python. So values are made from PyYAML's nodes
here: a scalar without quotes is null, true, false, an integer or a decimal number only where YAML 1.1 and 1.2 agree on
it; where they do not, it is a problem.
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
"""The largest file read, in bytes."""

DEPTH = 32
"""How deep lists and mappings may nest."""

UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""What no text of a file may have in it, escaped or not."""

_MOST_FAULTS = 100
"""A file with more faults than this is not a config with mistakes in it."""

_ONE_MAPPING = "one mapping (key: value) is expected"
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+][0-9]{1,4})?")
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None, "true": True, "false": False}
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,100}")
_TAG = "tag:yaml.org,2002:"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """What a file holds, as far as it could be read.

    Attributes:
        data: dict, list, str, int, float, bool, None; a value with a fault is kept as its text.
        positions: Line and column, from 1, of each key and list item (of the whole: where it starts).
        spelling: Numbers and truth values as they were written.
        faults: Line and column, and what is wrong there, in the order of the file; if there are any, ``data`` may lack
            something. A path is empty where the text could not be followed; then the problem shows no scalars of it.
    """

    data: dict[str, Any]
    positions: Mapping[schema.KeyPath, tuple[int, int]]
    spelling: Mapping[schema.KeyPath, str]
    problems: tuple[tuple[tuple[int, int], schema.Problem], ...]

    def position(self, path: schema.KeyPath) -> tuple[int, int]:
        """Return line and column of a key path, or of the nearest one above it that is in the file."""
        while path not in self.positions and path:
            path = path[:-1]
        return self.positions.get(path, (1, 1))


def read(text: bytes) -> Document:
    """Read one YAML mapping; never raises, whatever the bytes."""
    reader = _Reader()
    data = reader.read(text)
    return Document(
        data=data if isinstance(data, dict) else {},
        positions=reader.positions,
        spelling=reader.spelling,
        problems=tuple(sorted(reader.problems, key=lambda fault: fault[0])[:_MOST_FAULTS]),
    )


def write(data: Any) -> str:
    """Return plain data as YAML, quoted wherever a reader could take it for something else."""
    return _dump(data, flow=False)


def flow(value: Any) -> str:
    """Return plain data as YAML on one line."""
    return _dump([value], flow=True)[1:-2]


def _dump(data: Any, *, flow: bool) -> str:
    text = yaml.dump(data, Dumper=_Dumper, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=math.inf)
    # What turns the direction of text, say, is in quotes, where escapes can be.
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text
    )


class _Loader(yaml.SafeLoader):
    """Makes nodes of bounded depth; an alias is an empty scalar. What is refused is kept by the node."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.top: yaml.Node | None = None
        self.refused: dict[yaml.Node, list[str]] = {}
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.top = self.top or parent  # is there even if what follows is not YAML
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            alias = yaml.ScalarNode(f"{_TAG}null", "", event.start_mark)  # type: ignore[arg-type]
            self.refused[alias] = ["aliases (*name) are not allowed; write the value out"]
            return alias
        refused = _refused(event)
        event.anchor = event.tag = None
        self._depth += 1
        if self._depth > DEPTH + isinstance(event, yaml.ScalarEvent):
            raise _ExplainedError(
                problem=f"lists and mappings nest deeper than {DEPTH}; no config needs that",
                problem_mark=event.start_mark,
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and refused:
            self.refused[node] = refused
        return node


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - none is read
        return True

    def represent_str(self, text: str) -> yaml.ScalarNode:
        tag = self.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        is_plain = _PLAIN.fullmatch(text) and tag == f"{_TAG}str"
        return self.represent_scalar(f"{_TAG}str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _Dumper.represent_str)
for _class in (_Loader, _Dumper):
    # What PyYAML, which knows YAML 1.1, takes for text, and others for something else.
    _class.add_implicit_resolver(f"{_TAG}bool", re.compile(r"[yYnN]\Z"), list("yYnN"))
    _class.add_implicit_resolver(
        f"{_TAG}float",
        re.compile(r"[-+]?(?:0o[0-7]+|(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?)\Z"),
        list("-+.0123456789"),
    )


class _ExplainedError(yaml.MarkedYAMLError):
    """One whose problem is in our words."""


class _Reader:
    def __init__(self) -> None:
        self.positions: dict[schema.KeyPath, tuple[int, int]] = {}
        self.spelling: dict[schema.KeyPath, str] = {}
        self.problems: list[tuple[tuple[int, int], schema.Problem]] = []
        self._refused: dict[yaml.Node, list[str]] = {}

    def read(self, text: bytes) -> Any:
        """Return what the text holds; None with a fault where it holds no mapping."""
        if len(text) > MAX_BYTES:
            return self._fault((1, 1), (), f"the file is larger than {MAX_BYTES:,} bytes; a config is a page of text")
        if text.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            said = f"starts with a byte order mark; {_ONE_MAPPING}, in UTF-8 without that mark"
            return self._fault((1, 1), (), said)
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError as error:
            at = _end(text[: error.start].decode("utf-8"))
            return self._syntax_fault(at, f"byte 0x{text[error.start]:02x} is not UTF-8; save the file as UTF-8")
        try:
            loader = _Loader(decoded)
        except yaml.reader.ReaderError as error:
            return self._syntax_fault(_end(decoded[: error.position]), "a control character is not allowed; remove it")
        try:
            top = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            self._syntax_fault(*_explain(error, decoded.split("\n")))
            top = loader.top
        self._refused = loader.refused
        if isinstance(top, yaml.MappingNode):
            return self._value(top, ())
        if not self.problems:
            held = "holds a list" if isinstance(top, yaml.SequenceNode) else "holds a value"
            is_empty = top is None or top.value == ""
            self._fault(_at(top), (), f"the file {'is empty' if is_empty else held}; {_ONE_MAPPING}")
        return None

    def _fault(self, at: tuple[int, int], path: schema.KeyPath, text: str) -> None:
        self.problems.append((at, schema.Problem(path=path, text=text)))

    def _syntax_fault(self, at: tuple[int, int], text: str) -> None:
        self._fault(at, (), f"column {at[1]}: {text}")

    def _value(self, node: yaml.Node, path: schema.KeyPath) -> Any:
        """Return a node's value; recursion is bounded by ``DEPTH``."""
        self.positions.setdefault(path, _at(node))
        for text in self._refused.get(node, ()):
            self._fault(_at(node), path, text)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        value, complaint = _resolve(node)
        if complaint:
            self._fault(_at(node), path, complaint)
        elif node.value and not isinstance(value, str):
            self.spelling[path] = node.value
        return value

    def _mapping(self, node: yaml.MappingNode, path: schema.KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._syntax_fault(_at(key), "this cannot be a key; keys are text")
                continue
            place = (*path, key.value)
            for text in self._refused.get(key, ()):
                self._fault(_at(key), place, text)
            value, complaint = _resolve(key)
            if key.tag == f"{_TAG}merge" and key.style is None:
                self._fault(_at(key), place, "merge keys are not allowed; write the keys out")
            elif key.value in data:
                text = f"duplicate key, also on line {self.positions[place][0]}; leave one of them"
                self._fault(_at(key), place, text)
            elif complaint or not isinstance(value, str):
                self._fault(_at(key), place, "this key is not text; keys are text")
            else:
                self.positions[place] = _at(key)
                data[key.value] = self._value(item, place)
        return data


def _resolve(node: Any) -> tuple[Any, str | None]:
    """Return the value of a scalar and None, or its text and what is wrong with it."""
    text = node.value
    value: Any
    if UNPRINTABLE.search(text):
        return text, "the text has a control character in it; remove it"
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


def _refused(event: Any) -> list[str]:
    found = []
    if event.anchor is not None:
        found.append("anchors (&name) are not allowed; write the value out where it is needed")
    if event.tag is not None:
        name = event.tag.replace(_TAG, "!!", 1)
        shown = f"the tag {name}" if re.fullmatch(r"!!?[a-z/]{0,40}(?::[a-zA-Z0-9_.]{0,40})?", name) else "this tag"
        found.append(f"{shown} is refused; write the plain value")
    return found


def _at(node: yaml.Node | None) -> tuple[int, int]:
    return (node.start_mark.line + 1, node.start_mark.column + 1) if node else (1, 1)


def _end(text: str) -> tuple[int, int]:
    """Return line and column of what follows a text."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _explain(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[tuple[int, int], str]:
    """Return place and text of a syntax error in our words: the parser's own may quote a secret."""
    problem, context = str(error.problem), str(error.context)
    mark, opening = error.problem_mark or error.context_mark, error.context_mark
    if mark is None:
        return (1, 1), "this is not YAML"
    problem_at = (mark.line, mark.column)
    rest = "".join([*(line[mark.column :] for line in lines[mark.line : mark.line + 1]), *lines[mark.line + 1 :]])
    is_open = not rest.strip() and ("flow" in context or "quoted" in context)
    if opening and (is_open or "simple key" in context):
        # What is open at the end of the file is found where it begins.
        mark = opening
    at = (mark.line + 1, mark.column + 1)
    line = lines[mark.line] if mark.line < len(lines) else ""
    began = opening.line + 1 if opening and (opening.line, opening.column) < problem_at else None
    opened = f" (it starts on line {began})" if began else ""
    if isinstance(error, _ExplainedError):
        return at, problem
    if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column : mark.column + 1] == "\t":
        return at, "a tab stands where spaces are expected; indent with spaces"
    for words, said in _SYNTAX.items():
        if words in problem or words in context:
            return at, said.format(opened=opened)
    return at, "this is not YAML; quote text that has special characters in it"


_SYNTAX = {
    "but found another document": f"a second document starts here; {_ONE_MAPPING}",
    "mapping values are not allowed": "a key is not expected here; indent it like the keys beside it, or quote a text "
    "that has a colon in it",
    "undefined tag handle": "this tag is refused; write the plain value",
    "while parsing a flow": "a [ or {{ is not closed{opened}; close it, with a comma between the items",
    "while parsing a block": "the indent fits nothing above{opened}; indent it like what it belongs to",
    "while scanning a simple key": "a colon is missing after this key; write key: value",
    "escape": "this escape is not known; write \\\\ for a backslash, or use single quotes",
    "while scanning a quoted scalar": "a quote is not closed{opened}; close it",
    "while scanning an a": "anchors and aliases are not allowed; write the value out, or quote a text that starts so",
    "cannot start any token": "text cannot start with this character; quote it",
}
