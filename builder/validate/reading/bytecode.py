"""Read code objects in a pickle: which Python compiled them, what they import, and which names they use.

A pickle does not say which Python made it, but its bytecode does: in each version, opcodes have other numbers,
arguments and caches. ``pythons.json`` has them as :mod:`builder.validate.reading.describe_python` printed them on each
Python. A version is a candidate if every instruction is one of that version, with arguments in range; that is
unambiguous except for functions of a few instructions. ``dis`` knows only the version it runs on; xdis knows all, but
its licence is GPL.
"""

from __future__ import annotations

import functools
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.validate.reading.values import Blob, Call, Value, get_items

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator, Mapping

NEWER = "3.15 or newer"
"""What is reported for code objects with the fields of Python 3.11 and later, but unknown instructions."""
_VARIABLE_FLAGS = 0x04 | 0x08  # CO_VARARGS, CO_VARKEYWORDS
_PER_NAME = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD", "IMPORT_NAME", "IMPORT_FROM")
_NEUTRAL = {"PRECALL", "PUSH_NULL", "RESUME", "NOP"}
_LAST = ("RETURN_", "RAISE_VARARGS", "RERAISE", "JUMP_", "INTERPRETER_EXIT")
_MAX_NAMES, _MAX_PATHS = 100, 2000
MAX_PATH = 300
_MAX_CODE = 1 << 20  # bytes of instructions of one function; library code has about 10 kB at most
_FIELDS = {
    15: "argcount kwonly nlocals stack flags code consts names variables file name line lines free cells",
    16: "argcount positional kwonly nlocals stack flags code consts names variables file name line lines free cells",
    18: "argcount positional kwonly nlocals stack flags code consts names variables file name qualname line lines "
    "exceptions free cells",
}
"""The arguments of ``types.CodeType`` by their number: before Python 3.8, before 3.11, and since."""
_VERSIONS = {15: ("3.7",), 16: ("3.8", "3.9", "3.10"), 18: ("3.11", "3.12", "3.13", "3.14")}


@dataclass(frozen=True, kw_only=True)
class Code:
    """A code object of a pickle.

    Attributes:
        name: The function's name.
        count: Number of its parameters as ``inspect.signature`` counts them.
        pythons: The versions that may have compiled it.
        instructions: Its bytecode.
        constants: Number of its constants.
        names: The names of globals, attributes and modules in it.
        variables: The names of its local variables, then the other cells and the free ones.
        cells: The names of its cells, then the free variables.
        free: The names of its free variables, in the order of the closure.
    """

    name: str
    count: int
    pythons: tuple[str, ...]
    instructions: bytes
    constants: int
    names: tuple[str, ...]
    variables: tuple[str, ...]
    cells: tuple[str, ...]
    free: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NamesUsed:
    """What a function imports when it is called, and the dotted names that it loads, such as ``os.path.join``.

    Names that are longer than :data:`MAX_PATH` are cut; ``is_complete`` is False if there are too many of them.
    ``aliases`` are the variables that contain an imported module or a part of one, also for its inner functions.
    """

    imports: tuple[str, ...]
    paths: tuple[str, ...]
    aliases: Mapping[str, str]
    is_complete: bool = True


@functools.cache
def load_pythons() -> dict[str, Any]:
    """Return what ``pythons.json`` has for each version."""
    content: dict[str, Any] = json.loads(Path(__file__).with_name("pythons.json").read_bytes())
    return content


