"""Why a run failed: one cause and one fix, from how it ended, what it logged and what the API says of it.

There is one table of causes (``_CAUSES``), for a run on this machine and for one at the tournament. A run's log is read
as the runner writes it: ``LEVEL:logger:text`` and tracebacks, the reason for a refusal above a box of help between two
lines of 80 dashes. Logs and descriptions are untrusted: they explain, and decide nothing.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder import commands, tournament
from builder.text import replace_unprintable, sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

ABORT_CODES = (-6, 134)
# Segmentation fault, illegal instruction, bus error: as wait4 and as a shell report them.
_SEGFAULT_CODES = (-11, 139, -4, 132, -7, 135)
_USAGE_CODE = 2
_MOST_HELP_LINES = 20  # the box has about ten
_MOST_SHOWN_LINES = 60

_RULE = re.compile(r"(?:[A-Z]+:root:)?-{80}")
_RECORD = re.compile(r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):[^:\s]+:")
_ERROR_RECORD = re.compile(r"(?:ERROR|CRITICAL):root:(.*)")
_TRACEBACK = re.compile(r"\s*(?:\+ Exception Group )?Traceback \(most recent call last\):\s*")
_CHAINED, _CAUSED = "During handling of the above exception", "The above exception was the direct cause"
_SECOND_TRY = "pandas/compat/pickle_compat.py"
_FRAME = re.compile(r'\s*File "([^"]*)", line \d+')
_EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*")
_LETTER = re.compile(r"[^\W_]")
_STARTED = re.compile(r"INFO:root:Running numerai-predict\b")

_BUILD = "build it in the image that runs it: `make pickle CONFIG=...`"
_BUILD_AGAIN = "build it again: `make pickle CONFIG=...`"
_FROM_BUNDLE = "build it from a bundle with `make pickle CONFIG=...`"
_RETURN = (
    "return a DataFrame with one column `prediction` on the index of live_features, then run `make pickle CONFIG=...`"
)
FIX_MODEL = (
    "fix the model or function where it was made, export it, then run `make pickle CONFIG=...` and "
    "`make validate CONFIG=...`"
)
_SMALLER, _FASTER = "make the model smaller", "make the model smaller or faster"
_MEASURED = "`make validate CONFIG=...` measures it under the same limit"
_BY_VALUE = "a pickle must hold all its code by value"
_NO_CSV = "the entry point ended with exit 0 and wrote no CSV"
_ENDED_ITSELF = "the function ended the process itself, as `sys.exit` does"
_RETURN_INSTEAD = "return the predictions instead, then run `make pickle CONFIG=...`"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why a run failed, and what to do about it.

    Attributes:
        text: Why.
        fix: What to do; empty if only the cause is known.
        by_making: It lies in how the pickle was built: a good run in the same image rules it out.
    """

    text: str
    fix: str = ""
    by_making: bool = False

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}" if self.fix else self.text

    def with_config(self, config: Path | None) -> Cause:
        """Return it with commands that name a config, or the ``dist/NAME`` of one; None: which one is not known."""
        return replace(self, fix=commands.fill_in_config(self.fix, config))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run of the entry point ended.

    Attributes:
        code: Exit status, or minus the signal's number; None if nothing is known.
        timed_out: It was killed for its time.
        out_of_memory: The kernel killed something in the container for its memory.
        log: The end of what it printed.
        aborted_twice: It aborted twice in a row, each time after it had written the whole CSV.
    """

    code: int | None
    timed_out: bool
    out_of_memory: bool
    log: str
    aborted_twice: bool = False


@dataclass(frozen=True, kw_only=True)
class Where:
    """The limits of a run, the Python it ran on, and the one the pickle was built on (None: not known)."""

    seconds: float
    memory: int
    python: str
    built_on: str | None


@dataclass(frozen=True, kw_only=True)
class _Log:
    """What a log says, without the runner's boxes of help.

    Attributes:
        reasons: The errors that it names, the newest last.
        last: Its last line.
        refused: There is a box of help: the runner ended it by itself.
        started: The runner says that it runs: it took the options.
        files: The source files of the last traceback.
    """

    reasons: tuple[str, ...]
    last: tuple[str, ...]
    refused: bool
    started: bool
    files: tuple[str, ...]


_OTHER_PYTHON = Cause(
    text="the pickle was made with another Python or numpy than the image's", fix=_BUILD, by_making=True
)
_OUT_OF_MEMORY = Cause(text="it ran out of memory", fix=f"{_SMALLER}; {_MEASURED}")
_NO_COLUMNS = Cause(text="the function returned a DataFrame without columns", fix=_RETURN)
_OUT_OF_BOUNDS = "IndexError: single positional indexer is out-of-bounds"
"""What the runner dies of when it looks at the first column of such a frame."""
_OTHER_SYSTEM_ERROR = re.compile(r"\bSystemError: (?!unknown opcode)")
"""An error inside the interpreter, as code for another Python causes it; so may a broken library."""
_NOT_LOADED = re.compile(r"Pickle incompatible with |[Pp]ickle could not be loaded in Python ")
"""What the runner says of any TypeError (since 2026-07, any ValueError too) that loading the pickle raises."""
_CODE = r"(?:exit|code|status)[^0-9\n]{0,20}"
"""What comes before an exit code, however it is worded: ``exit status 137``, ``Exited (137)``, ``code=137``."""
_ABORT = re.compile(rf"terminate called|(?i:{_CODE}134\b|\babort(?:ed)?\b|\bSIGABRT\b)")
_CANNOT_WRITE = re.compile(r"\b(?:OSError|PermissionError)\b|\[Errno \d+\]")

# What a reason means: the first that fits. What groups match is put into the text.
_CAUSES = (
    (
        (
            r"\bSystemError: |unknown opcode|bad marshal data|unsupported pickle protocol"
            r"|\bcode(?:\(\) (?:takes|argument)| expected at)|numpy\.(?:dtype|ndarray) size changed"
            r"|No module named 'numpy\._core|is not a known BitGenerator"
        ),
        _OTHER_PYTHON,
    ),
    (
        r"No module named '([^']+)'",
        Cause(
            text=f"the pickle needs the module {{0!r}}, which is not in the image: {_BY_VALUE}",
            fix=_FROM_BUNDLE,
            by_making=True,
        ),
    ),
    (
        r"Can't get attribute '([^']+)' on <module '([^']+)'",
        Cause(
            text=f"the pickle needs {{0!r}} of the module {{1!r}}, which has none in the image: {_BY_VALUE}",
            fix=_FROM_BUNDLE,
            by_making=True,
        ),
    ),
    (
        r"(?i)^(?:invalid pickle|pickle function)\b.*(?:\b1 or 2\b|\b(?:has|have|with) \d+ (?:parameter|argument)s?\b)",
        Cause(
            text="the function has neither 1 nor 2 parameters",
            fix="give it one (live features) or two (and benchmark models), then run `make pickle CONFIG=...`",
        ),
    ),
    (
        r"Ran out of input|pickle data was truncated|pickle exhausted before",
        Cause(text="the pickle is empty or cut short", fix=_BUILD_AGAIN, by_making=True),
    ),
    (
        r"(?:^Invalid pickle - |\bUnpicklingError: )(.*)",
        Cause(text="it is not a valid pickle: {0}", fix=_BUILD_AGAIN, by_making=True),
    ),
    (r"^Pickle function\b.*\breturned None\b", Cause(text="the function returned None", fix=_RETURN)),
    (
        r"^Pickle function\b.*\breturned\b.*?<class '([^']+)'>",
        Cause(text="the function returned {0}, not exactly a pandas DataFrame", fix=_RETURN),
    ),
    (
        r"(?i)^pickle function\b.*\breturned\b.*(?:\b0 predictions|\bno predictions|\bno rows|\bempty\b)",
        Cause(text="the function returned no rows", fix=_RETURN),
    ),
    (
        r"(?i)^pickle function\b.*\breturned\b.*\bNaN\b",
        Cause(
            text="the function returned NaN in its predictions",
            fix="fill what is missing before or after the model predicts, then run `make pickle CONFIG=...`",
        ),
    ),
    (
        r"(?i)^pickle function\b.*\breturned\b.*(?:between 0|\[0, ?1\]|\brange\b|outside)",
        Cause(
            text="the function returned predictions outside 0 to 1",
            fix="end the model's `post` with a rank, then run `make pickle CONFIG=...`",
        ),
    ),
    (
        r"^Local dataset not found",
        Cause(text="the live data that the run was given is missing", fix="run it again with data that exists"),
    ),
    (
        (
            r"(?i)name resolution|failed to resolve|max retries exceeded|network is unreachable"
            r"|\b(?:Timeout|Connection|Connect|URL|ConnectTimeout)Error\b|\b(?:Read|Connect)Timeout\b"
        ),
        Cause(
            text="the function uses the network, which the tournament's container does not have",
            fix="put what it downloads into the pickle, then run `make pickle CONFIG=...`",
        ),
    ),
    (r"(?i)out of memory|\bMemoryError\b|unable to allocate|\bbad_alloc\b", _OUT_OF_MEMORY),
)
# How the tournament, or a last line that is not an error of Python's, says that a run ended. The first is documented.
_ENDS = (
    (
        rf"(?i)segmentation fault|library versions match|\bSIGSEGV\b|\bsignal 11\b|{_CODE}(?:139|132|135)\b",
        Cause(
            text="the interpreter died: the pickle was made with another Python or numpy than the image's",
            fix=_BUILD,
            by_making=True,
        ),
    ),
    (rf"(?i)oom[- ]?killed|\bSIGKILL\b|\bsignal 9\b|{_CODE}137\b|^killed$", _OUT_OF_MEMORY),
    (
        r"(?i)timed? ?out\b|out of time|time limit|deadline exceeded",
        Cause(text="it ran over its time", fix=f"{_FASTER}; {_MEASURED}"),
    ),
    (
        r"(?i)model file could not be found|no such key",
        Cause(text="its bytes were never stored", fix="upload it again: `make upload CONFIG=...`"),
    ),
)


# What names no cause by itself: an error in the log says more.
_VAGUE = (
    (
        r"(?i)invalid submission|submission (?:is|was) invalid",
        Cause(
            text="its predictions were refused: expected are the round's ids and one column in [0, 1] without NaN",
            fix="`make validate CONFIG=...` shows which of them fails",
        ),
    ),
)


def explain(ended: Ended, where: Where) -> str:
    """Return the cause and what to do about it."""
    return str(find_cause(ended, where))


def find_cause(ended: Ended, where: Where) -> Cause:
    """Return why a run that was watched here ended as it did."""
    log = _read(ended.log.splitlines())
    return _limit(ended, where) or _death(ended, where, log) or _error(ended, where, log)


def explain_no_csv(log: str) -> Cause:
    """Return why a run that ended with exit 0 left no CSV; one that cannot be written is only logged."""
    reasons = _read(log.splitlines()).reasons
    if not reasons:
        return Cause(
            text=f"{_NO_CSV}: {_ENDED_ITSELF}",
            fix=_RETURN_INSTEAD,
        )
    fix = "`make doctor` looks at the disk; then run it again" if _CANNOT_WRITE.search(reasons[-1]) else FIX_MODEL
    return Cause(text=f"{_NO_CSV}: {reasons[-1]}", fix=fix)


def explain_remote(status: str, descriptions: Sequence[str], log: Sequence[str]) -> Cause:
    """Return why a run of the tournament failed, from its own words.

    Args:
        status: The run's status; ``error`` is a fault of theirs, ``failed`` one of the model.
        descriptions: What its steps say.
        log: What it printed, as messages of one or more lines.
    """
    printed, said = _read(_split(log)), _read(_split(descriptions))
    reasons = said.reasons or said.last
    end = tuple(line for line in printed.last if not printed.reasons and not _RECORD.match(line))
    known = (
        _classify(reasons, said.files)
        or _look_up(_ENDS, reasons)
        or _classify(printed.reasons, printed.files)
        or _look_up(_CAUSES, end)
        or _look_up(_ENDS, end)
        or (None if printed.reasons else _look_up(_VAGUE, reasons) or _look_up(_VAGUE, end))
    )
    if known is not None:
        return known
    if not printed.reasons and _ABORT.search(" ".join((*reasons, *end))):
        return Cause(
            text="the interpreter aborted (exit 134), as a thread of pyarrow makes it do now and then while it ends",
            fix="trigger it again; two in a row are a fault of the model or its libraries",
        )
    message = (printed.reasons or reasons or end)[-1:]
    text = f"the tournament says: {message[0]}" if message else "the tournament gives no reason"
    if printed.last and not message:
        text += f", and the log ends without an error: {printed.last[0]}"
    if tournament.is_server_error(status):
        return Cause(text=f"{text} (status error: a fault on their side)", fix="trigger it again later")
    return Cause(text=text)


def find_last_message(log: str) -> str:
    """Return the last error that a log names, else its last line; nothing for an empty one."""
    read = _read(log.splitlines())
    return "".join((read.reasons or read.last)[-1:])


def find_help_lines(lines: Sequence[str]) -> set[int]:
    """Return the indices of the lines of the runner's boxes of help; what names an error is not taken for one."""
    rules = [index for index, line in enumerate(lines) if _RULE.fullmatch(line.rstrip())]
    found: set[int] = set()
    for first, last in itertools.pairwise(rules):
        inner = lines[first + 1 : last]
        if first in found or not 0 < len(inner) <= _MOST_HELP_LINES:
            continue
        if not any(_ERROR_RECORD.match(line) or _TRACEBACK.fullmatch(line) for line in inner):
            found.update(range(first, last + 1))
    return found


