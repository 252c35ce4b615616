"""What an engine prints during a build."""

from __future__ import annotations

import re

_MAX_LENGTH = 1 << 20
_BUILDER_LINES = (" --->", "Removing intermediate container ")  # printed by the builder, not by a step

COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")
"""The classic builder colors a step's standard error; the reset code comes in front of the next line of output."""


class Tail:
    """The end of a text that comes in pieces: at most :data:`_MAX_LENGTH` characters."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def add(self, text: str) -> None:
        """Append a piece."""
        self._pieces.append(text)
        self._length += len(text)
        if self._length > 2 * _MAX_LENGTH:
            self._pieces = [str(self)]
            self._length = len(self._pieces[0])

    def __str__(self) -> str:
        return "".join(self._pieces)[-_MAX_LENGTH:]


def format_build_error(step: str, log: str, error: str) -> str:
    """Return a message with the step that failed and the last lines that it printed."""
    since = log.rpartition(step)[2] if step else ""
    printed = [line for line in since.splitlines() if line.strip() and not line.startswith(_BUILDER_LINES)][-20:]
    where = step or "before the first step"
    return "\n".join([f"the build failed at {where}: {error.strip()}", *(f"    {line}" for line in printed)])
