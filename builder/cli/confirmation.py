"""Asks the user to confirm a change at the tournament."""

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
    """Show the consequences of a change and ask the user to confirm it.

    Args:
        question: The change, as a question.
        facts: What is replaced and the consequences; one line each.
        yes: ``--yes`` was passed: show the facts without asking.
        stakes: What :func:`format_stakes` returned; each must be confirmed by typing ``yes`` in full.

    Raises:
        errors.RefusedError: The user declined, or there is no terminal to ask at.
    """
    for line in facts:
        terminal.tell(f"  {line}")
    if yes:
        return
    if not terminal.is_interactive():
        raise errors.RefusedError(
            f"{question} Not a terminal; pass {commands.format_option('--yes')} to skip the question"
        )
    if stakes:
        ask_in_full([f"{question} {stakes[0]}", *stakes[1:]])
    elif not terminal.confirm(question):
        raise errors.RefusedError(_NOT_CONFIRMED)


def ask_about_slot(api: Tournament, slot: Slot, question: str, facts: Sequence[str], action: str, *, yes: bool) -> None:
    """Ask the user to confirm a change of one slot; ask again if its stake changed in the meantime.

    Args:
        api: The tournament.
        slot: The slot as it was read before the question.
        question: As :func:`ask` takes it.
        facts: As :func:`ask` takes them.
        action: As :func:`format_stakes` takes it.
        yes: As :func:`ask` takes it.

    Raises:
        errors.RefusedError: The user declined, or there is no terminal to ask at.
        errors.NetworkError: The slot cannot be read again.
    """
    ask(question, facts, yes=yes, stakes=format_stakes([slot], action))
    now = slot if yes else assign.read_slot(api, slot)
    if now.stake != slot.stake:
        ask_in_full(format_stakes([now], action))


def ask_in_full(prompts: Iterable[str]) -> None:
    """Ask questions about changes that cannot be undone; each needs ``yes`` typed in full.

    Raises:
        errors.RefusedError: One of the answers was not ``yes``.
    """
    if not all(map(terminal.confirm_in_full, prompts)):
        raise errors.RefusedError(_NOT_CONFIRMED)


def format_stakes(slots: Iterable[Slot], action: str) -> list[str]:
    """Return the question about each slot that has a stake.

    Args:
        slots: All slots that change.
        action: What each slot is asked to do, such as :data:`NEXT_ROUNDS`.
    """
    return [f"{sanitize(slot.name)} has a stake of {sanitize(slot.stake)}, {action}?" for slot in slots if slot.stake]


def format_run(open_round: int | None) -> str:
    """Return the action to confirm when the pickle of a slot with a stake is run now.

    Args:
        open_round: The number of the open round, or None.
    """
    return f"and round {open_round} is open: have it run for that" if open_round else "have its pickle run now"
