"""Known causes of failures, by patterns of the error that the runner logs or of what the tournament reports."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder import commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BUILD = "build it in the image that runs it: `make pickle CONFIG=...`"
_BUILD_AGAIN = "build it again: `make pickle CONFIG=...`"
_FROM_BUNDLE = "build it from a bundle with `make pickle CONFIG=...`"
_RETURN = (
    "return a DataFrame with one column `prediction` on the index of live_features, then run `make pickle CONFIG=...`"
)
FIX_MODEL = (
    "fix the model or function where it was trained, export it again, then run `make pickle CONFIG=...` and "
    "`make validate CONFIG=...`"
)
FILL_MISSING = (
    "fill missing values before or after the model predicts, also in rows without a benchmark model "
    "(`.reindex(live_features.index).fillna(0.5)`), then run `make pickle CONFIG=...`"
)
END_WITH_RANK = "end the model's `post` with a rank, then run `make pickle CONFIG=...`"
SMALLER, FASTER = "make the model smaller", "make the model smaller or faster"
_MEASURED = "`make validate CONFIG=...` measures it under the same limit"
_OTHER_VERSION = (
    "set `data_version` to the version that the model was trained on, or train it on this one, then run "
    "`make pickle CONFIG=...`"
)
_BY_VALUE = "a pickle must contain all of its code"


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


OTHER_PYTHON = Cause(
    text="the pickle was built with another Python or numpy than the image has", fix=BUILD, by_build=True
)
OUT_OF_MEMORY = Cause(text="it ran out of memory", fix=f"{SMALLER}; {_MEASURED}")
_NO_COLUMNS = Cause(text="the function returned a DataFrame without columns", fix=_RETURN)
_OUT_OF_BOUNDS = "IndexError: single positional indexer is out-of-bounds"
"""The error of the runner when it reads the first column of a frame without columns."""
_NOT_LOADED = re.compile(r"Pickle incompatible with |[Pp]ickle could not be loaded in Python ")
"""The runner logs this for any TypeError (since 2026-07 any ValueError too) when it loads the pickle."""
_CODE = r"(?:exit|code|status)[^0-9\n]{0,20}"
"""The text before an exit code: ``exit status 137``, ``Exited (137)``, ``code=137``."""
ABORT = re.compile(rf"terminate called|(?i:{_CODE}134\b|\babort(?:ed)?\b|\bSIGABRT\b)")

# The causes by patterns of the reason; the first match wins. The groups of the pattern are inserted into the text.
CAUSES = (
    (
        (
            r"\bSystemError: |unknown opcode|bad marshal data|unsupported pickle protocol"
            r"|\bcode(?:\(\) (?:takes (?:at|exactly)|argument \d)| expected at)|numpy\.(?:dtype|ndarray) size changed"
            r"|No module named 'numpy\._core|is not a known BitGenerator"
        ),
        OTHER_PYTHON,
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
            fix=END_WITH_RANK,
        ),
    ),
    (
        r"^Local dataset not found",
        Cause(text="the live data that the run was given is missing", fix="run it again with data that exists"),
    ),
    (
        (
            r"(?i)name resolution|failed to resolve|max retries exceeded|network is unreachable"
            r"|\b(?:Connection|Connect|URL|ConnectTimeout)Error\b|\b(?:Read|Connect)Timeout\b"
            r"|\bTimeoutError: .*(?:\[Errno|timed out)"
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
    (r"(?i)out of memory|\bMemoryError\b|unable to allocate|\bbad_alloc\b", OUT_OF_MEMORY),
)
# How a run ended, in the words of the tournament or in a last line that is not a Python error. The first wording is in
# the tournament's documentation.
ENDS = (
    (
        rf"(?i)segmentation fault|library versions match|\bSIGSEGV\b|\bsignal 11\b|{_CODE}(?:139|132|135)\b",
        Cause(
            text="the interpreter crashed: the pickle was built with another Python or numpy than the image has",
            fix=BUILD,
            by_build=True,
        ),
    ),
    (rf"(?i)oom[- ]?killed|\bSIGKILL\b|\bsignal 9\b|{_CODE}137\b|^killed$", OUT_OF_MEMORY),
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
VAGUE = (
    (
        r"(?i)invalid submission|submission (?:is|was) invalid",
        Cause(
            text="its predictions were rejected; expected the round's ids and one column in [0, 1] without NaN",
            fix="`make validate CONFIG=...` shows which of these is wrong",
        ),
    ),
)


def look_up(table: Iterable[tuple[str, Cause]], reasons: Sequence[str]) -> Cause | None:
    """Return the cause for the last reason; None if no pattern matches."""
    for pattern, cause in table if reasons else ():
        match = re.search(pattern, reasons[-1])
        if match and match.groups():
            return replace(cause, text=cause.text.format(*match.groups()))
        if match:
            return cause
    return None


def classify(reasons: Sequence[str], files: Sequence[str]) -> Cause | None:
    """Return the cause for the reasons of one log; None if it is unknown."""
    last = reasons[-3:]  # the refusal, and with --debug the exception and its text, in either order
    if any(map(_NOT_LOADED.search, last)):
        exceptions = [reason for reason in last if not _NOT_LOADED.search(reason)]
        if not exceptions:
            return OTHER_PYTHON
        return look_up(CAUSES, exceptions) or Cause(
            text=f"the pickle cannot be loaded: {exceptions[-1]}", fix=BUILD, by_build=True
        )
    if list(reasons[-1:]) == [_OUT_OF_BOUNDS] and all(map(_is_runner_file, files)):
        return _NO_COLUMNS
    return look_up(CAUSES, reasons)


def _is_runner_file(file: str) -> bool:
    return file.endswith("/predict.py") or "/pandas/" in file
