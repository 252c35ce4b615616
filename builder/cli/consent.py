"""A person's yes, before something of theirs is changed at the tournament."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import errors
from builder.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence


def ask(question: str, facts: Sequence[str], *, yes: bool, in_full: bool = False) -> None:
    """Show what follows and have it confirmed.

    Args:
        question: What is to be done, as a question.
        facts: What is replaced, and what follows; a line each.
        yes: It was confirmed on the command line: the facts are shown and nothing is asked.
        in_full: Money hangs on it: only the whole word is a yes, and Enter is none.

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
    confirm = terminal.confirm_in_full if in_full else terminal.confirm
    if not confirm(question):
        raise errors.RefusedError("not confirmed; nothing was changed")
