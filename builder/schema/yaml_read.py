"""One YAML mapping, read strictly: plain data and where each key stands, or everything that is wrong.

YAML surprises people: the last of two equal keys wins, ``3.10`` is 3.1, ``1e-3`` is text, ``NO`` is false, ``0123`` is
83, ``12:30:45`` is 45045, a few aliases fill the memory, a tag can call Python. Here each of these is a fault that says
what to write instead. The data is built from the parser's events, not by its composer, so that nesting is bounded
before anything recurses and tags never mean anything.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import yaml

from builder.schema import yaml_scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.schema.parse import Place

SIZE = 1_000_000
"""The largest file read, in bytes."""

DEPTH = 32
"""How deep lists and mappings may nest."""

_FAULTS = 100
"""A file with more faults than this is not a config with mistakes in it; the rest is not looked for."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ONE_MAPPING = "one mapping (key: value) is expected"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Located:
    """A fault with its place in the file.

    Attributes:
        line: Counted from 1.
        column: Counted from 1.
        path: The key path, empty where the text could not be followed that far.
        text: ``what is wrong; what would be right``; shows scalars of the file only if ``path`` is not empty.
    """

    line: int
    column: int
    path: Place
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """What a file holds, as far as it could be read.

    Attributes:
        data: dict, list, str, int, float, bool, None; a value with a fault is kept as its text.
        positions: Line and column, from 1, of each key and list item (of the whole: where it starts).
        spelling: Numbers and truth values as they were written.
        faults: In the order of the file; if there are any, ``data`` may lack something.
    """

    data: dict[str, Any]
    positions: Mapping[Place, tuple[int, int]]
    spelling: Mapping[Place, str]
    faults: tuple[Located, ...]

    def position(self, path: Place) -> tuple[int, int]:
        """Return line and column of a key path, or of the nearest one above it that is in the file."""
        while path not in self.positions and path:
            path = path[:-1]
        return self.positions.get(path, (1, 1))


def read(text: bytes) -> Document:
    """Read one YAML mapping; never raises, whatever the bytes."""
    reader = _Reader()
    decoded = reader.decode(text)
    if decoded is not None:
        reader.follow(decoded)
    return Document(
        data=reader.data if isinstance(reader.data, dict) else {},
        positions=reader.positions,
        spelling=reader.spelling,
        faults=tuple(sorted(reader.faults, key=lambda fault: (fault.line, fault.column))),
    )


class _Stop(Exception):  # noqa: N818 - no error: reading ends here
    """Nothing after this place can be understood."""


@dataclasses.dataclass(kw_only=True)
class _Level:
    """A mapping or list that is being read."""

    path: Place
    into: Any
    key: str | None = None
    skips_value: bool = False
    key_lines: dict[str, int] = dataclasses.field(default_factory=dict)


