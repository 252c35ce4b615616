"""Runs a verb: the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import builder
from builder import errors
from builder import interrupts as interrupting
from builder.cli import parser, requirements, terminal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from types import FrameType

_REMINDER_SECONDS = 3.0
INTERRUPTED, BUG = 130, 70
PIPE_CLOSED = 141  # as of any program that is cut short in its output; 0 would say that all held
# What a disk or its permissions refuse, anywhere (the cache folder, the temporary one): no bug of ours.
_MACHINES_OWN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG)


def run() -> NoReturn:
    """Run the command line and end the process."""
    _open_what_is_closed()
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if "pyarrow" in sys.modules:
        # Its threads abort now and then while the interpreter ends (seen in 2 of 25 runs): leave without them.
        os._exit(code)
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Put an empty stream where one was closed (``<&-``): Python has none there, and a file would take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return its exit code."""
    interrupts = _listen()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file need not be text
    try:
        return _run(arguments)
    except errors.BuilderError as error:
        return _end_interrupted(error) if interrupts else _end_failed(error)
    except KeyboardInterrupt as error:
        return _end_interrupted(error)
    except BrokenPipeError:
        terminal.drop(sys.stdout)
        return PIPE_CLOSED
    except OSError as error:
        return _report_refusal(error) if error.errno in _MACHINES_OWN else _report_bug()
    except Exception:  # noqa: BLE001 - a bug of ours: kept for the report, not shown
        return _report_bug()


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = parser.build().parse_args(arguments)
        with requirements.checked(options.needs):
            return _verb(options.verb)(options)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            terminal.drop(sys.stdout)  # all is done and said: the exit code stands


def _verb(name: str) -> Callable[[argparse.Namespace], int]:
    """Import the verb's module: each command pays for its own imports alone."""
    module, _, function = name.partition(".")
    found: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f"builder.cli.{module}"), function)
    return found


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
        ):  # nohup goes on without a terminal
            signal.signal(number, interrupt)
    return interrupts


def _end_failed(error: errors.BuilderError) -> int:
    _say(f"error: {error}")
    return error.exit_code


def _end_interrupted(error: BaseException) -> int:
    """Say that it was interrupted, and what that left to say: what could not be put back, or what was."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    # An interrupted call to the engine may end as an error of it.
    if isinstance(error, errors.BuilderError) and not isinstance(error, errors.EngineError):
        _say(f"error: {error}")
    for note in getattr(error, "__notes__", ()):
        _say(note)
    _say("interrupted")
    return INTERRUPTED


def _say(text: str) -> None:
    terminal.put(sys.stderr, f"{_hide(text)}\n")


def _hide(text: str) -> str:
    """Take out the secrets that were read, where any were."""
    settings = sys.modules.get("builder.settings")
    return str(settings.hide(text)) if settings else text


def _report_refusal(error: OSError) -> int:
    # What fails while it is written has no name: it may be a file of any folder, or the output itself.
    where = (
        error.filename or f"what was being written (the output, or a file of {Path.cwd()}, of {tempfile.gettempdir()})"
    )
    _say(f"error: {where}: {error.strerror}; free some space or mend the permissions, then run it again")
    return errors.UsageError.exit_code


def _report_bug() -> int:
    with tempfile.NamedTemporaryFile(
        "w", prefix="numerai-builder-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"numerai-builder {builder.__version__}, Python {sys.version}\n\n{_hide(traceback.format_exc())}")
    last = (traceback.format_exc().strip().splitlines() or [""])[-1]
    _say(f"error: this is a bug of numerai-builder ({last:.200}); the details are in {file.name}: please report it")
    return BUG
