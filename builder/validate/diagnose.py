"""Find out why a run failed: one cause and one fix, from how it ended, what it logged and what the API reports.

One table of causes (``known_causes``) serves runs on this machine and runs of the tournament. Logs (``runner_log``) and
descriptions are untrusted: they explain a failure, but never decide whether there was one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import published_pins, tournament
from builder.validate import known_causes, runner_log
from builder.validate.known_causes import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

ABORT_CODES = (-6, 134)
# Segmentation fault, illegal instruction and bus error, as wait4 (-signal) and as a shell (128 + signal) report them.
_SEGFAULT_CODES = (-11, 139, -4, 132, -7, 135)
_USAGE_CODE = 2
_NO_CSV = "the entry point ended with exit 0 and wrote no CSV"
_ENDED_PROCESS = "the function ended the process, as `sys.exit` does"
_RETURN_INSTEAD = "return the predictions instead, then run `make pickle CONFIG=...`"
_CANNOT_WRITE = re.compile(r"\b(?:OSError|PermissionError)\b|\[Errno \d+\]")
_OTHER_SYSTEM_ERROR = re.compile(r"\bSystemError: (?!unknown opcode)")
"""An error inside the interpreter. Code for another Python causes it, but a broken library can do so too."""


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
        columns: The columns of the live data and the benchmark predictions; empty if unknown.
    """

    seconds: float
    memory: int
    python: str
    built_on: str | None
    is_stand_in: bool = False
    columns: frozenset[str] = frozenset()


def explain(run_end: RunEnd, conditions: RunConditions) -> str:
    """Return the cause of a failed run on this machine and its fix, as text."""
    return str(find_cause(run_end, conditions))


def find_cause(run_end: RunEnd, conditions: RunConditions) -> Cause:
    """Return why a run on this machine failed."""
    log = runner_log.parse(run_end.log.splitlines())
    return (
        _find_exceeded_limit(run_end, conditions)
        or _find_crash(run_end, conditions, log)
        or _find_error(run_end, conditions, log)
    )


def explain_no_csv(log: str) -> Cause:
    """Return why a run that ended with exit 0 wrote no CSV. The runner only logs that it cannot write one."""
    reasons = runner_log.parse(log.splitlines()).reasons
    if not reasons:
        return Cause(text=f"{_NO_CSV}: {_ENDED_PROCESS}", fix=_RETURN_INSTEAD)
    fix = (
        "check the disk with `make doctor`, then run it again"
        if _CANNOT_WRITE.search(reasons[-1])
        else known_causes.FIX_MODEL
    )
    return Cause(text=f"{_NO_CSV}: {reasons[-1]}", fix=fix)


def explain_remote(status: str, descriptions: Sequence[str], log: Sequence[str]) -> Cause:
    """Return why a run of the tournament failed.

    Args:
        status: The run's status; ``error`` means a problem of the tournament, ``failed`` one of the model.
        descriptions: The descriptions of the run's steps.
        log: The run's log, as messages of one or more lines.
    """
    printed, described = (
        runner_log.parse(runner_log.split_lines(log)),
        runner_log.parse(runner_log.split_lines(descriptions)),
    )
    reasons = described.reasons or described.last
    end = tuple(line for line in printed.last if not printed.reasons and not runner_log.RECORD.match(line))
    # A description of the tournament comes before the log: the model can print anything.
    cause = (
        known_causes.classify(reasons, described.files)
        or known_causes.look_up(known_causes.ENDS, reasons)
        or known_causes.classify(printed.reasons, printed.files)
        or known_causes.look_up(known_causes.CAUSES, end)
        or known_causes.look_up(known_causes.ENDS, end)
        or (
            None
            if printed.reasons
            else known_causes.look_up(known_causes.VAGUE, reasons) or known_causes.look_up(known_causes.VAGUE, end)
        )
    )
    if cause is not None:
        return cause
    if not printed.reasons and known_causes.ABORT.search(" ".join((*reasons, *end))):
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