def read_code(call: Call, buffer: bytes | mmap.mmap) -> Code | None:
    """Return the code object that a call of ``types.CodeType`` creates; None if its arguments are not plain values."""
    arguments = get_items(call.arguments)
    if len(arguments) not in _FIELDS:
        return None
    fields = dict(zip(_FIELDS[len(arguments)].split(), arguments, strict=True))
    content, numbers = fields["code"], [fields["argcount"], fields["kwonly"], fields["flags"]]
    if not isinstance(content, Blob) or not all(isinstance(number, int) for number in numbers):
        return None
    positional, keywords, flags = (number for number in numbers if isinstance(number, int))
    texts = [item for key in ("names", "variables", "cells", "free") for item in get_items(fields[key])]
    if not all(isinstance(text, str) for text in texts):  # computed while loading, or too long
        return None
    instructions = buffer[content.start : content.start + min(content.size, _MAX_CODE)]
    constants, names = len(get_items(fields["consts"])), _get_texts(fields["names"])
    local, free = _get_texts(fields["variables"]), _get_texts(fields["free"])
    cells = _get_texts(fields["cells"])
    pythons = tuple(
        python for python in _VERSIONS[len(arguments)] if _is_valid(instructions, python, constants, len(names))
    )
    if len(pythons) > 1 and len(arguments) == 16:
        pythons = _narrow_by_lines(pythons, fields["lines"], len(instructions), buffer)
    return Code(
        name=fields["name"] if isinstance(fields["name"], str) else "",
        count=positional + keywords + (flags & _VARIABLE_FLAGS).bit_count(),
        pythons=pythons or ((NEWER,) if len(arguments) == 18 else ()),
        instructions=instructions,
        constants=constants,
        names=names,
        variables=(*local, *(name for name in cells if name not in set(local)), *free),
        cells=(*cells, *free),
        free=free,
    )


def read_names(code: Code, known: Mapping[str, str]) -> NamesUsed:
    """Return what a function imports and which dotted names it uses.

    Args:
        code: The function.
        known: The dotted name of what its global and free variables contain, such as ``np``: ``numpy``; empty for
            values. A global variable that is not in it is a builtin.
    """
    python = code.pythons[-1] if code.pythons else NEWER
    if python not in load_pythons():
        # Which of them are attributes of which is not known: assume all.
        names = code.names[:_MAX_NAMES]
        roots = [known.get(name, f"builtins.{name}") for name in names]
        parts = [f"{known.get(root, root)}.{name}" for root in names for name in names]
        return NamesUsed(imports=(), paths=tuple(filter(None, (*roots, *parts))), aliases={}, is_complete=False)
    return _NameReader(code, python, dict(known)).read()


@dataclass(repr=False)
class _NameReader:
    """Follows the modules that a function imports or loads, from instruction to instruction, without branches.

    Attributes:
        aliases: The dotted name of what each variable contains.
        new_aliases: Those of them that the function has imported itself.
        chain: The dotted name of what the last instruction loaded; empty if it is not known.
        module: The last module that was imported.
    """

    code: Code
    python: str
    aliases: dict[str, str]
    new_aliases: dict[str, str] = field(default_factory=dict)
    chain: str = ""
    module: str = ""

    def read(self) -> NamesUsed:
        imports, paths = dict[str, None](), dict[str, None]()
        for name, argument in itertools.chain(_decode(self.code.instructions, self.python), [("", 0)]):
            if name in {"LOAD_ATTR", "LOAD_METHOD"}:  # of a value that is not known, the path begins with the point
                if len(self.chain) <= MAX_PATH:
                    self.chain += f".{self._get_name(name, argument)}"
                continue
            if name in _NEUTRAL:
                continue
            if self.chain:
                self._store(name, argument)
                paths[self.chain] = None
            self.chain = self._load(name, argument)
            if name == "IMPORT_NAME":
                imports[self.module] = None
            if len(paths) > _MAX_PATHS:
                break
        is_complete = len(paths) <= _MAX_PATHS
        return NamesUsed(imports=tuple(imports), paths=tuple(paths), aliases=self.new_aliases, is_complete=is_complete)

    def _store(self, name: str, argument: int) -> None:
        """Note the variable that receives an imported module, or a part of one."""
        for variable in self._list_variables(name, argument)[:1] if name.startswith("STORE_") else []:
            self.aliases[variable] = self.new_aliases[variable] = self.chain

    def _load(self, name: str, argument: int) -> str:
        if name == "IMPORT_NAME":
            self.module = self._get_name(name, argument)
            return self.module
        if name == "IMPORT_FROM":
            return f"{self.module}.{self._get_name(name, argument)}"
        if name in {"LOAD_GLOBAL", "LOAD_NAME"}:
            variable = self._get_name(name, argument)
            return self.aliases.get(variable, f"builtins.{variable}")
        if name.startswith(("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD_FAST")):
            return self.aliases.get("".join(self._list_variables(name, argument)[-1:]), "")
        return ""

    def _get_name(self, opcode: str, argument: int) -> str:
        index = argument >> _get_shift(self.python, opcode)
        return self.code.names[index] if index < len(self.code.names) else ""

    def _list_variables(self, opcode: str, argument: int) -> list[str]:
        """Return the variables that an instruction stores or loads; since Python 3.13, some have two."""
        indices = [argument >> 4, argument & 15] if opcode.count("_FAST") == 2 else [argument]
        names = self.code.names if opcode in {"STORE_GLOBAL", "STORE_NAME"} else self.code.variables
        if opcode.endswith("_DEREF") and self.python not in _VERSIONS[18]:
            names = self.code.cells  # before Python 3.11, they are counted apart from local variables
        return [names[index] for index in indices if index < len(names)]


