"""A person's yes, before something of theirs is changed at the tournament."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands, errors
from builder.cli import terminal
from builder.text import sanitize
from builder.upload import assign

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.tournament import Slot, Tournament

_NOT_CONFIRMED = "not confirmed; nothing was changed"
NEXT_ROUNDS, NO_PICKLE = "have its next rounds run by this", "have it submit nothing by itself"


def ask(question: str, facts: Sequence[str], *, yes: bool, stakes: Sequence[str] = ()) -> None:
    """Show what follows and have it confirmed.

    Args:
        question: What is to be done, as a question.
        facts: What is replaced, and what follows; a line each.
        yes: It was confirmed on the command line: the facts are shown and nothing is asked.
        stakes: What :func:`about_stakes` returned: only the whole word is a yes to each of these, and Enter is none.

    Raises:
        errors.RefusedError: The user declined, or there is no terminal to ask at.
    """
    for line in facts:
        terminal.tell(f"  {line}")
    if yes:
        return
    if not terminal.is_interactive():
        raise errors.RefusedError(f"{question} Not a terminal; pass {commands.format_option('--yes')} to do it unasked")
    if stakes:
        ask_in_full([f"{question} {stakes[0]}", *stakes[1:]])
    elif not terminal.confirm(question):
        raise errors.RefusedError(_NOT_CONFIRMED)


def ask_about_slot(api: Tournament, slot: Slot, question: str, facts: Sequence[str], what: str, *, yes: bool) -> None:
    """Have a change of one slot confirmed, and its stake by the whole word: also one that came before the answer.

    Args:
        api: The tournament.
        slot: As it was read.
        question: As :func:`ask` takes it.
        facts: As :func:`ask` takes them.
        what: As :func:`about_stakes` takes it.
        yes: As :func:`ask` takes it.

    Raises:
        errors.RefusedError: The user declined, or there is no terminal to ask at.
        errors.NetworkError: The slot cannot be read again.
    """
    ask(question, facts, yes=yes, stakes=about_stakes([slot], what))
    now = slot if yes else assign.read_slot(api, slot)
    if now.stake != slot.stake:
        ask_in_full(about_stakes([now], what))


def ask_in_full(prompts: Iterable[str]) -> None:
    """Ask what nothing takes back.

    Raises:
        errors.RefusedError: The answer to one of them was anything but the whole word.
    """
    if not all(map(terminal.confirm_in_full, prompts)):
        raise errors.RefusedError(_NOT_CONFIRMED)


def about_stakes(slots: Iterable[Slot], what: str) -> list[str]:
    """Return the question about each slot that has a stake.

    Args:
        slots: All slots that are touched.
        what: What is to be done with each, such as :data:`NEXT_ROUNDS`.
    """
    return [f"{sanitize(slot.name)} has a stake of {sanitize(slot.stake)}, {what}?" for slot in slots if slot.stake]


def about_a_run(open_round: int | None) -> str:
    """Return what is asked about a stake when its slot's pickle is run now.

    Args:
        open_round: The number of the round that is open, or None.
    """
    return f"and round {open_round} is open: have it run for that" if open_round else "have its pickle run now"
