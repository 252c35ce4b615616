"""Read the arguments of a pickle's opcodes, and keep the stack, the marks and the memo; see :mod:`.opcodes`."""

from __future__ import annotations

import codecs
import re
import sys
import time
import warnings
from typing import TYPE_CHECKING, NoReturn

from builder.validate.reading.values import Blob, Container, Number, Value

if TYPE_CHECKING:
    import mmap

VALUE_BYTES = 100
"""Estimate of what an object of Python takes."""
_MAX_MEMORY = 400 << 20
"""Estimated bytes of the values. The estimate is high: the process takes at most 512 MB, with the analysis."""
_MAX_TEXT = 300
_MAX_LINE = 1 << 16
_INT_BYTES = 16
_MIN_RUN = 64  # numbers in a row that are skipped at once
_MAX_RUN = 32 << 20  # bytes of them, which are matched in 0.3 s (measured on one core)
_MAX_SECONDS = 8.0
# BININT1, BININT2, BININT and BINFLOAT, with the bytes that they take.
_NUMBER = re.compile(rb"K[\s\S]|M[\s\S]{2}|J[\s\S]{4}|G[\s\S]{8}")
_RUN = re.compile(rb"(?:%s){%d,}+" % (_NUMBER.pattern, _MIN_RUN))


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


class Machine:
    """The state of reading one pickle.

    Attributes:
        position: The next byte to read.
    """

    def __init__(self, buffer: bytes | mmap.mmap) -> None:
        self._buffer, self._size = buffer, len(buffer)
        self.position = self._at = 0  # the latter is the current opcode
        self._stack: list[Value] = []
        self._marks: list[list[Value]] = []
        self._memo: dict[int, Value] = {}
        self._memory = 0
        self._deadline = time.monotonic() + _MAX_SECONDS

    def _fail(self, text: str, *, is_truncated: bool = False) -> NoReturn:
        raise PickleError(text, self._at, is_truncated=is_truncated)

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise LimitError

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

    def _pop_items(self, count: int) -> list[Value]:
        """Return the last values, in the order in which they were pushed."""
        items = [self._pop() for _ in range(count)]
        items.reverse()
        return items

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

    def _read_index(self) -> int:
        line = self._read_short_line()
        if not re.fullmatch(rb"[0-9]{1,18}", line):
            self._fail("has a memo index that is not a number")
        return int(line)

    def _push_text(self, length: int) -> None:
        start = self._read(length)
        if length > 4 * _MAX_TEXT:
            self._push(Blob("str", start, length), VALUE_BYTES)
            return
        self._push_decoded(str(self._buffer[start : start + length], "utf-8", "surrogatepass"), start)

    def _push_decoded(self, text: str, start: int) -> None:
        if len(text) <= _MAX_TEXT:
            self._push(text, 8 + sys.getsizeof(text))
        else:
            self._push(Blob("str", start, len(text)), VALUE_BYTES)

    def _push_bytes(self, kind: str, length: int) -> None:
        self._push(Blob(kind, self._read(length), length), VALUE_BYTES)

    def _push_long(self, length: int) -> None:
        start = self._read(length)
        if length > _INT_BYTES:
            self._push(Number(length), VALUE_BYTES)
        else:
            self._push(int.from_bytes(self._buffer[start : start + length], "little", signed=True))

    def _push_text_number(self) -> None:
        line = self._read_line()
        if isinstance(line, Blob) or not re.fullmatch(rb"\s*[-+]?[0-9]{1,30}L?\s*", line):
            self._push(Number(line.size if isinstance(line, Blob) else len(line)), VALUE_BYTES)
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
            self._push(Number(9), VALUE_BYTES)

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
        match = _RUN.match(self._buffer, self._at, self._at + _MAX_RUN)
        if match is None:
            return False
        self._check_time()
        self.position = match.end()
        self._push(Number(match.end() - self._at, count=0, start=self._at), VALUE_BYTES)
        return True

    def _split(self, run: Number) -> Number:
        """Take one number off a run of them."""
        if not run.count:
            self._check_time()
            run.count = sum(1 for _ in _NUMBER.finditer(self._buffer, run.start, run.start + run.size))
        run.count -= 1
        return Number(9)

    def _create(self, kind: str, items: list[Value] | None = None) -> None:
        items = [] if items is None else items
        self._push(Container(kind, items), 160 + 8 * len(items))

    def _create_tuple(self, count: int) -> None:
        self._create("tuple", self._pop_items(count))
