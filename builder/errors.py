"""The errors that this tool raises on purpose, with their exit codes.

A message states what is wrong, where, and what to do; only ``builder.cli`` prints it::

    BuilderError
    ├── UsageError      2    the command line
    ├── ConfigError     2    a config file
    ├── BundleError     2    a model bundle
    ├── ExportError     2    a trained model that cannot be expressed
    ├── LibraryError    2    a library that the model requires is not installed, or does not load
    ├── DataError       2    live data to predict on
    ├── ArtifactError   2    dist/NAME: missing, incomplete, edited, or not written by this tool
    │   └── FileTypeError  2  a file there is a link, a device, too large, or unexpected
    ├── LockError       2    a lock file that cannot be created or locked
    ├── EngineError     3    the container engine
    │   ├── BuildError  3    a step of the Dockerfile failed
    │   └── EngineChoiceError  3  the engine that the user chose cannot be used
    ├── ImageError      3    the runner image
    │   └── ImageNotFoundError  3  its registry does not have the tag or digest
    ├── NetworkError    4    a registry or an API
    │   ├── LoginError  4    the login that `docker login` stored for a registry cannot be read
    │   ├── UnavailableError  4    no answer: the request may or may not have been carried out
    │   └── ApiError    4    the tournament's API answered with an error
    │       └── TokenError  4    the token is missing, unknown, or without a required scope
    └── RefusedError    5    policy, or not confirmed

Findings (a validation that fails, a rebuild that differs) are values, not errors: exit code 1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


_MOST_PROBLEMS = 100
"""Problems of one input that are listed: whoever reads them fixes the first ones and tries again."""
_RESOLVE_ATTEMPTS = 2
"""For a host name that does not resolve: it is misspelt, or there is no network, and waiting rarely helps."""


# A clause that says what to do begins with one of these, or with a command.
_IMPERATIVES = (
    "add|adopt|archive|ask|build|call|change|check|choose|close|compute|convert|copy|create|decompress|define|dump|expected"
    "|export|fetch|fill|fix|free|get|give|indent|install|join|keep|leave|list|load|look|make|move|name|omit|pass"
    "|pickle the|pin|pull|put|quote|remove|rename|repair|replace|report|restart|review|run|save|say|see|seed|select"
    "|send|set|shorten|split|start|stop|store|take|train|type|unarchive|unlock|unset|update|upload|use|wait|write"
)
_INSTRUCTION = re.compile(
    r"(?:.*?: )??((?:(?:else|or|then|and|to),? )*"
    rf"(?:(?i:{_IMPERATIVES})\b(?![:=])|did you mean |`(?:make|python -m builder|numerai-builder|docker)\b))"
)
_CLAUSE = re.compile(r"\S.*?(?=; |\n|[.?] (?=[A-Z`])|$)", re.DOTALL)


def find_fix(text: str) -> str:
    """Return the part of a message that states what to do; empty if there is none.

    It starts at the instruction in the last clause that contains one, and includes the clauses directly before it that
    consist of an instruction only. Clauses end at a semicolon, a full stop or a newline outside of parentheses.
    """
    # Full stops of commands and parentheses, innermost first, are masked with as many characters, so that positions
    # stay those of the text.
    masked, before = re.sub("`[^`]*`", lambda match: match[0].replace(". ", "_ "), text), ""
    while masked != before:
        masked, before = re.sub(r"\([^()]*\)", lambda match: "_" * len(match[0]), masked), masked
    start = end = 0
    for clause in reversed(list(_CLAUSE.finditer(masked))):
        begin = clause.start() + (2 if clause[0].startswith(("; ", ". ", "? ")) else 0)
        instruction = _INSTRUCTION.match(masked, begin, clause.end())
        if end and (instruction is None or instruction.start(1) > begin):
            break
        if instruction:
            start, end = instruction.start(1), end or clause.end()
    return text[start:end]


class BuilderError(Exception):
    """Base of all errors that are reported without a traceback."""

    exit_code: ClassVar[int] = 70

    @property
    def fix(self) -> str:
        """What to do next, as stated in the message; empty if it states nothing."""
        return find_fix(str(self))


class UsageError(BuilderError):
    """The command line is invalid, or refers to something that does not exist."""

    exit_code = 2


class ProblemsError(BuilderError):
    """Several problems of one input, reported together; of very many, the first ones and the number of the others."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        if len(problems) > _MOST_PROBLEMS + 1:  # the last line of an error that is raised again stays as it is
            more = f"and {len(problems) - _MOST_PROBLEMS:,} more problems"
            problems = [*problems[:_MOST_PROBLEMS], more]
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)

    @property
    def fix(self) -> str:
        """What to do next about each problem, a line each."""
        return "\n".join(dict.fromkeys(filter(None, map(find_fix, self.problems))))