def _get_texts(value: Value) -> tuple[str, ...]:
    return tuple(item if isinstance(item, str) else "" for item in get_items(value))


def _get_shift(python: str, opcode: str) -> int:
    """Return by how many bits the argument is shifted: the lowest one is a flag of some instructions."""
    flagged = {"LOAD_GLOBAL": "3.11 3.12 3.13 3.14", "LOAD_ATTR": "3.12 3.13 3.14"}
    return int(python in flagged.get(opcode, "").split())


@functools.cache
def _get_table(python: str) -> tuple[list[tuple[str, int] | None], int, int]:
    """Return the name and caches of each opcode number, the first one with an argument, and EXTENDED_ARG."""
    entry = load_pythons()[python]
    table: list[tuple[str, int] | None] = [None] * 256
    for name, (number, caches) in entry["opcodes"].items():
        table[number] = (name, caches)
    table[0] = None  # CACHE is never an instruction of its own
    return table, entry["first_with_argument"], entry["opcodes"]["EXTENDED_ARG"][0]


def _decode(instructions: bytes, python: str) -> Iterator[tuple[str, int]]:
    """Yield each instruction's name and argument; the name is empty if it is not one of this version."""
    table, first, extended = _get_table(python)
    index = argument = 0
    while index + 1 < len(instructions):
        number = instructions[index]
        entry = table[number]
        if entry is None:
            yield "", 0
            return
        argument |= instructions[index + 1]
        caches = entry[1]
        end = index + 2 + 2 * caches
        if caches and any(instructions[index + 2 : end]):
            yield "", 0
            return
        if number == extended:
            argument = (argument << 8) & 0xFFFFFFFF
        else:
            yield entry[0], argument if number >= first else 0
            argument = 0
        index = end
    if index != len(instructions):
        yield "", 0


def _is_valid(instructions: bytes, python: str, constants: int, names: int) -> bool:
    """Return whether all instructions are of this version and their arguments in range."""
    last, is_resumed = "", python not in _VERSIONS[18]
    for name, argument in _decode(instructions, python):
        if not name or (name == "LOAD_CONST" and argument >= constants):
            return False
        if name in _PER_NAME and argument >> _get_shift(python, name) >= names:
            return False
        is_resumed |= name == "RESUME"
        last = name
    return is_resumed and last.startswith(_LAST)


def _narrow_by_lines(pythons: tuple[str, ...], lines: Value, length: int, buffer: bytes | mmap.mmap) -> tuple[str, ...]:
    """Distinguish 3.10 from older versions: its table of lines covers all bytes of the code, theirs does not.

    https://github.com/python/cpython/blob/3.10/Objects/lnotab_notes.txt
    """
    if not isinstance(lines, Blob):
        return pythons
    table = buffer[lines.start : lines.start + min(lines.size, _MAX_CODE)]
    covers = sum(table[::2]) == length
    return tuple(python for python in pythons if (python == "3.10") == covers)
