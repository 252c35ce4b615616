"""Interpret the opcodes of a pickle symbolically: the values that loading it would create, within fixed bounds.

The stack, the marks and the memo work as in the C unpickler, so that names which a pickle composes are the ones that it
would import (https://github.com/python/cpython/blob/main/Lib/pickletools.py describes each opcode). Nothing is
imported or called, and no declared length is allocated.

Neither library for this fits: ``pickletools.genops`` parses opcodes but has no stack, copies each argument and takes
1 us for an opcode; fickling 0.1 cannot parse BYTEARRAY8, which every array of protocol 5 is.
"""

from __future__ import annotations

import codecs
import re
import sys
import time
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NoReturn

from builder.validate.reading.values import Blob, Call, Container, Global, Number, Value

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

HIGHEST_PROTOCOL = 5
_MAX_SECONDS = 8.0
_MAX_MEMORY = 400 << 20
"""Estimated bytes of the values. The estimate is high: the process takes at most 512 MB, with the analysis."""
_MAX_TEXT = 300
_MAX_GLOBALS = 50_000  # a pickler writes each one once
_VALUE_BYTES = 100
_MAX_LINE = 1 << 16
_MIN_RUN = 64  # numbers in a row that are skipped at once
_INT_BYTES = 16


class PickleError(Exception):
    """The bytes are not a complete pickle.

    Attributes:
        position: Where the problem is.
        is_truncated: Whether the file ends before the pickle does.
    """

    def __init__(self, text: str, position: int, *, is_truncated: bool = False) -> None:
        super().__init__(text)
        self.position, self.is_truncated = position, is_truncated


class LimitError(Exception):
    """The rest of the pickle is not read: it has more objects than the bounds of this module allow."""


@dataclass(slots=True, repr=False)
class Program:
    """What a pickle does when it is loaded, in order.

    Attributes:
        root: What it contains.
        end: The position after its last opcode.
        protocol: The highest protocol that it declares; 0 if none.
        globals: What it imports.
        calls: What it calls.
        changed: What it sets a state or an item of that it has not created itself, such as a module.
        unsupported: What the loader of the runner cannot resolve: persistent ids and registered extensions.
        memo_size: The number of memo slots that the C unpickler allocates.
    """

    root: Value = None
    end: int = 0
    protocol: int = 0
    globals: list[Global] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    changed: list[tuple[Value, int]] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    memo_size: int = 0