def format_excerpt(log: Iterable[str], most: int) -> list[str]:
    """Return the end of a log as lines to print: without the box of help, and with the last traceback whole.

    Args:
        log: Messages of one or more lines.
        most: Lines, unless the traceback needs more.
    """
    lines = _split(log)
    left_out = find_help_lines(lines)
    kept = [replace_unprintable(line) for index, line in enumerate(lines) if index not in left_out and line.strip()]
    first = max(0, len(kept) - most)
    tracebacks = [index for index, line in enumerate(kept) if _TRACEBACK.fullmatch(line)]
    while len(tracebacks) > 1 and kept[tracebacks[-1] - 1].startswith((_CHAINED, _CAUSED)):
        tracebacks.pop()
    if tracebacks and len(kept) - tracebacks[-1] < _MOST_SHOWN_LINES:
        first = min(first, max(0, tracebacks[-1] - 1))  # the line above it says what it is about
    return kept[first:]


def _split(messages: Iterable[str]) -> list[str]:
    return [line for message in messages for line in message.splitlines()]


def _read(lines: Sequence[str]) -> _Log:
    """Read a log: errors of the root logger and what tracebacks end in; without any, lines that look like an error."""
    left_out = find_help_lines(lines)
    kept = [line for index, line in enumerate(lines) if index not in left_out]
    reasons, similar, files = list[str](), list[str](), list[str]()
    inside = chained = False  # in a traceback, whose lines are indented but for the last
    for line in kept:
        if _TRACEBACK.fullmatch(line):
            inside, files = True, []
            continue
        if line.startswith(_CHAINED):
            chained = True
            continue
        if inside and (not line or line[0].isspace()):
            files += _FRAME.findall(line)
            continue
        if record := _ERROR_RECORD.match(line):
            reasons.append(sanitize(record[1]))
        elif inside and not _RECORD.match(line):
            # pandas tries once more, in its own way, what it cannot load: what that ends in hides the first exception.
            if not (chained and any(file.endswith(_SECOND_TRY) for file in files)):
                reasons.append(sanitize(line))
        elif _EXCEPTION.match(line):
            similar.append(sanitize(line))
        if line.strip():
            inside = chained = False
    plain = [sanitize(line) for line in kept if _LETTER.search(line)]
    return _Log(
        reasons=tuple(filter(None, reasons or similar)),
        last=tuple(plain[-1:]),
        refused=bool(left_out),
        started=any(map(_STARTED.match, kept)),
        files=tuple(files),
    )


