"""What a person sees: the line that moves while work goes on, tables, sizes. Quiet where nobody watches."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO, cast

from builder.text import escape_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TICK = 0.2
_LEAST_CELL, _LEFT_OUT = 8, ("data", "image", "uploaded")
_CLEAR = "\r\x1b[K"
_moving: list[TerminalProgress] = []
"""The line that moves, while one does."""


class TerminalProgress:
    """One line on a terminal: the present step, how far it is, and the seconds it has taken."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.Lock()
        self._text, self._amount, self._since = "", "", time.monotonic()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def step(self, text: str, /) -> None:
        """See :class:`builder.progress.Progress`."""
        with self._lock:
            if self._text and not text:
                put(self._stream, _CLEAR)
            self._text, self._amount, self._since = text, "", time.monotonic()
            self._draw()

    def amount(self, done: int, total: int | None, /) -> None:
        """See :class:`builder.progress.Progress`."""
        with self._lock:
            self._amount = f"{size(done)} of {size(total)}" if total else size(done)

    def note(self, text: str, /) -> None:
        """See :class:`builder.progress.Progress`."""
        with self._lock:
            put(self._stream, f"{_CLEAR}{escape_lines(text)}\n")
            self._draw()

    def close(self) -> None:
        """Take the line away."""
        self._ended.set()
        self._ticker.join()
        with self._lock:
            put(self._stream, _CLEAR)

    def _tick(self) -> None:
        while not self._ended.wait(_TICK):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if self._text:
            parts = (self._text, self._amount, f"{time.monotonic() - self._since:.0f} s")
            line = "  ".join(part for part in parts if part)
            put(self._stream, f"{_CLEAR}{line[:110]}")


class QuietProgress:
    """For logs: no steps, notes alone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def step(self, text: str, /) -> None:
        """Say nothing."""

    def amount(self, done: int, total: int | None, /) -> None:
        """Say nothing."""

    def note(self, text: str, /) -> None:
        """Write the note."""
        put(self._stream, f"{escape_lines(text)}\n")


@contextlib.contextmanager
def progress() -> Iterator[TerminalProgress | QuietProgress]:
    """Yield what stages are told to report to; standard output stays for results."""
    if not sys.stderr.isatty():
        yield QuietProgress(sys.stderr)
        return
    shown = TerminalProgress(sys.stderr)
    _moving.append(shown)
    try:
        with contextlib.redirect_stdout(cast("TextIO", _Results(sys.stdout))):
            yield shown
    finally:
        _moving.remove(shown)
        shown.close()


class _Results:
    """Standard output while a line moves: a result takes the line away before it is printed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a result."""
        _take_away()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def size(count: float) -> str:
    """Return bytes as a person reads them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def print_list(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with a head, fitted to the terminal if it is one. Ids stay whole, to be copied."""
    columns = list(zip(head, *rows, strict=True))
    if sys.stdout.isatty():
        columns = _fit(columns, shutil.get_terminal_size().columns)
    print_table(list(zip(*columns, strict=True)))


def _fit(columns: list[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """Leave columns out that tell little, then cut the widest cells, until a row of the table fits."""
    widths = {cells[0]: max(map(len, cells)) for cells in columns}
    for name in _LEFT_OUT:
        least = sum(2 + (size if key == "id" else min(size, _LEAST_CELL)) for key, size in widths.items())
        if least > width:
            widths.pop(name, None)
    cut = [name for name in widths if name != "id"]
    while sum(widths.values()) + 2 * len(widths) > width and widths[widest := max(cut, key=widths.__getitem__)] > 2:
        widths[widest] -= 1
    return [
        tuple(cell if len(cell) <= widths[name] else f"{cell[: widths[name] - 1]}…" for cell in (name, *cells))
        for name, *cells in columns
        if name in widths
    ]


def print_table(rows: Sequence[Sequence[str]], *, indent: int = 2) -> None:
    """Print rows in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print(" " * indent + "  ".join([*cells, row[-1]]).rstrip())


def tell(text: str) -> None:
    """Write a line that belongs to a question."""
    _say(f"{text}\n")


def ask(question: str) -> str:
    """Ask on standard error: standard output may be read by a program. The end of the input (Ctrl-D) is no answer."""
    _say(f"{question} ")
    try:
        return input().strip()
    except EOFError:
        return ""


def ask_hidden(question: str) -> str:
    """Ask for what nobody should read on the screen; raises EOFError for the end of the input (Ctrl-D)."""
    import getpass  # noqa: PLC0415 - asked for seldom

    _say("")
    return getpass.getpass(f"{question} ", stream=sys.stderr)


def confirm(question: str) -> bool:
    """Ask a person at the terminal; Enter means yes, the end of the input (Ctrl-D) no."""
    _say(f"{question} [Y/n] ")
    try:
        return input().strip().lower() in {"", "y", "yes"}
    except EOFError:
        return False


def confirm_in_full(question: str) -> bool:
    """Ask for what nothing takes back: only the whole word means yes."""
    return ask(f"{question} [type yes]").lower() == "yes"


def watched() -> bool:
    """Tell whether a person is at the terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _say(text: str) -> None:
    """Write for a person who is to answer: the line that moves is drawn over nothing that was asked."""
    _take_away()
    put(sys.stderr, text)


def _take_away() -> None:
    for one in _moving:
        one.step("")


def put(stream: TextIO, text: str) -> None:
    """Write for a person; once nobody can read it any more, to nowhere: what is under way is not cut short by that."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:  # a terminal that was closed, or a `tee` that Ctrl-C ended too
        drop(stream)


def drop(stream: TextIO) -> None:
    """Have a stream write to nowhere from now on: its reader has gone, and Python would complain when it closes it."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
