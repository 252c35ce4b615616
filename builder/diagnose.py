"""Why a run failed, in one sentence: from exit codes, kernel verdicts and what was printed."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What Python or the runner prints when the bytecode or the binary layout is another version's.
_OTHER_PYTHON = re.compile(
    r"unknown opcode|bad marshal data|code\(\) (takes|argument)|code expected at|SystemError"
    r"|numpy\.(dtype|ndarray) size changed|No module named 'numpy\._core",
)
_MISSING_MODULE = re.compile(r"No module named '([^']+)'")
_MESSAGE = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*", re.MULTILINE)
_ABORT_CODES = (-6, 134)
_SEGFAULT_CODES = (-11, 139, -4, -7)  # as wait4 and as a shell say it; illegal instruction and bus error are its kin


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run of the entry point ended.

    Attributes:
        code: Exit status, or minus the signal's number; None when nothing is known.
        timed_out: It was killed for its time.
        out_of_memory: The kernel killed something in the container for its memory.
        log: The end of what it printed.
    """

    code: int | None
    timed_out: bool
    out_of_memory: bool
    log: str


@dataclass(frozen=True, kw_only=True)
class Where:
    """The limits of a run, the Python it ran on, and the one the pickle was made on (None: not known)."""

    seconds: float
    memory: int
    python: str
    made_on: str | None


def explain(ended: Ended, where: Where) -> str:
    """Return the cause and what to do about it."""
    return _limit(ended, where) or _binary(ended, where) or _message(ended)


def _limit(ended: Ended, where: Where) -> str | None:
    if ended.timed_out:
        return (
            f"it ran over the limit of {where.seconds:g} seconds; the tournament would fail it: "
            "make the model smaller or faster"
        )
    if ended.out_of_memory or ended.code in (-9, 137):
        return (
            f"it ran out of memory at {where.memory / 2**30:.2g} GiB (exit 137); the tournament would fail it: "
            "make the model smaller"
        )
    return None


def _binary(ended: Ended, where: Where) -> str | None:
    died = ended.code in _SEGFAULT_CODES
    what = "the interpreter died (segmentation fault, exit 139)" if died else _message(ended)
    elsewhere = where.made_on is not None and _minor(where.made_on) != _minor(where.python)
    if elsewhere or _OTHER_PYTHON.search(ended.log) or (died and where.made_on is None):
        made = f"Python {where.made_on}" if elsewhere else "another Python or numpy"
        return (
            f"the pickle was made for {made}, and the image has Python {where.python}: {what}; "
            "make it in the image that runs it: `make pickle`"
        )
    if died:
        return f"{what} in the very Python that the pickle was made in: look at the model's own libraries and its size"
    if ended.code in _ABORT_CODES:
        return (
            "the interpreter aborted (exit 134), as threads of pyarrow make it do now and then while Python ends: "
            "run `make validate` again; if it stays so, something in the image is broken"
        )
    return None


def _message(ended: Ended) -> str:
    module = _MISSING_MODULE.search(ended.log)
    if module:
        return (
            f"the pickle needs the module {module[1]!r}, which the image lacks: a pickle must hold all its code "
            "by value; make it from a bundle with `make pickle`"
        )
    said = _MESSAGE.findall(ended.log) or [line for line in ended.log.splitlines() if line.strip()][-1:]
    return f"exit {ended.code}: {said[-1].strip() if said else 'it printed nothing'}"


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
