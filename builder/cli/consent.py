"""A person's yes, before something of theirs is changed at the tournament."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import errors
from builder.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence


def ask(question: str, facts: Sequence[str], *, yes: bool) -> None:
    """Show what follows and have it confirmed.

    Args:
        question: What is to be done, as a question.
        facts: What is replaced, and what follows; a line each.
        yes: It was confirmed on the command line: the facts are shown and nothing is asked.

    Raises:
        errors.RefusedError: The person said no, or nobody is there to say yes.
    """
    for line in facts:
        terminal.tell(f"  {line}")
    if yes:
        return
    if not terminal.watched():
        raise errors.RefusedError(
            f"{question} Nobody is at the terminal to say so; with --yes it is done without asking"
        )
    if not terminal.confirm(question):
        raise errors.RefusedError("not confirmed; nothing was changed")
