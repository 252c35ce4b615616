"""Terminal output: lines, tables, the progress line and questions; no progress line without a terminal.

All other modules print by these functions (ruff's T201 refuses ``print``): here, and only here, text from a file, a
container or a server is escaped, so that it cannot move the cursor, change colours, reverse the direction of text,
begin a line of its own or fill the screen.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO, cast

from builder.progress import Silent
from builder.text import escape_line, escape_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from builder.progress import Progress

_LEAST_CELL, _LEFT_OUT, _WHOLE = 8, ("data", "image", "uploaded"), ("id", "reference")
_PLAIN_WIDTH = 100_000  # if no terminal limits it
_STYLES = {
    **dict.fromkeys(("ok", "validated"), "green"),
    **dict.fromkeys(("FAILED", "DANGER", "DIFFERS", "GONE", "MOVED", "NOT PINNED", "failed"), "bold red"),
    "FIX": "bold yellow",
}
"""Styles of table cells with exactly these texts, on terminals with colour."""
_moving: list[_TerminalProgress] = []
"""The progress lines that are shown: none or one."""


class _TerminalProgress:
    """One line on a terminal: the current step, its progress, and the seconds it has taken."""

    def __init__(self, stream: TextIO) -> None:
        from rich.live import Live  # noqa: PLC0415 - a person watches

        self._text, self._amount, self._since = "", "", time.monotonic()
        self._live = Live(
            console=_lasting_console(stream),
            get_renderable=self._line,
            transient=True,
            redirect_stdout=False,  # rich would send results to this console
            redirect_stderr=False,
        )

    def step(self, text: str, /) -> None:
        if not text:
            self._live.stop()  # draws the line once more before removing it
            return
        self._text, self._amount, self._since = text, "", time.monotonic()
        self._live.start()
        self._live.refresh()

    def report_bytes(self, done: int, total: int | None, /) -> None:
        from rich.filesize import decimal  # noqa: PLC0415 - a person watches

        self._amount = f"{decimal(done)} of {decimal(total)}" if total else decimal(done)

    def note(self, text: str, /) -> None:
        self._live.console.print(escape_lines(text), soft_wrap=True)

    def _line(self) -> Text:
        from rich.text import Text  # noqa: PLC0415 - a person watches

        parts = (self._text, self._amount, f"{time.monotonic() - self._since:.0f} s")
        return Text(escape_line("  ".join(part for part in parts if part)), no_wrap=True, overflow="ellipsis")


class _QuietProgress(Silent):
    """For logs: prints notes, but no steps."""

    def note(self, text: str, /) -> None:
        put(sys.stderr, f"{escape_lines(text)}\n")


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Yield the progress that stages report to; standard output is only for results."""
    if not sys.stderr.isatty() or os.environ.get("CI"):
        yield _QuietProgress()
        return
    shown, out = _TerminalProgress(sys.stderr), sys.stdout

    def write_result(text: str) -> None:
        _hide_progress()
        out.write(text)

    _moving.append(shown)
    try:
        with contextlib.redirect_stdout(cast("TextIO", _Stream(out, write_result))):
            yield shown
    finally:
        _moving.remove(shown)
        shown.step("")