class Interpreter:
    """Reads one pickle of a buffer.

    Attributes:
        program: What the pickle does; after a PickleError or LimitError, what came before it.
        position: The next byte to read.
    """

    def __init__(self, buffer: bytes | mmap.mmap, start: int = 0) -> None:
        self.program = Program(end=start)
        self._buffer, self._size = buffer, len(buffer)
        self.position = start
        self._at = start  # the current opcode
        self._stack: list[Value] = []
        self._marks: list[list[Value]] = []
        self._memo: dict[int, Value] = {}
        self._memory = 0

    def run(self) -> Program:
        """Interpret all opcodes up to STOP.

        Raises:
            PickleError: The bytes are not a complete pickle.
            LimitError: It has too many objects.
        """
        buffer, size, deadline, count = self._buffer, self._size, time.monotonic() + _MAX_SECONDS, 0
        while True:
            count += 1
            if not count & 0xFFF and time.monotonic() > deadline:
                raise LimitError
            position = self._at = self.position
            if position >= size:
                text = "has no STOP opcode at its end" if position else "is empty"
                raise PickleError(text, position, is_truncated=True)
            code = buffer[position]
            self.position = position + 1
            if code == _STOP:
                self.program.root = self._pop()
                self.program.end = self.position
                return self.program
            handler = _HANDLERS[code]
            if handler is None:
                self._fail(f"has the byte 0x{code:02x} where an opcode is expected")
            try:
                handler(self)
            except UnicodeDecodeError:
                self._fail("has a text that is not valid")

    def _fail(self, text: str, *, is_truncated: bool = False) -> NoReturn:
        raise PickleError(text, self._at, is_truncated=is_truncated)

    def _spend(self, size: int) -> None:
        self._memory += size
        if self._memory > _MAX_MEMORY:
            raise LimitError

    def _pop(self) -> Value:
        stack = self._stack
        if not stack:
            self._fail("takes more from the stack than there is")
        last = stack[-1]
        return self._split(last) if isinstance(last, Number) and last.count != 1 else stack.pop()

    def _pop_mark(self) -> list[Value]:
        if not self._marks:
            self._fail("has no mark on the stack where one is expected")
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _push(self, value: Value, size: int = 40) -> None:
        """Push a value; ``size`` is what it takes, at least a place on the stack or a small number."""
        self._spend(size)
        self._stack.append(value)

    def _read(self, length: int) -> int:
        """Return the start of the argument of a known length, and move behind it."""
        start = self.position
        if start + length > self._size:
            left = self._size - start
            self._fail(f"ends within an opcode that declares {length:,} bytes; it has {left:,}", is_truncated=True)
        self.position = start + length
        return start

    def _read_number(self, size: int) -> int:
        start = self._read(size)
        return int.from_bytes(self._buffer[start : start + size], "little")

    def _read_line(self) -> bytes | Blob:
        """Return the argument of an opcode of protocol 0: a line, or where it is if it is long."""
        start = self.position
        end = self._buffer.find(b"\n", start)
        if end < 0:
            self._fail("ends within an argument", is_truncated=True)
        self.position = end + 1
        return self._buffer[start:end] if end - start <= _MAX_LINE else Blob("str", start, end - start)

    def _read_short_line(self) -> bytes:
        line = self._read_line()
        return line if isinstance(line, bytes) else self._fail("has a name or a number of more than 65,536 bytes")

    # Values ---------------------------------------------------------------------------------------------------------

    def _push_text(self, length: int) -> None:
        start = self._read(length)
        if length > 4 * _MAX_TEXT:
            self._push(Blob("str", start, length), _VALUE_BYTES)
            return
        self._push_decoded(str(self._buffer[start : start + length], "utf-8", "surrogatepass"), start)

    def _push_decoded(self, text: str, start: int) -> None:
        if len(text) <= _MAX_TEXT:
            self._push(text, 8 + sys.getsizeof(text))
        else:
            self._push(Blob("str", start, len(text)), _VALUE_BYTES)

    def _push_bytes(self, kind: str, length: int) -> None:
        self._push(Blob(kind, self._read(length), length), _VALUE_BYTES)

    def _push_long(self, length: int) -> None:
        start = self._read(length)
        if length > _INT_BYTES:
            self._push(Number(length), _VALUE_BYTES)
        else:
            self._push(int.from_bytes(self._buffer[start : start + length], "little", signed=True))

    def _push_text_number(self) -> None:
        line = self._read_line()
        if isinstance(line, Blob) or not re.fullmatch(rb"\s*[-+]?[0-9]{1,30}L?\s*", line):
            self._push(Number(line.size if isinstance(line, Blob) else len(line)), _VALUE_BYTES)
        else:
            self._push(int(line.strip().rstrip(b"L")))

    def _push_string(self) -> None:
        line = self._read_line()
        if isinstance(line, bytes):
            if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in {b"'", b'"'}:
                self._fail("has a string without quotes")
            line = line[1:-1]
        self._push_escaped(line, "unicode_escape")

    def _push_escaped(self, line: bytes | Blob, encoding: str) -> None:
        if isinstance(line, Blob):
            self._push(line)
        elif b"\\" in line:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python warns about unknown escapes, as in source code
                self._push_decoded(codecs.decode(line, encoding), self._at)
        else:
            self._push_decoded(line.decode("latin-1"), self._at)

    def _push_float(self) -> None:
        self._read(8)
        if not self._skip_numbers():
            self._push(Number(9), _VALUE_BYTES)

    def _push_small(self, size: int) -> None:
        start = self._read(size)
        if not self._skip_numbers():
            self._push(int.from_bytes(self._buffer[start : start + size], "little", signed=size == 4))

    def _skip_numbers(self) -> bool:
        """If many numbers in a row begin here, push them as one value, and return whether they do."""
        following = self.position
        # Most numbers are single: look at one byte before the pattern is tried.
        if following >= self._size or self._buffer[following] not in b"KMJG":
            return False
        match = _RUN.match(self._buffer, self._at)
        if match is None:
            return False
        self.position = match.end()
        self._push(Number(match.end() - self._at, count=0, start=self._at), _VALUE_BYTES)
        return True

    def _split(self, run: Number) -> Number:
        """Take one number off a run of them."""
        if not run.count:
            run.count = sum(1 for _ in _NUMBER.finditer(self._buffer, run.start, run.start + run.size))
        run.count -= 1
        return Number(9)

    def _create(self, kind: str, items: list[Value] | None = None) -> None:
        items = [] if items is None else items
        self._push(Container(kind, items), 160 + 8 * len(items))

    def _create_tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._create("tuple", items[::-1])

    def _create_global(self, module: Value, name: Value) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            self._fail("imports something whose name is not a text")
        if self.program.protocol < 3:  # as the loader does: names of Python 2
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[module, name]
            elif module in IMPORT_MAPPING:
                module = IMPORT_MAPPING[module]
        self._spend(_VALUE_BYTES + sys.getsizeof(module) + sys.getsizeof(name))
        if len(self.program.globals) >= _MAX_GLOBALS:
            raise LimitError
        result = Global(module, name, self._at)
        self.program.globals.append(result)
        return result

    def _read_global(self) -> Global:
        module, name = self._read_short_line(), self._read_short_line()
        return self._create_global(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"))

    def _push_call(self, function: Value, arguments: Value, *, is_new: bool = False) -> Call:
        self._spend(3 * _VALUE_BYTES)
        call = Call(function, arguments, self._at, is_new)
        self.program.calls.append(call)
        self._stack.append(call)
        return call

    # Opcodes with a stack effect of their own -------------------------------------------------------------------------

    def _set_protocol(self) -> None:
        protocol = self._read_number(1)
        if protocol > HIGHEST_PROTOCOL:
            self._fail(f"declares protocol {protocol}; the highest is {HIGHEST_PROTOCOL}")
        self.program.protocol = max(self.program.protocol, protocol)

    def _check_frame(self) -> None:
        length = self._read_number(8)
        left = self._size - self.position
        if length > left:
            self._fail(f"ends within a frame that declares {length:,} bytes; it has {left:,}", is_truncated=True)

    def _mark(self) -> None:
        self._spend(_VALUE_BYTES)
        self._marks.append(self._stack)
        self._stack = []

    def _remove(self) -> None:
        if self._stack:
            self._pop()
        else:
            self._pop_mark()

    def _duplicate(self) -> None:
        value = self._pop()
        self._stack.append(value)
        self._push(value)

    def _put(self, index: int) -> None:
        if not self._stack:
            self._fail("stores a value in the memo, but the stack is empty")
        value = self._stack[-1]
        if isinstance(value, Number) and value.count != 1:  # the memo has the last one of them
            value = self._split(value)
            self._stack.append(value)
        self._spend(_VALUE_BYTES)
        self._memo[index] = value
        self.program.memo_size = max(self.program.memo_size, index + 1)

    def _memoize(self) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        try:
            value = self._memo[index]
        except KeyError:
            self._fail(f"takes the memo's entry {index:,}, which it has not stored")
        self._memory += 8
        self._stack.append(value)

    def _read_index(self) -> int:
        line = self._read_short_line()
        if not re.fullmatch(rb"[0-9]{1,18}", line):
            self._fail("has a memo index that is not a number")
        return int(line)

    def _append(self, items: list[Value]) -> None:
        target = self._pop()
        self._stack.append(target)
        self._spend(8 * len(items))
        if isinstance(target, (Container, Call)):
            target.items.extend(items)
        elif items:
            self.program.changed.append((target, self._at))

    def _append_one(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._append(items[::-1])

    def _import_from_stack(self) -> None:
        name, module = self._pop(), self._pop()
        self._stack.append(self._create_global(module, name))

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._push_call(function, arguments)

    def _new(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._push_call(function, arguments, is_new=True)

    def _new_with_keywords(self) -> None:
        keywords, arguments, function = self._pop(), self._pop(), self._pop()
        self._push_call(function, arguments, is_new=True).states.append(keywords)

    def _instantiate(self) -> None:
        function = self._read_global()
        self._push_call(function, Container("tuple", self._pop_mark()))

    def _create_object(self) -> None:
        items = self._pop_mark()
        if not items:
            self._fail("creates an object without a class")
        self._push_call(items[0], Container("tuple", items[1:]))

    def _build(self) -> None:
        state, target = self._pop(), self._pop()
        self._stack.append(target)
        if isinstance(target, Call):
            self._spend(8)
            target.states.append(state)
        else:
            self.program.changed.append((target, self._at))

    def _add_unsupported(self, text: str) -> None:
        if len(self.program.unsupported) < 100:
            self.program.unsupported.append(f"{text} at byte {self._at:,}")
        self._push(None)

    def _add_extension(self, size: int) -> None:
        self._add_unsupported(f"the registered extension {self._read_number(size)}")

    def _load_persistent(self) -> None:
        self._pop()
        self._add_unsupported("a persistent id")

    def _load_persistent_line(self) -> None:
        self._read_line()
        self._add_unsupported("a persistent id")

    HANDLERS: ClassVar[dict[str, Callable[[Interpreter], object]]] = {
        "\x80": _set_protocol,
        "\x95": _check_frame,
        # Values
        **dict.fromkeys("N\x88\x89", lambda self: self._push(None)),
        "K": lambda self: self._push_small(1),
        "M": lambda self: self._push_small(2),
        "J": lambda self: self._push_small(4),
        "G": _push_float,
        "\x8a": lambda self: self._push_long(self._read_number(1)),
        "\x8b": lambda self: self._push_long(self._read_number(4)),
        "I": _push_text_number,
        "L": _push_text_number,
        "F": _push_text_number,
        "S": _push_string,
        "V": lambda self: self._push_escaped(self._read_line(), "raw_unicode_escape"),
        "\x8c": lambda self: self._push_text(self._read_number(1)),
        "X": lambda self: self._push_text(self._read_number(4)),
        "\x8d": lambda self: self._push_text(self._read_number(8)),
        "U": lambda self: self._push_text(self._read_number(1)),
        "T": lambda self: self._push_text(self._read_number(4)),
        "C": lambda self: self._push_bytes("bytes", self._read_number(1)),
        "B": lambda self: self._push_bytes("bytes", self._read_number(4)),
        "\x8e": lambda self: self._push_bytes("bytes", self._read_number(8)),
        "\x96": lambda self: self._push_bytes("bytearray", self._read_number(8)),
        "\x97": lambda self: self._add_unsupported("an out-of-band buffer"),
        "\x98": lambda _: None,  # READONLY_BUFFER
        # Containers
        "]": lambda self: self._create("list"),
        "}": lambda self: self._create("dict"),
        "\x8f": lambda self: self._create("set"),
        ")": lambda self: self._create("tuple"),
        "\x85": lambda self: self._create_tuple(1),
        "\x86": lambda self: self._create_tuple(2),
        "\x87": lambda self: self._create_tuple(3),
        "t": lambda self: self._create("tuple", self._pop_mark()),
        "l": lambda self: self._create("list", self._pop_mark()),
        "d": lambda self: self._create("dict", self._pop_mark()),
        "\x91": lambda self: self._create("frozenset", self._pop_mark()),
        "a": lambda self: self._append_one(1),
        "s": lambda self: self._append_one(2),
        **dict.fromkeys("eu\x90", lambda self: self._append(self._pop_mark())),
        # Stack and memo
        "(": _mark,
        "0": _remove,
        "1": _pop_mark,
        "2": _duplicate,
        "\x94": _memoize,
        "q": lambda self: self._put(self._read_number(1)),
        "r": lambda self: self._put(self._read_number(4)),
        "p": lambda self: self._put(self._read_index()),
        "h": lambda self: self._get(self._read_number(1)),
        "j": lambda self: self._get(self._read_number(4)),
        "g": lambda self: self._get(self._read_index()),
        # Imports and calls
        "c": lambda self: self._stack.append(self._read_global()),
        "\x93": _import_from_stack,
        "R": _reduce,
        "\x81": _new,
        "\x92": _new_with_keywords,
        "i": _instantiate,
        "o": _create_object,
        "b": _build,
        "P": _load_persistent_line,
        "Q": _load_persistent,
        "\x82": lambda self: self._add_extension(1),
        "\x83": lambda self: self._add_extension(2),
        "\x84": lambda self: self._add_extension(4),
    }


_STOP = ord(".")
_HANDLERS = [Interpreter.HANDLERS.get(chr(code)) for code in range(256)]
# BININT1, BININT2, BININT and BINFLOAT, with the bytes that they take.
_NUMBER = re.compile(rb"K[\s\S]|M[\s\S]{2}|J[\s\S]{4}|G[\s\S]{8}")
_RUN = re.compile(rb"(?:%s){%d,}+" % (_NUMBER.pattern, _MIN_RUN))