def _look_up(table: Iterable[tuple[str, Cause]], reasons: Sequence[str]) -> Cause | None:
    """Return what the last reason means."""
    for pattern, cause in table if reasons else ():
        found = re.search(pattern, reasons[-1])
        if found and found.groups():
            return Cause(text=cause.text.format(*found.groups()), fix=cause.fix, by_making=cause.by_making)
        if found:
            return cause
    return None


def _classify(reasons: Sequence[str], files: Sequence[str]) -> Cause | None:
    """Return what the reasons of one log mean; None if that is not known."""
    last = reasons[-3:]  # a refusal, and with --debug an exception and its text, in either order
    if any(map(_NOT_LOADED.search, last)):
        own = [reason for reason in last if not _NOT_LOADED.search(reason)]
        if not own:
            return _OTHER_PYTHON
        return _look_up(_CAUSES, own) or Cause(
            text=f"the pickle cannot be loaded: {own[-1]}", fix=_BUILD, by_making=True
        )
    if list(reasons[-1:]) == [_OUT_OF_BOUNDS] and all(map(_is_of_runner, files)):
        return _NO_COLUMNS
    return _look_up(_CAUSES, reasons)


def _is_of_runner(file: str) -> bool:
    return file.endswith("/predict.py") or "/pandas/" in file


