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
from builder import errors, secret_scan
from builder import interrupts as interrupting
from builder.cli import requirements, terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_REMINDER_SECONDS = 3.0
INTERRUPTED, INTERNAL_ERROR = 130, 70
PIPE_CLOSED = 141  # 128 + SIGPIPE, as a shell reports it; 0 would mean success
# Errors of the disk or its permissions in any folder (the cache, the temporary folder): not internal errors.
_ENVIRONMENT_ERRORS = (
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
    """Put an empty stream where one was closed (``<&-``): else the next opened file gets its descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    interrupts = _listen()
    arguments = sys.argv[1:] if arguments is None else arguments
    json_wanted = "--json" in itertools.takewhile(lambda part: part != "--", arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may not be valid UTF-8
    try:
        return _run(arguments)
    except BrokenPipeError:
        terminal.drop(sys.stdout)
        return PIPE_CLOSED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where an error becomes a message
        failure = _describe(error, interrupted=bool(interrupts))
    _print_error(failure.text)
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
        text: The message for a person.
        fix: What to do next; empty if the text does not say it.
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
            terminal.drop(sys.stdout)  # the command is complete: keep its exit code


def _listen() -> list[int]:
    """Raise KeyboardInterrupt on Ctrl-C, SIGTERM and a closed terminal; return the list that receives the signals.

    Python discards an exception that is raised in a finalizer, so a timer raises it again until it arrives.
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
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT_ERRORS:
        error = errors.UsageError(_describe_os_error(error))
    if isinstance(error, FileNotFoundError) and error.filename is None:  # as os.getcwd() raises it
        error = errors.UsageError("the current folder no longer exists; change to another, then run this again")
    if isinstance(error, ModuleNotFoundError) and error.name in requirements.ALL:
        error = requirements.create_error([error.name])
    if isinstance(error, errors.BuilderError):
        return _Failure(code=error.exit_code, text=f"error: {error}", fix=error.fix)
    return _report_internal_error(error)


def _describe_interrupt(error: BaseException) -> _Failure:
    """Return the message for an interrupt, with the notes about what was or could not be restored."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    # An interrupted call to the engine may end as an engine error, which is a consequence, not a cause.
    has_cause = isinstance(error, errors.BuilderError) and not isinstance(error, errors.EngineError)
    lines = [*([f"error: {error}"] if has_cause else []), "interrupted", *_notes(error)]
    text = "\n".join(lines)
    return _Failure(code=INTERRUPTED, text=text, fix=errors.find_fix(text))


def _notes(error: BaseException) -> list[str]:
    """Return the notes of an error, after those of its causes: a second interrupt hides the first and its notes."""
    before = error.__cause__ or error.__context__
    notes = [*(_notes(before) if before else ()), *getattr(error, "__notes__", ())]
    return list(dict.fromkeys(notes))


def _print_error(text: str) -> None:
    terminal.put_error(_hide(text))


def _hide(text: str) -> str:
    """Remove the secrets from a text, if any were read."""
    settings = sys.modules.get("builder.tournament.settings")
    return str(settings.hide_secrets(text)) if settings else text


def _describe_os_error(error: OSError) -> str:
    # An error of write() has no file name: the file may be in any folder, or be the output itself.
    path = error.filename or f"cannot write the output, or a file in {Path.cwd()} or {tempfile.gettempdir()}"
    return f"{path}: {error.strerror}; free some space or fix the permissions, then run it again"


def _report_internal_error(error: BaseException) -> _Failure:
    details = secret_scan.hide(_hide("".join(traceback.format_exception(error))), os.environ)
    with tempfile.NamedTemporaryFile(
        "w", prefix="numerai-builder-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"numerai-builder {builder.__version__}, Python {sys.version}\n\n{details}")
    last = (details.strip().splitlines() or [""])[-1]
    text = f"error: internal error ({last:.200}); report it with the details in {file.name}"
    return _Failure(code=INTERNAL_ERROR, text=text, fix=f"report it with the details in {file.name}")
