"""Read the arguments of a pickle's opcodes, and keep the stack, the marks and the memo; see :mod:`.opcodes`."""

from __future__ import annotations

import codecs
import re
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from builder.validate.reading.values import EMPTY_TUPLE, FLOAT, Blob, Call, Container, Number, Value

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Sequence

VALUE_BYTES, PLACE_BYTES = 100, 16
"""Estimates of what an object of Python takes, and a place in a list that grows."""
_MAX_MEMORY = 400 << 20
"""Estimated bytes of the values. The estimate is high: the process takes at most 512 MB, with the analysis."""
_MAX_TEXT = 300
_MAX_LINE = 1 << 16
_INT_BYTES = 16
# Values in a row that are skipped at once, in bytes; the longest are matched in 0.2 to 0.5 s (measured on one core).
_MIN_RUN, _MAX_RUN = 576, 32 << 20
_MIN_GROUPS = 4  # fewer may be the items of one tuple, which is read
_MAX_SECONDS = 8.0
# BININT1, BININT2, BININT and BINFLOAT with the bytes that they take, NONE, NEWTRUE and NEWFALSE.
_NUMBER = re.compile(rb"K[\s\S]|M[\s\S]{2}|J[\s\S]{4}|G[\s\S]{8}|[N\x88\x89]")
_NUMBERS = re.compile(rb"(?:%s)++" % _NUMBER.pattern)
# Tuples and lists of numbers, as protocol 4 and later write them: with one MEMOIZE each, and without any GET.
_GROUP = re.compile(
    rb"(?:(?:NUMBER){2}\x86|(?:NUMBER){3}\x87|(?:NUMBER)\x85|\((?:NUMBER){4,64}+t)\x94"
    rb"|\]\x94(?:\((?:NUMBER){1,1000}+e|(?:NUMBER)a)".replace(b"NUMBER", _NUMBER.pattern)
)
GROUPS = re.compile(rb"(?:%s)++" % _GROUP.pattern)
_EACH_GROUP = re.compile(rb"(?:%s)()" % _GROUP.pattern)  # `findall` then copies nothing
_RUN_STARTS = frozenset(b"KMJGN\x88\x89\x85")  # what may follow the first number of a run
# The most frequent opcodes, which :meth:`Machine._run_frequent` interprets.
_STOP, _MARK, _BUILD, _BINGET, _LONG_BINGET, _EMPTY_LIST, _BINFLOAT, _BININT1, _BININT2, _NONE = b".(bhj]GKMN"
_EMPTY_TUPLE, _MEMOIZE, _SHORT_BINUNICODE, _NEWOBJ = 0x29, 0x94, 0x8C, 0x81
_APPENDS = frozenset(b"eu\x90")
_EMPTY = {ord("]"): "list", ord("}"): "dict"}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_BATCH, _CHUNK = 4096, 1 << 16  # opcodes between two looks at the clock and the memory, and bytes of which they are
_CONTAINER_BYTES, CALL_BYTES = 160, 300


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