class _Stream:
    """A stream with another ``write``."""

    def __init__(self, stream: TextIO, write: Callable[[str], object]) -> None:
        self._stream, self.write = stream, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def has_colour(stream: TextIO) -> bool:
    """Return whether colour may be written: only to a terminal, and not if NO_COLOR or CI is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and not os.environ.get("CI")


def _console(stream: TextIO, *, width: int | None = None) -> Console:
    """Return a console that interprets no markup in a text, with colour if the stream supports it."""
    from rich.console import Console  # noqa: PLC0415 - only tables and progress use it

    return Console(
        file=stream,
        force_terminal=stream.isatty(),
        color_system="auto" if has_colour(stream) else None,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _lasting_console(stream: TextIO) -> Console:
    """Return a console that discards output once its terminal is closed; rich would end the program."""
    return _console(cast("TextIO", _Stream(stream, lambda text: put(stream, text))))


def put_error(text: str) -> None:
    """Write an error for a person, which may have several lines."""
    text = escape_lines(text)
    with contextlib.suppress(ModuleNotFoundError):  # if rich is not installed: that is the error
        if sys.stderr.isatty():
            from rich.text import Text  # noqa: PLC0415 - see _console

            shown = Text(text)
            shown.highlight_regex("^error:", "bold red")
            _lasting_console(sys.stderr).print(shown, soft_wrap=True)
            return
    put(sys.stderr, f"{text}\n")


def print_lines(*lines: str) -> None:
    """Print each text on one line, escaped: a newline in it too."""
    for line in lines:
        print(escape_line(line))


def print_json(data: object) -> None:
    """Print data for programs, in ASCII on one line."""
    print(json.dumps(data))


def print_list(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with a head, cut to the terminal if it is one. Ids and references stay whole, to be copied."""
    from rich.table import Table  # noqa: PLC0415 - see _console
    from rich.text import Text  # noqa: PLC0415

    widths = {name: max(map(len, cells)) for name, *cells in zip(head, head, *rows, strict=True)}
    for name in _LEFT_OUT:  # the least important columns, if the others have no room
        if 2 + _least(widths) > _width():
            widths.pop(name, None)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name, size in widths.items():
        table.add_column(
            Text(name, no_wrap=True, overflow="ellipsis"),
            no_wrap=name in _WHOLE,
            min_width=min(size, _LEAST_CELL),
        )
    for row in rows:
        cells = [cell for name, cell in zip(head, row, strict=True) if name in widths]
        table.add_row(
            *(Text(escape_line(cell), _STYLES.get(cell, ""), no_wrap=True, overflow="ellipsis") for cell in cells)
        )
    _print(table, indent=2, least=_least(widths))


def _least(widths: dict[str, int]) -> int:
    """Return the width below which a list is not cut: the terminal wraps its lines instead."""
    return sum(2 + (size if name in _WHOLE else min(size, _LEAST_CELL)) for name, size in widths.items())


def print_table(rows: Sequence[Sequence[str]], *, indent: int = 2) -> None:
    """Print rows in columns; on a terminal, a long cell takes several lines of its column."""
    from rich.table import Table  # noqa: PLC0415 - see _console
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2, 0, 0))
    for number in range(len(rows[0])):
        table.add_column(no_wrap=not number, overflow="fold")
    for row in rows:
        table.add_row(*(Text(escape_line(cell), _STYLES.get(cell, "")) for cell in row))
    _print(table, indent=indent)


def fits(rows: Sequence[Sequence[str]], *, indent: int = 2) -> bool:
    """Return whether each row of a table fits on one line of the terminal."""
    return indent + sum(2 + max(map(len, cells)) for cells in zip(*rows, strict=True)) - 2 <= _width()


def _print(table: Table, *, indent: int, least: int = 0) -> None:
    console = _console(sys.stdout, width=max(_width() - indent, least))
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        print(f"{' ' * indent}{line}".rstrip())


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _PLAIN_WIDTH


def show(text: str) -> None:
    """Write lines for the person at the terminal, such as the facts before a question."""
    _prompt(f"{text}\n")


def ask(question: str) -> str:
    """Ask on standard error, as a program may read standard output; return "" at the end of the input (Ctrl-D)."""
    _prompt(f"{question} ")
    try:
        return input().strip()
    except EOFError:
        return ""


def ask_hidden(question: str) -> str:
    """Ask for a secret without echoing it; raises EOFError at the end of the input (Ctrl-D)."""
    import getpass  # noqa: PLC0415 - asked for seldom

    _prompt("")
    return getpass.getpass(f"{question} ", stream=sys.stderr)


def confirm(question: str) -> bool:
    """Ask a person at the terminal; Enter means yes, the end of the input (Ctrl-D) no."""
    _prompt(f"{question} [Y/n] ")
    try:
        return input().strip().lower() in {"", "y", "yes"}
    except EOFError:
        return False


def confirm_in_full(question: str) -> bool:
    """Ask about a change that cannot be undone: only the whole word means yes."""
    return ask(f"{question} [type yes]").lower() == "yes"


def is_interactive() -> bool:
    """Return whether a person can answer at a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _prompt(text: str) -> None:
    """Write a question; the progress line is hidden before, so that it cannot overwrite the question."""
    _hide_progress()
    put(sys.stderr, escape_lines(text))


def _hide_progress() -> None:
    for line in _moving:
        line.step("")


def put(stream: TextIO, text: str) -> None:
    """Write for a person; if the terminal is gone, discard the text, so that the command can finish its work."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:  # a terminal that was closed, or a `tee` that Ctrl-C ended too
        drop(stream)


def drop(stream: TextIO) -> None:
    """Discard all further output to a stream whose reader is gone: Python would report an error when closing it."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
