"""Find out why a run failed: one cause and one fix, from how it ended, what it logged and what the API reports.

One table of causes (``_CAUSES``) serves runs on this machine and runs of the tournament. A log is read in the format of
the runner: ``LEVEL:logger:text`` and tracebacks; the reason for a refusal is above a box of help, which is between two
lines of 80 dashes. Logs and descriptions are untrusted: they explain a failure, but never decide whether there was one.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder import commands, published_pins, tournament
from builder.text import replace_unprintable, sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

ABORT_CODES = (-6, 134)
# Segmentation fault, illegal instruction and bus error, as wait4 (-signal) and as a shell (128 + signal) report them.
_SEGFAULT_CODES = (-11, 139, -4, 132, -7, 135)
_USAGE_CODE = 2
_MAX_HELP_LINES = 20  # the box has about ten
_MAX_TRACEBACK_LINES = 60

_BOX_LINE = re.compile(r"(?:[A-Z]+:root:)?-{80}")
_RECORD = re.compile(r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):[^:\s]+:")
_ERROR_RECORD = re.compile(r"(?:ERROR|CRITICAL):root:(.*)")
_TRACEBACK = re.compile(r"\s*(?:\+ Exception Group )?Traceback \(most recent call last\):\s*")
_DURING_HANDLING, _DIRECT_CAUSE = "During handling of the above exception", "The above exception was the direct cause"
_PANDAS_RETRY = "pandas/compat/pickle_compat.py"
_FRAME = re.compile(r'\s*File "([^"]*)", line \d+')
_EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*")
_LETTER = re.compile(r"[^\W_]")
_STARTED = re.compile(r"INFO:root:Running numerai-predict\b")

_BUILD = "build it in the image that runs it: `make pickle CONFIG=...`"
_BUILD_AGAIN = "build it again: `make pickle CONFIG=...`"
_FROM_BUNDLE = "build it from a bundle with `make pickle CONFIG=...`"
FILL_MISSING = (
    "fill missing values before or after the model predicts, also in rows without a benchmark model "
    "(`.reindex(live_features.index).fillna(0.5)`), then run `make pickle CONFIG=...`"
)
_RETURN = (
    "return a DataFrame with one column `prediction` on the index of live_features, then run `make pickle CONFIG=...`"
)
FIX_MODEL = (
    "fix the model or function where it was trained, export it again, then run `make pickle CONFIG=...` and "
    "`make validate CONFIG=...`"
)
SMALLER, FASTER = "make the model smaller", "make the model smaller or faster"
_MEASURED = "`make validate CONFIG=...` measures it under the same limit"
_OTHER_VERSION = (
    "set `data_version` to the version that the model was trained on, or train it on this one, then run "
    "`make pickle CONFIG=...`"
)
_BY_VALUE = "a pickle must contain all of its code"
_NO_CSV = "the entry point ended with exit 0 and wrote no CSV"
_ENDED_PROCESS = "the function ended the process, as `sys.exit` does"
_RETURN_INSTEAD = "return the predictions instead, then run `make pickle CONFIG=...`"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why a run failed, and how to fix it.

    Attributes:
        text: The cause.
        fix: The fix; empty if only the cause is known.
        by_build: Whether the way the pickle was built is the cause. A good run in the same image rules that out.
    """

    text: str
    fix: str = ""
    by_build: bool = False

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}" if self.fix else self.text

    def with_config(self, config: Path | None) -> Cause:
        """Return the cause with ``CONFIG=...`` in its commands filled in.

        Args:
            config: The config, or its ``dist/NAME``; None if unknown.
        """
        return replace(self, fix=commands.fill_in_config(self.fix, config))


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How a run of the entry point ended.

    Attributes:
        code: Exit status, or minus the signal's number; None if unknown.
        timed_out: Whether it was killed at its time limit.
        out_of_memory: Whether the kernel killed a process of the container because memory ran out.
        log: The end of its output.
        aborted_twice: Whether two runs in a row aborted after they had written the whole CSV.
    """

    code: int | None
    timed_out: bool
    out_of_memory: bool
    log: str
    aborted_twice: bool = False


@dataclass(frozen=True, kw_only=True)
class RunConditions:
    """The limits of a run, and Python versions.

    Attributes:
        seconds: The time limit.
        memory: The memory limit in bytes.
        python: The Python that ran the pickle.
        built_on: The Python that the pickle was built on; None if unknown.
        is_stand_in: Whether the image is a stand-in, which has fewer packages than the tournament's.
    """

    seconds: float
    memory: int
    python: str
    built_on: str | None
    is_stand_in: bool = False


@dataclass(frozen=True, kw_only=True)
class _Log:
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


_OTHER_PYTHON = Cause(
    text="the pickle was built with another Python or numpy than the image has", fix=_BUILD, by_build=True
)
_OUT_OF_MEMORY = Cause(text="it ran out of memory", fix=f"{SMALLER}; {_MEASURED}")
_NO_COLUMNS = Cause(text="the function returned a DataFrame without columns", fix=_RETURN)
_OUT_OF_BOUNDS = "IndexError: single positional indexer is out-of-bounds"
"""The error of the runner when it reads the first column of a frame without columns."""
_OTHER_SYSTEM_ERROR = re.compile(r"\bSystemError: (?!unknown opcode)")
"""An error inside the interpreter. Code for another Python causes it, but a broken library can do so too."""
_NOT_LOADED = re.compile(r"Pickle incompatible with |[Pp]ickle could not be loaded in Python ")
"""The runner logs this for any TypeError (since 2026-07 any ValueError too) when it loads the pickle."""
_CODE = r"(?:exit|code|status)[^0-9\n]{0,20}"
"""The text before an exit code: ``exit status 137``, ``Exited (137)``, ``code=137``."""
_ABORT = re.compile(rf"terminate called|(?i:{_CODE}134\b|\babort(?:ed)?\b|\bSIGABRT\b)")
_CANNOT_WRITE = re.compile(r"\b(?:OSError|PermissionError)\b|\[Errno \d+\]")

# The causes by patterns of the reason; the first match wins. The groups of the pattern are inserted into the text.
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
            by_build=True,
        ),
    ),
    (
        r"Can't get attribute '([^']+)' on <module '([^']+)'",
        Cause(
            text=f"the pickle needs {{0!r}} of the module {{1!r}}, which the image's module does not have: {_BY_VALUE}",
            fix=_FROM_BUNDLE,
            by_build=True,
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
        Cause(text="the pickle is empty or truncated", fix=_BUILD_AGAIN, by_build=True),
    ),
    (
        r"\bTypeError: (.*) is not a callable object",
        Cause(
            text="the pickle contains {0}, which is not a function",
            fix="dump a function that takes live_features and returns a DataFrame",
            by_build=True,
        ),
    ),
    (
        r"invalid load key, '\\x1f'",
        Cause(
            text="it is not a pickle: it begins as a file that is compressed with gzip",
            fix=f"decompress it: the runner loads only plain pickles; or {_BUILD_AGAIN}",
            by_build=True,
        ),
    ),
    (
        r"invalid load key, 'x'",
        Cause(
            text="it is not a pickle: it begins as a file that is compressed with zlib, as by `joblib.dump`",
            fix=f"load it with `joblib.load` and dump it with cloudpickle; or {_BUILD_AGAIN}",
            by_build=True,
        ),
    ),
    (
        r"invalid load key, 'v'",
        Cause(
            text="it is not a pickle: it begins as a Git LFS pointer, a text file in place of the file itself",
            fix=f"fetch the file with `git lfs pull`; or {_BUILD_AGAIN}",
            by_build=True,
        ),
    ),
    (
        r"(?:^Invalid pickle - |\bUnpicklingError: )(.*)",
        Cause(text="it is not a valid pickle: {0}", fix=_BUILD_AGAIN, by_build=True),
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
            fix=FILL_MISSING,
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
    (
        r"\bKeyError: .*?\b(feature_\w+)",
        Cause(
            text="it reads the feature {0}, which the live data do not have: they are of another data version",
            fix=_OTHER_VERSION,
        ),
    ),
    (
        r"\bKeyError: .*?\b(v[0-9]{1,2}_\w+)",
        Cause(
            text="it reads the benchmark model {0}, which live_benchmark_models does not have",
            fix=f"read a benchmark model of the same data version by its name; {_OTHER_VERSION}",
        ),
    ),
    (
        r"\bKeyError: .*?['\"\[](era|data_type|id)\b",
        Cause(
            text="it reads the column {0}, which is not among the columns of the frame",
            fix="`era` and `data_type` are columns of live_features, `id` is its index; fix it, then "
            "run `make pickle CONFIG=...`",
        ),
    ),
    (
        r"\bValueError: (live_\w+) is missing (\d+ of \d+) columns: (.*)",
        Cause(
            text="{0} has not {1} columns that the model reads ({2}): the data are of another data version",
            fix=_OTHER_VERSION,
        ),
    ),
    (r"(?i)out of memory|\bMemoryError\b|unable to allocate|\bbad_alloc\b", _OUT_OF_MEMORY),
)
# How a run ended, in the words of the tournament or in a last line that is not a Python error. The first wording is in
# the tournament's documentation.
_ENDS = (
    (
        rf"(?i)segmentation fault|library versions match|\bSIGSEGV\b|\bsignal 11\b|{_CODE}(?:139|132|135)\b",
        Cause(
            text="the interpreter crashed: the pickle was built with another Python or numpy than the image has",
            fix=_BUILD,
            by_build=True,
        ),
    ),
    (rf"(?i)oom[- ]?killed|\bSIGKILL\b|\bsignal 9\b|{_CODE}137\b|^killed$", _OUT_OF_MEMORY),
    (
        r"(?i)timed? ?out\b|out of time|time limit|deadline exceeded",
        Cause(text="it exceeded its time limit", fix=f"{FASTER}; {_MEASURED}"),
    ),
    (
        r"(?i)model file could not be found|no such key",
        Cause(text="the pickle's file was never stored", fix="upload it again: `make upload CONFIG=...`"),
    ),
)


# Descriptions without a cause: an error in the log is preferred to them.
_VAGUE = (
    (
        r"(?i)invalid submission|submission (?:is|was) invalid",
        Cause(
            text="its predictions were rejected; expected the round's ids and one column in [0, 1] without NaN",
            fix="`make validate CONFIG=...` shows which of these is wrong",
        ),
    ),
)


def explain(run_end: RunEnd, conditions: RunConditions) -> str:
    """Return the cause of a failed run on this machine and its fix, as text."""
    return str(find_cause(run_end, conditions))


def find_cause(run_end: RunEnd, conditions: RunConditions) -> Cause:
    """Return why a run on this machine failed."""
    log = _parse_log(run_end.log.splitlines())
    return (
        _find_exceeded_limit(run_end, conditions)
        or _find_crash(run_end, conditions, log)
        or _find_error(run_end, conditions, log)
    )


def explain_no_csv(log: str) -> Cause:
    """Return why a run that ended with exit 0 wrote no CSV. The runner only logs that it cannot write one."""
    reasons = _parse_log(log.splitlines()).reasons
    if not reasons:
        return Cause(text=f"{_NO_CSV}: {_ENDED_PROCESS}", fix=_RETURN_INSTEAD)
    fix = "check the disk with `make doctor`, then run it again" if _CANNOT_WRITE.search(reasons[-1]) else FIX_MODEL
    return Cause(text=f"{_NO_CSV}: {reasons[-1]}", fix=fix)


def explain_remote(status: str, descriptions: Sequence[str], log: Sequence[str]) -> Cause:
    """Return why a run of the tournament failed.

    Args:
        status: The run's status; ``error`` means a problem of the tournament, ``failed`` one of the model.
        descriptions: The descriptions of the run's steps.
        log: The run's log, as messages of one or more lines.
    """
    printed, described = _parse_log(_split_lines(log)), _parse_log(_split_lines(descriptions))
    reasons = described.reasons or described.last
    end = tuple(line for line in printed.last if not printed.reasons and not _RECORD.match(line))
    # A description of the tournament comes before the log: the model can print anything.
    cause = (
        _classify(reasons, described.files)
        or _look_up(_ENDS, reasons)
        or _classify(printed.reasons, printed.files)
        or _look_up(_CAUSES, end)
        or _look_up(_ENDS, end)
        or (None if printed.reasons else _look_up(_VAGUE, reasons) or _look_up(_VAGUE, end))
    )
    if cause is not None:
        return cause
    if not printed.reasons and _ABORT.search(" ".join((*reasons, *end))):
        return Cause(
            text="the interpreter aborted (exit 134), which a thread of pyarrow sometimes causes at the end of a run",
            fix="trigger it again; if it happens twice in a row, check the model and its libraries",
        )
    message = (printed.reasons or reasons or end)[-1:]
    text = f"the tournament reports: {message[0]}" if message else "the tournament gives no reason"
    if printed.last and not message:
        text += f", and the log ends without an error: {printed.last[0]}"
    if tournament.is_server_error(status):
        return Cause(text=f"{text} (status error: a problem on their side)", fix="trigger it again later")
    return Cause(text=text)


def find_last_message(log: str) -> str:
    """Return the last error in a log, or its last line if there is no error; empty for an empty log."""
    parsed = _parse_log(log.splitlines())
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
    lines = _split_lines(log)
    help_lines = find_help_lines(lines)
    shown = [replace_unprintable(line) for index, line in enumerate(lines) if index not in help_lines and line.strip()]
    first = max(0, len(shown) - max_lines)
    tracebacks = [index for index, line in enumerate(shown) if _TRACEBACK.fullmatch(line)]
    while len(tracebacks) > 1 and shown[tracebacks[-1] - 1].startswith((_DURING_HANDLING, _DIRECT_CAUSE)):
        tracebacks.pop()
    if tracebacks and len(shown) - tracebacks[-1] < _MAX_TRACEBACK_LINES:
        first = min(first, max(0, tracebacks[-1] - 1))  # with the line above it, which may be the logged error
    return shown[first:]


def _split_lines(messages: Iterable[str]) -> list[str]:
    return [line for message in messages for line in message.splitlines()]


def _parse_log(lines: Sequence[str]) -> _Log:
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
        elif in_traceback and not _RECORD.match(line):
            # When loading fails, pandas.read_pickle retries with its own unpickler, whose exception hides the cause.
            if not (chained and any(file.endswith(_PANDAS_RETRY) for file in files)):
                reasons.append(sanitize(line))
        elif _EXCEPTION.match(line):
            similar.append(sanitize(line))
        if line.strip():
            in_traceback = chained = False
    plain = [sanitize(line) for line in other_lines if _LETTER.search(line)]
    return _Log(
        reasons=tuple(filter(None, reasons or similar)),
        last=tuple(plain[-1:]),
        refused=bool(help_lines),
        started=any(map(_STARTED.match, other_lines)),
        files=tuple(files),
    )


def _look_up(table: Iterable[tuple[str, Cause]], reasons: Sequence[str]) -> Cause | None:
    """Return the cause for the last reason; None if no pattern matches."""
    for pattern, cause in table if reasons else ():
        match = re.search(pattern, reasons[-1])
        if match and match.groups():
            return replace(cause, text=cause.text.format(*match.groups()))
        if match:
            return cause
    return None


def _classify(reasons: Sequence[str], files: Sequence[str]) -> Cause | None:
    """Return the cause for the reasons of one log; None if it is unknown."""
    last = reasons[-3:]  # the refusal, and with --debug the exception and its text, in either order
    if any(map(_NOT_LOADED.search, last)):
        exceptions = [reason for reason in last if not _NOT_LOADED.search(reason)]
        if not exceptions:
            return _OTHER_PYTHON
        return _look_up(_CAUSES, exceptions) or Cause(
            text=f"the pickle cannot be loaded: {exceptions[-1]}", fix=_BUILD, by_build=True
        )
    if list(reasons[-1:]) == [_OUT_OF_BOUNDS] and all(map(_is_runner_file, files)):
        return _NO_COLUMNS
    return _look_up(_CAUSES, reasons)


def _is_runner_file(file: str) -> bool:
    return file.endswith("/predict.py") or "/pandas/" in file


def _find_exceeded_limit(run_end: RunEnd, conditions: RunConditions) -> Cause | None:
    if run_end.timed_out:
        return Cause(
            text=f"it exceeded the limit of {conditions.seconds:g} seconds",
            fix=f"the tournament would stop it too: {FASTER}",
        )
    if run_end.out_of_memory or run_end.code in (-9, 137):
        return _describe_out_of_memory(conditions, "exit 137")
    return None


def _describe_out_of_memory(conditions: RunConditions, details: str) -> Cause:
    return Cause(
        text=f"it ran out of memory at {conditions.memory / 2**30:.2g} GiB ({details})",
        fix=f"the tournament would stop it too: {SMALLER}",
    )


def _find_crash(run_end: RunEnd, conditions: RunConditions, log: _Log) -> Cause | None:
    """Return why the interpreter itself crashed or aborted; None if it did not, or if the log has an error."""
    if run_end.code in _SEGFAULT_CODES and not log.refused:
        crash = "the interpreter crashed (segmentation fault, exit 139)"
        if conditions.built_on is None or _is_other_python(conditions):
            return _describe_other_python(conditions, crash)
        return Cause(
            text=f"{crash} in the same Python that the pickle was built in",
            fix="check the model's own libraries and its size",
        )
    if run_end.code in ABORT_CODES and not log.reasons:
        last = f": {log.last[0]}" if log.last else ""
        twice = "twice in a row, each time after its CSV was written"
        when = twice if run_end.aborted_twice else "before its CSV was complete"
        return Cause(
            text=f"the interpreter aborted (exit 134) {when}{last}",
            fix="look for a library of the model that leaves threads running or aborts; run "
            "`make validate CONFIG=...` again",
        )
    return None


def _find_error(run_end: RunEnd, conditions: RunConditions, log: _Log) -> Cause:
    """Return the cause for the error in the log, or for its last line."""
    message = (log.reasons or log.last)[-1:]
    error = f"exit {run_end.code}: {message[0] if message else 'it printed nothing'}"
    cause = _classify(log.reasons, log.files)
    if cause == _OTHER_PYTHON and (
        conditions.built_on is None or _is_other_python(conditions) or not _OTHER_SYSTEM_ERROR.search(error)
    ):
        return _describe_other_python(conditions, error)
    if cause == _OTHER_PYTHON:  # a SystemError, but the pickle was built on this Python
        cause = None
    if cause == _OUT_OF_MEMORY:
        return _describe_out_of_memory(conditions, error)
    cause = _find_published_package(error, conditions) or cause
    if cause is not None:
        return cause
    if run_end.code == _USAGE_CODE and not log.reasons and not log.started:
        fix = "its entry point does not take the runner's options: set `image.ref` to a numerai_predict image"
        return Cause(text=error, fix=fix)
    if log.started and not log.reasons and not log.refused and run_end.code is not None and run_end.code > 0:
        printed = "" if not log.last or _RECORD.match(log.last[0]) else f"; its last output: {log.last[0]}"
        text = f"exit {run_end.code} without an error in the log: {_ENDED_PROCESS}{printed}"
        return Cause(text=text, fix=_RETURN_INSTEAD)
    return Cause(text=error, fix=FIX_MODEL)


def _find_published_package(error: str, conditions: RunConditions) -> Cause | None:
    """Return the cause if only a stand-in misses a module that the tournament's image has."""
    match, python = re.search(r"No module named '([^'.]+)", error), ".".join(conditions.python.split(".")[:2])
    package = published_pins.list_modules(python).get(match[1]) if match and conditions.is_stand_in else None
    if match is None or package is None:
        return None
    known = f"the tournament's image has {package} {published_pins.get_versions(python)[package]}"
    text = f"it needs the module {match[1]!r}, which this stand-in does not have; {known}"
    return Cause(text=text, fix="run it in the image itself: set `image.ref` to it")


def _describe_other_python(conditions: RunConditions, error: str) -> Cause:
    python = f"Python {conditions.built_on}" if _is_other_python(conditions) else "another Python or numpy"
    return Cause(
        text=f"the pickle was built for {python}, but the image has Python {conditions.python}: {error}",
        fix=_BUILD,
        by_build=True,
    )


def _is_other_python(conditions: RunConditions) -> bool:
    built_on, python = conditions.built_on, conditions.python
    # Patch releases are compatible: only 3.X has to be the same.
    return built_on is not None and built_on.split(".")[:2] != python.split(".")[:2]