def _limit(ended: Ended, where: Where) -> Cause | None:
    if ended.timed_out:
        return Cause(
            text=f"it ran over the limit of {where.seconds:g} seconds", fix=f"the tournament would fail it: {_FASTER}"
        )
    if ended.out_of_memory or ended.code in (-9, 137):
        return _memory(where, "exit 137")
    return None


def _memory(where: Where, how: str) -> Cause:
    return Cause(
        text=f"it ran out of memory at {where.memory / 2**30:.2g} GiB ({how})",
        fix=f"the tournament would fail it: {_SMALLER}",
    )


def _death(ended: Ended, where: Where, log: _Log) -> Cause | None:
    """Return why the interpreter itself died; None if it did not, or if the log names what went before."""
    if ended.code in _SEGFAULT_CODES and not log.refused:
        died = "the interpreter died (segmentation fault, exit 139)"
        if where.built_on is None or _is_elsewhere(where):
            return _other_python(where, died)
        return Cause(
            text=f"{died} in the same Python that the pickle was built in",
            fix="look at the model's own libraries and its size",
        )
    if ended.code in ABORT_CODES and not log.reasons:
        last = f": {log.last[0]}" if log.last else ""
        when = "twice in a row, each time after its CSV was written" if ended.aborted_twice else "without a whole CSV"
        return Cause(
            text=f"the interpreter aborted (exit 134) {when}{last}",
            fix="look for a library of the model that leaves threads running or aborts; run "
            "`make validate CONFIG=...` again",
        )
    return None