class _Reader:
    """Follows the parser's events; ``data`` grows as they come."""

    def __init__(self) -> None:
        self.data: Any = None
        self.positions: dict[Place, tuple[int, int]] = {}
        self.spelling: dict[Place, str] = {}
        self.faults: list[Located] = []
        self._levels: list[_Level] = []
        self._documents = 0

    def decode(self, text: bytes) -> str | None:
        """Return the text, or None with a fault."""
        if len(text) > SIZE:
            self._fault((1, 1), (), f"the file is larger than {SIZE:,} bytes; a config is a page of text")
            return None
        if text.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            said = f"starts with a byte order mark; {_ONE_MAPPING}, in UTF-8 without that mark"
            self._fault((1, 1), (), said)
            return None
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError as error:
            before = text[: error.start]
            column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
            at = (before.count(b"\n") + 1, column)
            self.faults.append(
                _syntax_fault(at, f"byte 0x{text[error.start]:02x} is not UTF-8; save the file as UTF-8")
            )
            return None
        return decoded

    def follow(self, text: str) -> None:
        """Read the text's events to the end, or to the first place that cannot be understood."""
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
            if not self._documents:
                self._fault((1, 1), (), f"the file is empty; {_ONE_MAPPING}")
        except _Stop:
            pass
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            at = (before.count("\n") + 1, len(before) - before.rfind("\n"))
            self.faults.append(_syntax_fault(at, "a control character is not allowed; remove it"))
        except yaml.MarkedYAMLError as error:
            self.faults.append(_syntax_fault(*_explain(error, text.split("\n"))))

    def _fault(self, at: tuple[int, int], path: Place, text: str) -> None:
        self.faults.append(Located(line=at[0], column=at[1], path=path, text=text))
        if len(self.faults) >= _FAULTS:
            raise _Stop

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._fault(_start(event), (), f"a second document starts here; {_ONE_MAPPING}")
                raise _Stop
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._levels.pop()
        elif isinstance(event, yaml.NodeEvent):
            level = self._levels[-1] if self._levels else None
            if level is None:
                self._take_top(event)
            elif isinstance(level.into, dict) and level.key is None:
                self._take_key(level, event)
            else:
                self._take_value(level, event)

    def _take_top(self, event: yaml.NodeEvent) -> None:
        self.positions[()] = _start(event)
        if isinstance(event, yaml.MappingStartEvent):
            self._refuse_extras(event, ())
            self._open(event, ())
            self.data = self._levels[-1].into
            return
        is_empty = isinstance(event, yaml.ScalarEvent) and event.value == ""
        held = (
            "is empty" if is_empty else f"holds {'a list' if isinstance(event, yaml.SequenceStartEvent) else 'a value'}"
        )
        self._fault(_start(event), (), f"the file {held}; {_ONE_MAPPING}")
        raise _Stop

    def _take_key(self, level: _Level, event: yaml.NodeEvent) -> None:
        at = _start(event)
        if not isinstance(event, yaml.ScalarEvent):
            self.faults.append(_syntax_fault(at, "this cannot be a key; keys are text"))
            raise _Stop
        key = str(event.value)
        place = (*level.path, key)
        level.key, level.skips_value = key, True
        if key == "<<" and event.implicit[0]:
            self._fault(at, place, "merge keys are not allowed; write the keys out")
        elif key in level.key_lines:
            self._fault(at, place, f"duplicate key, also on line {level.key_lines[key]}; leave one of them")
        elif not _is_text(event):
            self._fault(at, place, "this key is not text; keys are text")
        else:
            level.skips_value = False
            level.key_lines[key] = at[0]
            self.positions[place] = at
        self._refuse_extras(event, place)

    def _take_value(self, level: _Level, event: yaml.NodeEvent) -> None:
        place: Place = (*level.path, len(level.into)) if level.key is None else (*level.path, level.key)
        if level.key is None:
            self.positions[place] = _start(event)
        self._refuse_extras(event, place)
        value: Any = None
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, place)
        elif not isinstance(event, yaml.AliasEvent):
            value = self._open(event, place)
        if level.key is None:
            level.into.append(value)
        elif not level.skips_value:
            level.into[level.key] = value
        level.key = None

    def _open(self, event: yaml.NodeEvent, place: Place) -> Any:
        if len(self._levels) >= DEPTH:
            said = f"lists and mappings nest deeper than {DEPTH}; no config needs that"
            self.faults.append(_syntax_fault(_start(event), said))
            raise _Stop
        into: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._levels.append(_Level(path=place, into=into))
        return into

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Any:
        value, complaint = yaml_scalar.resolve(str(event.value), is_plain=event.implicit[0])
        if complaint:
            self._fault(_start(event), place, complaint)
        elif not isinstance(value, str) and event.value:
            self.spelling[place] = event.value
        return value

    def _refuse_extras(self, event: yaml.NodeEvent, place: Place) -> None:
        at = _start(event)
        if isinstance(event, yaml.AliasEvent):
            self._fault(at, place, "aliases (*name) are not allowed; write the value out")
            return
        if event.anchor is not None:
            self._fault(at, place, "anchors (&name) are not allowed; write the value out where it is needed")
        tag = getattr(event, "tag", None)
        if tag is not None:
            name = re.sub(r"^tag:yaml\.org,2002:", "!!", str(tag))
            shown = f"the tag {name}" if re.fullmatch(r"!!?[a-z/]{0,40}(?::[a-zA-Z0-9_.]{0,40})?", name) else "this tag"
            self._fault(at, place, f"{shown} is refused; write the plain value")


def _is_text(event: yaml.ScalarEvent) -> bool:
    value, complaint = yaml_scalar.resolve(str(event.value), is_plain=event.implicit[0])
    return isinstance(value, str) and complaint is None


def _start(event: yaml.Event) -> tuple[int, int]:
    mark: Any = event.start_mark
    return mark.line + 1, mark.column + 1


def _syntax_fault(at: tuple[int, int], text: str) -> Located:
    return Located(line=at[0], column=at[1], path=(), text=f"column {at[1]}: {text}")


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
    if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column : mark.column + 1] == "\t":
        return at, "a tab stands where spaces are needed; indent with spaces"
    for words, said in _SYNTAX.items():
        if words in problem or words in context:
            return at, said.format(opened=opened)
    return at, "this is not YAML; quote text that has special characters in it"


_SYNTAX = {
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
