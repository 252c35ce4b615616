"""Read the log of the runner: ``LEVEL:logger:text`` and tracebacks.

The reason for a refusal is above a box of help, which is between two lines of 80 dashes. Logs are untrusted: they
explain a failure, but never decide whether there was one.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.text import replace_unprintable, sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_HELP_LINES = 20  # the box has about ten
_MAX_TRACEBACK_LINES = 60
_BOX_LINE = re.compile(r"(?:[A-Z]+:root:)?-{80}")
RECORD = re.compile(r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):[^:\s]+:")
_ERROR_RECORD = re.compile(r"(?:ERROR|CRITICAL):root:(.*)")
_TRACEBACK = re.compile(r"\s*(?:\+ Exception Group )?Traceback \(most recent call last\):\s*")
_DURING_HANDLING, _DIRECT_CAUSE = "During handling of the above exception", "The above exception was the direct cause"
_PANDAS_RETRY = "pandas/compat/pickle_compat.py"
_FRAME = re.compile(r'\s*File "([^"]*)", line \d+')
_EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*")
_LETTER = re.compile(r"[^\W_]")
_STARTED = re.compile(r"INFO:root:Running numerai-predict\b")


@dataclass(frozen=True, kw_only=True)
class Log:
    """A parsed log, without the runner's boxes of help.

    Attributes:
        reasons: The errors in it, the last one last.
        last: Its last line, or nothing.
        refused: Whether there is a box of help, which means that the runner ended the run by itself.
        started: Whether the runner has accepted its options and logged that it runs.
        files: The source files in the last traceback.
    """

    reasons: tuple[str, ...]
    last: tuple[str, ...]
    refused: bool
    started: bool
    files: tuple[str, ...]


def parse(lines: Sequence[str]) -> Log:
    """Parse a log. Its reasons are the errors of the root logger and the last lines of tracebacks.

    If there are none, they are the lines that look like an exception.
    """
    help_lines = find_help_lines(lines)
    other_lines = [line for index, line in enumerate(lines) if index not in help_lines]
    reasons, similar, files = list[str](), list[str](), list[str]()
    in_traceback = chained = False  # the lines of a traceback are indented, except the last one
    for line in other_lines:
        if _TRACEBACK.fullmatch(line):
            in_traceback, files = True, []
            continue
        if line.startswith(_DURING_HANDLING):
            chained = True
            continue
        if in_traceback and (not line or line[0].isspace()):
            files += _FRAME.findall(line)
            continue
        if record := _ERROR_RECORD.match(line):
            reasons.append(sanitize(record[1]))
        elif in_traceback and not RECORD.match(line):
            # When loading fails, pandas.read_pickle retries with its own unpickler, whose exception hides the cause.
            if not (chained and any(file.endswith(_PANDAS_RETRY) for file in files)):
                reasons.append(sanitize(line))
        elif _EXCEPTION.match(line):
            similar.append(sanitize(line))
        if line.strip():
            in_traceback = chained = False
    plain = [sanitize(line) for line in other_lines if _LETTER.search(line)]
    return Log(
        reasons=tuple(filter(None, reasons or similar)),
        last=tuple(plain[-1:]),
        refused=bool(help_lines),
        started=any(map(_STARTED.match, other_lines)),
        files=tuple(files),
    )


def find_last_message(log: str) -> str:
    """Return the last error in a log, or its last line if there is no error; empty for an empty log."""
    parsed = parse(log.splitlines())
    return "".join((parsed.reasons or parsed.last)[-1:])


def find_help_lines(lines: Sequence[str]) -> set[int]:
    """Return the indices of the lines that belong to the runner's boxes of help.

    Lines between two rules that contain an error are not a box of help.
    """
    rules = [index for index, line in enumerate(lines) if _BOX_LINE.fullmatch(line.rstrip())]
    indices: set[int] = set()
    for first, last in itertools.pairwise(rules):
        inner = lines[first + 1 : last]
        if first in indices or not 0 < len(inner) <= _MAX_HELP_LINES:
            continue
        if not any(_ERROR_RECORD.match(line) or _TRACEBACK.fullmatch(line) for line in inner):
            indices.update(range(first, last + 1))
    return indices


def format_excerpt(log: Iterable[str], max_lines: int) -> list[str]:
    """Return the end of a log as printable lines: without the box of help, and with the whole last traceback.

    Args:
        log: Messages of one or more lines.
        max_lines: The maximum number of lines, except for the traceback.
    """
    lines = split_lines(log)
    help_lines = find_help_lines(lines)
    shown = [replace_unprintable(line) for index, line in enumerate(lines) if index not in help_lines and line.strip()]
    first = max(0, len(shown) - max_lines)
    tracebacks = [index for index, line in enumerate(shown) if _TRACEBACK.fullmatch(line)]
    while len(tracebacks) > 1 and shown[tracebacks[-1] - 1].startswith((_DURING_HANDLING, _DIRECT_CAUSE)):
        tracebacks.pop()
    if tracebacks and len(shown) - tracebacks[-1] < _MAX_TRACEBACK_LINES:
        first = min(first, max(0, tracebacks[-1] - 1))  # with the line above it, which may be the logged error
    return shown[first:]


def split_lines(messages: Iterable[str]) -> list[str]:
    """Return the lines of messages of one or more lines."""
    return [line for message in messages for line in message.splitlines()]
