"""Interpret the opcodes of a pickle symbolically: the values that loading it would create, within fixed bounds.

The stack, the marks and the memo work as in the C unpickler, so that names which a pickle composes are the ones that it
would import (https://github.com/python/cpython/blob/main/Lib/pickletools.py describes each opcode). Nothing is
imported or called, and no declared length is allocated.

No library does this: ``pickletools.genops`` parses opcodes, but has no stack and copies each argument; fickling 0.1
cannot parse BYTEARRAY8, which every array of protocol 5 is; picklescan reports every pickle of cloudpickle.
"""

from __future__ import annotations

import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from builder.validate.reading.machine import (
    CALL_BYTES,
    GROUPS,
    PLACE_BYTES,
    VALUE_BYTES,
    LimitError,
    Machine,
    SparseMemo,
)
from builder.validate.reading.values import EMPTY_TUPLE, Call, Container, Global, Number, Value

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

HIGHEST_PROTOCOL = 5
_MAX_GLOBALS = 50_000  # a pickler writes each one once


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


class Interpreter(Machine):
    """Reads one pickle of a buffer.

    Attributes:
        program: What the pickle does; after a PickleError or LimitError, what came before it.
    """

    def __init__(self, buffer: bytes | mmap.mmap) -> None:
        super().__init__(buffer)
        self.program = Program()
        self._protocol = 0  # a pickle can declare it again

    def run(self) -> Program:
        """Interpret all opcodes up to STOP.

        Raises:
            PickleError: The bytes are not a complete pickle.
            LimitError: It has too many objects.
        """
        try:
            while True:
                self._check_time()
                self._run_frequent(_HANDLERS, self.program.calls)
                position = self._at = self.position
                if position >= self._size:
                    text = "has no STOP opcode at its end" if position else "is empty"
                    self._fail(text, is_truncated=True)
                code = self._buffer[position]
                self.position = position + 1
                if code == _STOP:
                    self.program.root = self._pop()
                    self.program.end = self.position
                    return self.program
                handler = _HANDLERS[code]
                if handler is None:
                    self._fail(f"has the byte 0x{code:02x} where an opcode is expected")
                handler(self)
        except UnicodeDecodeError:
            self._fail("has a text that is not valid")
        finally:
            self.program.memo_size = max(self.program.memo_size, len(self._memo))

    def _create_global(self, module: Value, name: Value) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            self._fail("imports by a name that is computed or very long")
        if self._protocol < 3:  # as the loader does: names of Python 2
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[module, name]
            elif module in IMPORT_MAPPING:
                module = IMPORT_MAPPING[module]
        self._spend(VALUE_BYTES + sys.getsizeof(module) + sys.getsizeof(name))
        if len(self.program.globals) >= _MAX_GLOBALS:
            raise LimitError
        result = Global(module, name, self._at)
        self.program.globals.append(result)
        return result

    def _read_global(self) -> Global:
        module, name = self._read_short_line(), self._read_short_line()
        return self._create_global(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"))

    def _push_call(self, function: Value, arguments: Value, *, is_new: bool = False) -> Call:
        self._spend(CALL_BYTES)
        call = Call(function, arguments, self._at, is_new)
        self.program.calls.append(call)
        self._stack.append(call)
        return call

    def _set_protocol(self) -> None:
        protocol = self._read_number(1)
        if protocol > HIGHEST_PROTOCOL:
            self._fail(f"declares protocol {protocol}; the highest is {HIGHEST_PROTOCOL}")
        self._protocol = protocol
        self.program.protocol = max(self.program.protocol, protocol)

    def _check_frame(self) -> None:
        length = self._read_number(8)
        left = self._size - self.position
        if length > left:
            self._fail(f"ends within a frame that declares {length:,} bytes; it has {left:,}", is_truncated=True)

    def _mark(self) -> None:
        if self._skip_run():
            return
        self._spend(VALUE_BYTES)
        self._marks.append(self._stack)
        self._stack = []

    def _create_list(self) -> None:
        if not self._skip(GROUPS):
            self._create("list")

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
        self._store(index, value)

    def _store(self, index: int, value: Value) -> None:
        memo = self._memo
        if isinstance(memo, list) and index > len(memo):
            self._spend(VALUE_BYTES * len(memo))
            memo = self._memo = SparseMemo(enumerate(memo))
        if isinstance(memo, list) and index == len(memo):
            self._spend(PLACE_BYTES)
            memo.append(value)
        else:
            self._spend(VALUE_BYTES)
            memo[index] = value
        self.program.memo_size = max(self.program.memo_size, index + 1)

    def _memoize(self) -> None:
        self._put(len(self._memo))

    def _get(self, index: int) -> None:
        try:
            value = self._memo[index]
        except (IndexError, KeyError):
            self._fail(f"takes the memo's entry {index:,}, which it has not stored")
        self._memory += 8
        self._stack.append(value)

    def _append(self, items: list[Value]) -> None:
        target = self._pop()
        self._stack.append(target)
        self._spend(8 * len(items))
        if isinstance(target, (Container, Call)) and target is not EMPTY_TUPLE:
            target.items.extend(items)
        elif items:
            self.program.changed.append((target, self._at))

    def _append_one(self, count: int) -> None:
        self._append(self._pop_items(count))

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
        **dict.fromkeys("N\x88\x89", lambda self: self._push_none()),
        "K": lambda self: self._push_small(1),
        "M": lambda self: self._push_small(2),
        "J": lambda self: self._push_small(4),
        "G": lambda self: self._push_float(),
        "\x8a": lambda self: self._push_long(self._read_number(1)),
        "\x8b": lambda self: self._push_long(self._read_number(4)),
        "I": lambda self: self._push_text_number(),
        "L": lambda self: self._push_text_number(),
        "F": lambda self: self._push_text_number(),
        "S": lambda self: self._push_string(),
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
        "]": _create_list,
        "}": lambda self: self._create("dict"),
        "\x8f": lambda self: self._create("set"),
        ")": lambda self: self._push(EMPTY_TUPLE),
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
        "1": lambda self: self._pop_mark(),
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