def _find_exceeded_limit(run_end: RunEnd, conditions: RunConditions) -> Cause | None:
    if run_end.timed_out:
        return Cause(
            text=f"it exceeded the limit of {conditions.seconds:g} seconds",
            fix=f"the tournament would stop it too: {known_causes.FASTER}",
        )
    if run_end.out_of_memory or run_end.code in (-9, 137):
        return _describe_out_of_memory(conditions, "exit 137")
    return None


def _describe_out_of_memory(conditions: RunConditions, details: str) -> Cause:
    return Cause(
        text=f"it ran out of memory at {conditions.memory / 2**30:.2g} GiB ({details})",
        fix=f"the tournament would stop it too: {known_causes.SMALLER}",
    )


def _find_crash(run_end: RunEnd, conditions: RunConditions, log: runner_log.Log) -> Cause | None:
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


def _find_error(run_end: RunEnd, conditions: RunConditions, log: runner_log.Log) -> Cause:
    """Return the cause for the error in the log, or for its last line."""
    message = (log.reasons or log.last)[-1:]
    error = f"exit {run_end.code}: {message[0] if message else 'it printed nothing'}"
    cause = known_causes.classify(log.reasons, log.files)
    if cause == known_causes.OTHER_PYTHON and (
        conditions.built_on is None or _is_other_python(conditions) or not _OTHER_SYSTEM_ERROR.search(error)
    ):
        return _describe_other_python(conditions, error)
    if cause == known_causes.OTHER_PYTHON:  # a SystemError, but the pickle was built on this Python
        cause = None
    if cause == known_causes.OUT_OF_MEMORY:
        return _describe_out_of_memory(conditions, error)
    cause = _find_published_package(error, conditions) or _find_known_column(error, conditions) or cause
    if cause is not None:
        return cause
    if run_end.code == _USAGE_CODE and not log.reasons and not log.started:
        fix = "its entry point does not take the runner's options: set `image.ref` to a numerai_predict image"
        return Cause(text=error, fix=fix)
    if log.started and not log.reasons and not log.refused and run_end.code is not None and run_end.code > 0:
        printed = "" if not log.last or runner_log.RECORD.match(log.last[0]) else f"; its last output: {log.last[0]}"
        text = f"exit {run_end.code} without an error in the log: {_ENDED_PROCESS}{printed}"
        return Cause(text=text, fix=_RETURN_INSTEAD)
    return Cause(text=error, fix=known_causes.FIX_MODEL)


def _find_published_package(error: str, conditions: RunConditions) -> Cause | None:
    """Return the cause if only a stand-in misses a module that the tournament's image has."""
    match, python = re.search(r"No module named '([^'.]+)", error), ".".join(conditions.python.split(".")[:2])
    package = published_pins.list_modules(python).get(match[1]) if match and conditions.is_stand_in else None
    if match is None or package is None:
        return None
    known = f"the tournament's image has {package} {published_pins.get_versions(python)[package]}"
    text = f"it needs the module {match[1]!r}, which this stand-in does not have; {known}"
    return Cause(text=text, fix="run it in the image itself: set `image.ref` to it")


def _find_known_column(error: str, conditions: RunConditions) -> Cause | None:
    """Return the cause if the key of a KeyError is a column that the data have, so that they are not the cause."""
    match = re.search(r"\bKeyError: '(\w+)'", error)
    if match is None or match[1] not in conditions.columns:
        return None
    text = f"{error}: the data have this column; the function removed it, or reads it from something else"
    return Cause(text=text, fix=known_causes.FIX_MODEL)


def _describe_other_python(conditions: RunConditions, error: str) -> Cause:
    python = f"Python {conditions.built_on}" if _is_other_python(conditions) else "another Python or numpy"
    return Cause(
        text=f"the pickle was built for {python}, but the image has Python {conditions.python}: {error}",
        fix=known_causes.BUILD,
        by_build=True,
    )


def _is_other_python(conditions: RunConditions) -> bool:
    built_on, python = conditions.built_on, conditions.python
    # Patch releases are compatible: only 3.X has to be the same.
    return built_on is not None and built_on.split(".")[:2] != python.split(".")[:2]