class SparseMemo(dict[int, Value]):
    """The memo of a pickle that does not number its values in turn."""

    def append(self, value: Value) -> None:
        """Store a value by the next index, as MEMOIZE does."""
        self[len(self)] = value

    def extend(self, values: Sequence[Value]) -> None:
        """Store values by the next indices."""
        for value in values:
            self.append(value)


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
        self._memo: list[Value] | SparseMemo = []
        self._has_runs = False
        self._tried = 0  # up to this position, no run begins that is long enough
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
        if not self._skip_run():
            self._push(FLOAT)

    def _push_small(self, size: int) -> None:
        start = self._read(size)
        if not self._skip_run():
            self._push(int.from_bytes(self._buffer[start : start + size], "little", signed=size == 4))

    def _push_none(self) -> None:
        if not self._skip_run():
            self._push(None)

    def _skip_run(self) -> bool:
        """If a run of numbers, or of groups of them, begins here, push it as one value; return whether one does."""
        # Most numbers are single: look at one byte before a pattern is tried.
        if self._at < self._tried or self.position >= self._size or self._buffer[self.position] not in _RUN_STARTS:
            return False
        return self._skip(_NUMBERS) or self._skip(GROUPS)

    def _skip(self, pattern: re.Pattern[bytes]) -> bool:
        match = pattern.match(self._buffer, self._at, self._at + _MAX_RUN)
        if match is None:
            return False
        size, count = match.end() - self._at, 0
        if pattern is GROUPS and size >= _MIN_RUN:
            count = len(_EACH_GROUP.findall(self._buffer, self._at, match.end()))
            if count < _MIN_GROUPS:
                return False
        if size < _MIN_RUN:
            self._tried = match.end()
            return False
        self._check_time()
        self._push(Number(size, count, start=self._at), VALUE_BYTES + PLACE_BYTES * count)
        self._memo.extend([FLOAT] * count)  # what is in a group is not read
        self.position, self._has_runs = match.end(), True
        return True

    def _split(self, run: Number) -> Number:
        """Take one number off a run of them."""
        if not run.count:
            self._check_time()
            run.count = sum(1 for _ in _NUMBER.finditer(self._buffer, run.start, run.start + run.size))
        run.count -= 1
        return FLOAT

    def _create(self, kind: str, items: list[Value] | None = None) -> None:
        items = [] if items is None else items
        self._push(Container(kind, items), 160 + 8 * len(items))

    def _create_tuple(self, count: int) -> None:
        self._create("tuple", self._pop_items(count))

    def _run_frequent(  # noqa: C901, PLR0912, PLR0915 - calls are what it saves
        self, handlers: Sequence[Callable[[Any], object] | None], calls: list[Call]
    ) -> None:
        """Interpret opcodes up to one that is unusual, such as a GET of what is not in the memo: its handler follows.

        The frequent ones are interpreted here, without a call, in a third of the time: an object of a typical pickle
        takes about ten of them.

        Args:
            handlers: The handler of each opcode.
            calls: Receives the calls.
        """
        start, spent, position = self.position, 0, 0
        buffer = self._buffer[start : start + _CHUNK]  # bytes are read faster than a mapped file
        size, stack, marks, memo = len(buffer), self._stack, self._marks, self._memo
        try:
            for _ in range(_BATCH):
                code = buffer[position]
                if code == _MEMOIZE:
                    value = stack[-1]
                    if type(value) is Number and value.count != 1:
                        break
                    memo.append(value)
                    spent += PLACE_BYTES
                    position += 1
                elif code == _BINGET:
                    stack.append(memo[buffer[position + 1]])
                    spent += PLACE_BYTES
                    position += 2
                elif code == _SHORT_BINUNICODE:
                    end = position + 2 + buffer[position + 1]
                    if end > size:
                        break
                    text = buffer[position + 2 : end].decode()
                    stack.append(text)
                    spent += PLACE_BYTES + 60 + (1 if text.isascii() else 4) * (end - position)
                    position = end
                elif code == _BINFLOAT and buffer[position + 9] not in _RUN_STARTS:
                    stack.append(FLOAT)
                    spent += PLACE_BYTES
                    position += 9
                elif code == _BININT1 and buffer[position + 2] not in _RUN_STARTS:
                    stack.append(buffer[position + 1])
                    spent += PLACE_BYTES
                    position += 2
                elif code == _BININT2 and buffer[position + 3] not in _RUN_STARTS:
                    stack.append(buffer[position + 1] | buffer[position + 2] << 8)
                    spent += PLACE_BYTES + 32
                    position += 3
                elif code == _NONE and buffer[position + 1] not in _RUN_STARTS:
                    stack.append(None)
                    spent += PLACE_BYTES
                    position += 1
                elif code == _MARK:
                    if buffer[position + 1] in _RUN_STARTS:
                        break
                    marks.append(stack)
                    stack = self._stack = []
                    spent += VALUE_BYTES
                    position += 1
                elif code in _APPENDS:
                    target = marks[-1][-1]
                    if type(target) is not Container or target is EMPTY_TUPLE:
                        break
                    target.items.extend(stack)
                    spent -= VALUE_BYTES  # the mark's; the items' places are already counted
                    stack = self._stack = marks.pop()
                    position += 1
                elif code in _EMPTY:
                    if code == _EMPTY_LIST and buffer[position + 1] == _MEMOIZE and buffer[position + 3] in _RUN_STARTS:
                        break  # it may be one of many lists of numbers
                    stack.append(Container(_EMPTY[code], []))
                    spent += _CONTAINER_BYTES
                    position += 1
                elif code == _LONG_BINGET and position + 5 <= size:
                    stack.append(memo[int.from_bytes(buffer[position + 1 : position + 5], "little")])
                    spent += PLACE_BYTES
                    position += 5
                elif code == _EMPTY_TUPLE:
                    stack.append(EMPTY_TUPLE)
                    spent += PLACE_BYTES
                    position += 1
                elif code in _TUPLES:
                    count = _TUPLES[code]
                    items = stack[-count:]
                    if len(items) < count or (self._has_runs and _has_run(items)):
                        break
                    stack[-count:] = [Container("tuple", items)]
                    spent += _CONTAINER_BYTES + 8 * count
                    position += 1
                elif code == _NEWOBJ:
                    if len(stack) < 2 or (self._has_runs and _has_run(stack[-2:])):
                        break
                    call = Call(stack[-2], stack[-1], start + position, is_new=True)
                    calls.append(call)
                    stack[-2:] = [call]
                    spent += CALL_BYTES
                    position += 1
                elif code == _BUILD:
                    target = stack[-2]
                    if type(target) is not Call or (self._has_runs and _has_run(stack[-1:])):
                        break
                    target.states.append(stack.pop())
                    spent += PLACE_BYTES
                    position += 1
                else:
                    self._at, self.position = start + position, start + position + 1
                    handler = handlers[code]
                    if handler is None or code == _STOP:
                        break
                    handler(self)
                    position, stack, memo = self.position - start, self._stack, self._memo
        except (IndexError, KeyError, UnicodeDecodeError):
            pass  # at the end of the file, for example
        self.position = start + position
        self._spend(spent)


def _has_run(values: list[Value]) -> bool:
    return any(isinstance(value, Number) and value.count != 1 for value in values)
