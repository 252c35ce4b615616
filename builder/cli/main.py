"""Runs a command: the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import signal
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import builder
from builder import errors
from builder import interrupts as interrupting
from builder.cli import requirements, terminal
from builder.text import escape_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_REMINDER_SECONDS = 3.0
INTERRUPTED, BUG = 130, 70
PIPE_CLOSED = 141  # as of any program that is cut short in its output; 0 would say that all held
# What a disk or its permissions refuse, anywhere (the cache folder, the temporary one): not an internal error.
_MACHINES_OWN = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG),
    *(errno.EIO, errno.ESTALE, errno.ENOLCK, errno.ELOOP, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
)


def run() -> NoReturn:
    """Run the command line and end the process."""
    _reopen_closed_streams()
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if "pyarrow" in sys.modules:
        # Its threads abort now and then while the interpreter ends (seen in 2 of 25 runs): leave without them.
        os._exit(code)
    sys.exit(code)


def _reopen_closed_streams() -> None:
    """Put an empty stream where one was closed (``<&-``): Python has none there, and a file would take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    interrupts = _listen()
    given = sys.argv[1:] if arguments is None else arguments
    json_wanted = "--json" in itertools.takewhile(lambda part: part != "--", given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file need not be text
    try:
        return _run(given)
    except BrokenPipeError:
        terminal.drop(sys.stdout)
        return PIPE_CLOSED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where an error becomes a message
        failure = _describe(error, interrupted=bool(interrupts))
    _say(failure.text)
    if json_wanted:
        message, fix = (_hide(text) for text in (failure.text.removeprefix("error: "), failure.fix))
        report = {"format": 1, "error": {"code": failure.code, "message": message, "fix": fix}}
        terminal.put(sys.stdout, f"{json.dumps(report)}\n")
    return failure.code


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """How a command failed.

    Attributes:
        code: The exit code.
        text: What is printed for a person.
        fix: What to do next; empty if the text does not say.
    """

    code: int
    text: str
    fix: str = ""


def _run(arguments: Sequence[str]) -> int:
    try:
        from builder.cli import parser  # noqa: PLC0415 - reports an error if typer is not installed

        return parser.run(arguments)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            terminal.drop(sys.stdout)  # all is done and said: the exit code stands


def _listen() -> list[int]:
    """Have Ctrl-C, SIGTERM and a closed terminal end the work; return where they are noted.

    An exception that comes while Python ends some object is lost, so it is raised again until it was heard.
    """
    interrupts: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.setitimer(signal.ITIMER_REAL, _REMINDER_SECONDS)
        raise KeyboardInterrupt

    for number in interrupting.SIGNALS:
        if (
            signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP
        ):  # nohup continues without a terminal
            signal.signal(number, interrupt)
    return interrupts


def _describe(error: BaseException, *, interrupted: bool) -> _Failure:
    if isinstance(error, KeyboardInterrupt) or (interrupted and isinstance(error, errors.BuilderError)):
        return _describe_interrupt(error)
    if isinstance(error, OSError) and error.errno in _MACHINES_OWN:
        error = errors.UsageError(_refused(error))
    if isinstance(error, FileNotFoundError) and error.filename is None:  # as os.getcwd() raises it
        error = errors.UsageError("the current folder no longer exists; change to another, then run this again")
    if isinstance(error, ModuleNotFoundError) and error.name in requirements.ALL:
        error = requirements.not_installed([error.name])
    if isinstance(error, errors.BuilderError):
        return _Failure(code=error.exit_code, text=f"error: {error}", fix=error.fix)
    return _report_bug(error)


def _describe_interrupt(error: BaseException) -> _Failure:
    """Say that it was interrupted, and what that left to say: what could not be put back, or what was."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    # An interrupted call to the engine may end as an error of it.
    is_told = isinstance(error, errors.BuilderError) and not isinstance(error, errors.EngineError)
    lines = [*([f"error: {error}"] if is_told else []), "interrupted", *_notes(error)]
    text = "\n".join(lines)
    return _Failure(code=INTERRUPTED, text=text, fix=errors.find_fix(text))


def _notes(error: BaseException) -> list[str]:
    """Return the notes of an error and, before them, of what it came after: each interrupt is an error of its own."""
    before = error.__cause__ or error.__context__
    notes = [*(_notes(before) if before else ()), *getattr(error, "__notes__", ())]
    return list(dict.fromkeys(notes))


def _say(text: str) -> None:
    terminal.put_error(escape_lines(_hide(text)))


def _hide(text: str) -> str:
    """Take out the secrets that were read, where any were."""
    settings = sys.modules.get("builder.tournament.settings")
    return str(settings.hide_secrets(text)) if settings else text


def _refused(error: OSError) -> str:
    # What fails while it is written has no name: it may be a file of any folder, or the output itself.
    where = (
        error.filename or f"what was being written (the output, or a file of {Path.cwd()}, of {tempfile.gettempdir()})"
    )
    return f"{where}: {error.strerror}; free some space or fix the permissions, then run it again"


def _report_bug(error: BaseException) -> _Failure:
    details = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="numerai-builder-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"numerai-builder {builder.__version__}, Python {sys.version}\n\n{_hide(details)}")
    last = (details.strip().splitlines() or [""])[-1]
    text = f"error: this is a bug of numerai-builder ({last:.200}); the details are in {file.name}: please report it"
    return _Failure(code=BUG, text=text, fix=f"report it, with {file.name}")
