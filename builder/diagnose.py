"""Why a run failed: one cause and one fix, from exit codes, kernel verdicts, what was printed, the API's own words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import tournament

if TYPE_CHECKING:
    from collections.abc import Sequence

# What Python or the runner prints when the bytecode or the binary layout is another version's.
_OTHER_PYTHON = re.compile(
    r"unknown opcode|bad marshal data|code\(\) (takes|argument)|code expected at|SystemError"
    r"|numpy\.(dtype|ndarray) size changed|No module named 'numpy\._core",
)
_MISSING_MODULE = re.compile(r"No module named '([^']+)'")
_MESSAGE = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*", re.MULTILINE)
_LONGEST = 300
_ANEW = "make it in the image that runs it: `make pickle`"
_SMALLER, _FASTER = "make the model smaller", "make the model smaller or faster"
_ABORT_CODES = (-6, 134)
_SEGFAULT_CODES = (-11, 139, -4, -7)  # as wait4 and as a shell say it; illegal instruction and bus error are its kin


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why a run failed, and what to do about it.

    Attributes:
        text: Why.
        fix: What to do; empty where only the cause is known.
        by_making: It lies in how the pickle was made: a good run in the very image shows that it was not this.
    """

    text: str
    fix: str = ""
    by_making: bool = False

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}" if self.fix else self.text


# What the tournament's own words are known, or read, to mean. Only the first is documented; the others go by sense.
_SAID = (
    (
        re.compile(r"(?i)segmentation fault|library versions match"),
        Cause(
            text="the interpreter died there: the pickle was made with another Python or numpy",
            fix=_ANEW,
            by_making=True,
        ),
    ),
    (
        re.compile(r"(?i)out of memory|oom[- ]?killed|\bMemoryError\b|exit (code )?137"),
        Cause(text="it ran out of memory there", fix=f"{_SMALLER}; `make validate` measures it under the same limit"),
    ),
    (
        re.compile(r"(?i)timed? ?out|time limit|deadline exceeded"),
        Cause(text="it ran over its time there", fix=f"{_FASTER}; `make validate` measures it under the same limit"),
    ),
    (
        _OTHER_PYTHON,
        Cause(text="the pickle was made with another Python or numpy than the image's", fix=_ANEW, by_making=True),
    ),
    (
        re.compile(r"(?i)invalid submission|submission (is|was) invalid"),
        Cause(
            text="its predictions were refused: ids, one column in [0, 1] and no NaN are asked for",
            fix="`make validate` shows which of them fails",
        ),
    ),
    (
        re.compile(r"(?i)model file could not be found|no such key"),
        Cause(text="its bytes were never stored", fix="upload it again: `make upload`"),
    ),
)


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
    return str(find_cause(ended, where))


def find_cause(ended: Ended, where: Where) -> Cause:
    """Return why a run that was watched here ended as it did."""
    return _limit(ended, where) or _binary(ended, where) or _message(ended)


def explain_remote(status: str, descriptions: Sequence[str], log: Sequence[str]) -> Cause:
    """Return why a run of the tournament failed, from its own words.

    Args:
        status: The run's status; ``error`` is a fault of theirs, ``failed`` one of the model.
        descriptions: What its steps say.
        log: What it printed.
    """
    said = "\n".join([*descriptions, *log])
    for pattern, cause in _SAID:
        if pattern.search(said):
            return cause
    module = _MISSING_MODULE.search(said)
    if module:
        return _missing(module[1])
    spoken = [one_line(text) for text in descriptions if text.strip()]
    message = spoken[-1:] or _MESSAGE.findall("\n".join(log))[-1:]
    text = f"the tournament says: {message[0].strip()[:_LONGEST]}" if message else "the tournament gives no reason"
    if tournament.is_their_fault(status):
        return Cause(text=f"{text} (status error: a fault on their side)", fix="trigger it again later")
    return Cause(text=text)


def one_line(text: str) -> str:
    """Return what somebody else wrote on one line that can be printed."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(plain.split())[:_LONGEST]


def last_message(log: str) -> str:
    """Return the last error that a log names, else its last line; nothing for an empty one."""
    said = _MESSAGE.findall(log) or [line for line in log.splitlines() if line.strip()][-1:]
    return said[-1].strip() if said else ""


def _limit(ended: Ended, where: Where) -> Cause | None:
    if ended.timed_out:
        return Cause(
            text=f"it ran over the limit of {where.seconds:g} seconds", fix=f"the tournament would fail it: {_FASTER}"
        )
    if ended.out_of_memory or ended.code in (-9, 137):
        return Cause(
            text=f"it ran out of memory at {where.memory / 2**30:.2g} GiB (exit 137)",
            fix=f"the tournament would fail it: {_SMALLER}",
        )
    return None


def _binary(ended: Ended, where: Where) -> Cause | None:
    died = ended.code in _SEGFAULT_CODES
    what = "the interpreter died (segmentation fault, exit 139)" if died else str(_message(ended))
    elsewhere = where.made_on is not None and _minor(where.made_on) != _minor(where.python)
    if elsewhere or _OTHER_PYTHON.search(ended.log) or (died and where.made_on is None):
        made = f"Python {where.made_on}" if elsewhere else "another Python or numpy"
        return Cause(text=f"the pickle was made for {made}, and the image has Python {where.python}: {what}", fix=_ANEW)
    if died:
        return Cause(
            text=f"{what} in the very Python that the pickle was made in",
            fix="look at the model's own libraries and its size",
        )
    if ended.code in _ABORT_CODES:
        return Cause(
            text="the interpreter aborted (exit 134), as threads of pyarrow make it do now and then while Python ends",
            fix="run `make validate` again; if it stays so, something in the image is broken",
        )
    return None


def _message(ended: Ended) -> Cause:
    module = _MISSING_MODULE.search(ended.log)
    if module:
        return _missing(module[1])
    return Cause(text=f"exit {ended.code}: {last_message(ended.log) or 'it printed nothing'}")


def _missing(module: str) -> Cause:
    return Cause(
        text=f"the pickle needs the module {module!r}, which the image lacks: a pickle must hold all its code by value",
        fix="make it from a bundle with `make pickle`",
        by_making=True,
    )


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
