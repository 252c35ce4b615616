"""Every error this tool raises on purpose, and the exit code of each.

A message says what is wrong, where, and what to do next; only ``builder.cli`` prints it::

    BuilderError
    ├── UsageError      2    the command line
    ├── ConfigError     2    a config file
    ├── BundleError     2    a model bundle
    ├── ExportError     2    a trained model that cannot be expressed
    ├── LibraryError    2    a library that predicting takes is not installed, or does not load
    ├── DataError       2    live data to predict on
    ├── ArtifactError   2    dist/NAME: absent, cut short, edited, or not what this tool writes
    │   └── FileTypeError  2  a file there is a link, a device, too large, or one too many
    ├── LockError       2    a lock file that cannot be created or locked
    ├── EngineError     3    the container engine
    │   ├── BuildError  3    a step of the Dockerfile failed
    │   └── EngineChoiceError  3  the engine that a person chose cannot be used
    ├── ImageError      3    the runner image
    │   └── ImageNotFoundError  3  its registry does not have the tag or digest
    ├── NetworkError    4    a registry or an API
    │   ├── LoginError  4    what `docker login` keeps for a registry cannot be read
    │   ├── UnavailableError  4    no answer: it may or may not have been carried out
    │   └── ApiError    4    the tournament's API says no, in its own words
    │       └── TokenError  4    it requires another token, or a scope that this one does not have
    └── RefusedError    5    policy, or not confirmed

Findings (a validation that fails, a rebuild that differs) are values, not errors: exit code 1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


_RESOLVE_ATTEMPTS = 2
"""A misspelt name stays misspelt, and a computer without a network stays without: longer waits do not help."""


# A clause that says what to do begins with one of these, or with a command.
_IMPERATIVES = (
    *(
        "archive",
        "ask",
        "build",
        "call",
        "change",
        "check",
        "choose",
        "convert",
        "copy",
        "create",
        "export",
        "expected",
    ),
    *(
        "fetch",
        "fill",
        "fix",
        "free",
        "get",
        "give",
        "install",
        "join",
        "keep",
        "leave",
        "list",
        "load",
        "look",
        "make",
    ),
    *(
        "move",
        "name",
        "pass",
        "pin",
        "pull",
        "put",
        "remove",
        "rename",
        "repair",
        "replace",
        "report",
        "restart",
    ),
    *("review", "run", "say", "see", "select", "send", "set", "shorten", "split", "start", "stop", "store", "take"),
    *("add", "close", "compute", "define", "indent", "omit", "quote", "save", "seed", "unarchive"),
    *("train", "type", "unlock", "unset", "update", "upload", "use", "wait", "write"),
)
_INSTRUCTION = re.compile(
    r"(?:.*?: )??((?:(?:else|or|then|and|to),? )*"
    rf"(?:(?i:{'|'.join(_IMPERATIVES)})\b(?![:=])|did you mean |`(?:make|python -m builder|numerai-builder|docker)\b))"
)
_CLAUSE = re.compile(r"\S.*?(?=; |\n|[.?] (?=[A-Z`])|$)", re.DOTALL)


def find_fix(text: str) -> str:
    """Return the part of a message that says what to do next; empty if it has none.

    It is the last clause with an instruction in it, from there on, and those clauses before it that are nothing else.
    A clause ends outside of parentheses, with a semicolon, a sentence or a line.
    """
    masked, before = text, ""
    while masked != before:
        masked, before = re.sub(r"\([^()]*\)", lambda found_match: "_" * len(found_match[0]), masked), masked
    start = end = 0
    for clause in reversed(list(_CLAUSE.finditer(masked))):
        at = clause.start() + (2 if clause[0].startswith(("; ", ". ", "? ")) else 0)
        found_match = _INSTRUCTION.match(masked, at, clause.end())
        if end and (found_match is None or found_match.start(1) > at):
            break
        if found_match:
            start, end = found_match.start(1), end or clause.end()
    return text[start:end]


class BuilderError(Exception):
    """Base of all errors a user can cause or meet."""

    exit_code: ClassVar[int] = 70

    @property
    def fix(self) -> str:
        """What to do next, as the message says it; empty if it does not."""
        return find_fix(str(self))


class UsageError(BuilderError):
    """The command line asks for something that does not exist."""

    exit_code = 2


class ProblemsError(BuilderError):
    """Several problems of one input, reported together."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)

    @property
    def fix(self) -> str:
        """What to do next if there is a single problem; else empty."""
        return super().fix if len(self.problems) == 1 else ""


class ConfigError(ProblemsError):
    """A config file: each problem is ``file:line: key.path: what is wrong; what would be right``."""


class BundleError(ProblemsError):
    """A bundle: each problem contains the file and the array or the key."""


class ExportError(BuilderError):
    """A trained model has a part that no bundle can hold, or comes without what an export takes."""

    exit_code = 2


class LibraryError(BuilderError):
    """A library that this model takes to predict is not installed here, or does not load.

    Attributes:
        library: Its name; None where several may be meant.
    """

    exit_code = 2

    def __init__(self, text: str, *, library: str | None = None) -> None:
        super().__init__(text)
        self.library = library


class DataError(ProblemsError):
    """Live data that cannot be read, or does not have what the model requires."""


class ArtifactError(BuilderError):
    """``dist/NAME`` is absent, was cut short, was edited after the build, or holds what this tool does not write."""

    exit_code = 2


class FileTypeError(ArtifactError):
    """A file of ``dist/NAME`` is a link, a device, a folder in place of a file, or too large."""


class LockError(BuilderError):
    """A lock file cannot be created or locked: permissions, a full disk, a file system without locks."""

    exit_code = 2


class EngineError(BuilderError):
    """No engine answers, or it could not do what was asked."""

    exit_code = 3


class BuildError(EngineError):
    """A step of the Dockerfile failed; the message ends with what that step printed."""


class EngineChoiceError(EngineError):
    """The engine that a person chose cannot be found or does not answer; no other one takes its place."""


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
        what: What went wrong, without what to do next: for who knows better what that is.
        remedy: What to do next.
        sent: The request may have arrived, so that what it asks for may have been done.
        after: Seconds that the server asks to wait before it is asked again, within reason.
        unresolved: The host's name does not resolve.
        attempt: How many times it was sent.
    """

    attempt = 1

    def __init__(
        self, what: str, *, sent: bool, remedy: str = "", after: float = 0.0, unresolved: bool = False
    ) -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what, self.remedy, self.sent, self.after, self.unresolved = what, remedy, sent, after, unresolved

    def is_last(self, attempt: int, attempts: int) -> bool:
        """Tell whether to give up after an attempt (from 1) of so many: a name that does not resolve gets two."""
        return attempt >= (min(attempts, _RESOLVE_ATTEMPTS) if self.unresolved else attempts)

    @property
    def fix(self) -> str:
        """What to do next."""
        return self.remedy or super().fix


class LoginError(NetworkError):
    """There may be a login for a registry, and it cannot be read; only what requires a login fails by it."""


class ApiError(NetworkError):
    """The tournament's API answered with an error; the message has its words."""


class TokenError(ApiError):
    """The token is missing, unknown to the API, or without a required scope."""


class RefusedError(BuilderError):
    """Policy forbids it, or the person did not confirm."""

    exit_code = 5