class ConfigError(ProblemsError):
    """A config file: each problem is ``file:line: key.path: what is wrong; what is expected``."""


class BundleError(ProblemsError):
    """A bundle: each problem contains the file and the array or the key."""


class ExportError(BuilderError):
    """A trained model has a part that a bundle cannot represent, or an argument of the export is missing or invalid."""

    exit_code = 2


class LibraryError(BuilderError):
    """A library that a model requires to predict is not installed, or cannot be loaded.

    Attributes:
        library: Its name; None if it is not known which one of several it is.
    """

    exit_code = 2

    def __init__(self, text: str, *, library: str | None = None) -> None:
        super().__init__(text)
        self.library = library


class DataError(ProblemsError):
    """Live data that cannot be read, or does not have what the model requires."""


class ArtifactError(BuilderError):
    """``dist/NAME`` is missing, incomplete, was edited after the build, or contains what this tool does not write."""

    exit_code = 2


class FileTypeError(ArtifactError):
    """A file of ``dist/NAME`` is a link, a device, a folder in place of a file, or too large."""


class LockError(BuilderError):
    """A lock file cannot be created or locked: permissions, a full disk, a file system without locks."""

    exit_code = 2


class EngineError(BuilderError):
    """The container engine does not answer, or a request to it failed."""

    exit_code = 3


class BuildError(EngineError):
    """A step of the Dockerfile failed; the message ends with what that step printed."""


class EngineChoiceError(EngineError):
    """The engine that the user chose is not found or does not answer; it is not replaced by another one."""


class ImageError(BuilderError):
    """The runner image is not available, or is not a runner image."""

    exit_code = 3


class ImageNotFoundError(ImageError):
    """The registry answers, but does not have the tag or digest."""


class NetworkError(BuilderError):
    """A registry or an API does not answer, or answers with an error."""

    exit_code = 4


class UnavailableError(NetworkError):
    """No answer came, or one that leaves the outcome of the request unknown.

    Attributes:
        what: What went wrong, without the remedy: for callers that know a better one.
        remedy: What to do next.
        sent: The request may have arrived, and so may have been carried out.
        after: Seconds to wait before the next attempt, from the server's Retry-After; 0 if there is none.
        unresolved: The host's name does not resolve.
        attempt: The number of attempts so far.
    """

    attempt = 1

    def __init__(
        self, what: str, *, sent: bool, remedy: str = "", after: float = 0.0, unresolved: bool = False
    ) -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what, self.remedy, self.sent, self.after, self.unresolved = what, remedy, sent, after, unresolved

    def is_last(self, attempt: int, attempts: int) -> bool:
        """Return whether no attempt follows this one (counted from 1); a name that does not resolve gets two."""
        return attempt >= (min(attempts, _RESOLVE_ATTEMPTS) if self.unresolved else attempts)

    @property
    def fix(self) -> str:
        """What to do next."""
        return self.remedy or super().fix


class LoginError(NetworkError):
    """The login for a registry cannot be read; a request that requires no login still succeeds."""


class ApiError(NetworkError):
    """The tournament's API answered with an error; the message quotes it."""


class TokenError(ApiError):
    """The token is missing, unknown to the API, or without a required scope."""


class RefusedError(BuilderError):
    """A rule of this tool forbids the operation, or the user did not confirm it."""

    exit_code = 5