def _error(ended: Ended, where: Where, log: _Log) -> Cause:
    """Return what the log names as the error."""
    message = (log.reasons or log.last)[-1:]
    what = f"exit {ended.code}: {message[0] if message else 'it printed nothing'}"
    cause = _classify(log.reasons, log.files)
    if cause == _OTHER_PYTHON and (
        where.built_on is None or _is_elsewhere(where) or not _OTHER_SYSTEM_ERROR.search(what)
    ):
        return _other_python(where, what)
    if cause == _OTHER_PYTHON:
        cause = None
    if cause == _OUT_OF_MEMORY:
        return _memory(where, what)
    if cause is not None:
        return cause
    if ended.code == _USAGE_CODE and not log.reasons and not log.started:
        fix = "its entry point does not take the runner's options: name a numerai_predict image in `image.ref`"
        return Cause(text=what, fix=fix)
    if log.started and not log.reasons and not log.refused and ended.code is not None and ended.code > 0:
        printed = "" if not log.last or _RECORD.match(log.last[0]) else f"; it printed last: {log.last[0]}"
        text = f"exit {ended.code} without an error in the log: {_ENDED_ITSELF}{printed}"
        return Cause(text=text, fix=_RETURN_INSTEAD)
    return Cause(text=what, fix=FIX_MODEL)


def _other_python(where: Where, what: str) -> Cause:
    made = f"Python {where.built_on}" if _is_elsewhere(where) else "another Python or numpy"
    return Cause(
        text=f"the pickle was made for {made}, and the image has Python {where.python}: {what}",
        fix=_BUILD,
        by_making=True,
    )


def _is_elsewhere(where: Where) -> bool:
    return where.built_on is not None and _minor(where.built_on) != _minor(where.python)


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
