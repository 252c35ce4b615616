"""``trigger``: starts a run of a pickle now, outside of the tournament's schedule."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Annotated

from typer import Option

from builder import commands, tournament
from builder.cli import api_session, confirmation, listing, pickle_argument, terminal
from builder.cli.parameters import Json, SlotOrPickle, Wait, Yes
from builder.text import sanitize
from builder.tournament import slots, status, times
from builder.upload import assign, runs, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.progress import Progress


def run(
    *,
    name: SlotOrPickle,
    validation: Annotated[bool, Option("--validation", help="also validate the pickle again")] = False,
    wait: Wait = 3600.0,
    yes: Yes = False,
    json_wanted: Json = False,
) -> int:
    """Start a run of a pickle now."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        slot_or_pickle = slots.find_slot_or_pickle(api, name)
        slot = slot_or_pickle if isinstance(slot_or_pickle, tournament.Slot) else None
        pickle = pickle_argument.resolve_pickle(api, slot_or_pickle, assigned=True)
        effects = _read_effects(api, pickle, slot)
        targets = [slot] if slot else effects.slots
        if all(target.archived for target in targets):
            for target in targets:
                slots.check_usable(target)
        effects = _confirm(api, effects, slot, validation=validation, yes=yes)
        failure = None
        with assign.report_slots_on_interrupt(api, [affected.id for affected in effects.slots]):
            run = _start(api, pickle, slot, validation=validation)
            if run is not None and wait:
                run, failure = _wait(api, pickle, run, wait, progress)
    if json_wanted:
        affected_slots = [{"id": item.id, "name": item.name, "stake": item.stake} for item in effects.slots]
        data = {"run": dataclasses.asdict(run) if run else None, "failure": failure.data() if failure else None}
        terminal.print_json({"format": 1, "pickle": pickle.id, "slots": affected_slots, **data})
    else:
        _print_run(pickle, run, failure)
    return 1 if failure else 0


def _wait(
    api: tournament.Tournament,
    pickle: tournament.UploadedPickle,
    run: tournament.Run,
    seconds: float,
    progress: Progress,
) -> tuple[tournament.Run, waiting.ExplainedFailure | None]:
    """Wait until a run has ended; return it, with an explanation if it failed."""
    policy = waiting.PollPolicy(total=seconds)
    resume = "triggering it again would start another run"
    ended = waiting.wait_for_run(api, pickle.id, run.id, progress, policy, resume=resume)
    return ended, waiting.explain_run_failure(api, pickle, ended) if status.judge_run(ended) is False else None


def _print_run(
    pickle: tournament.UploadedPickle, run: tournament.Run | None, failure: waiting.ExplainedFailure | None
) -> None:
    if run is None:
        terminal.print_lines(
            f"triggered; the run is not listed yet; `{commands.suggest_plain('logs', pickle.id)}` shows it later"
        )
        return
    terminal.print_lines(
        f"{'FAILED' if failure else 'triggered'}: run {run.id}, {sanitize(run.status) or 'no status yet'}"
    )
    if failure:
        terminal.print_table(failure.rows())
    else:
        for text in run.descriptions:
            terminal.print_lines(f"  {sanitize(text)}")
    terminal.print_lines(f"  its output: {commands.suggest_plain('logs', run.id)}")


def _start(
    api: tournament.Tournament, pickle: tournament.UploadedPickle, slot: tournament.Slot | None, *, validation: bool
) -> tournament.Run | None:
    """Start a run, without retries, because each request starts another; return None if the run is not listed yet.

    Raises:
        errors.UnavailableError: The response was lost, and no new run is listed.
    """
    try:
        return runs.start_run(api, pickle, slot.id if slot else None, validation=validation)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(
            f"could not confirm that a run was started; check with "
            f"`{commands.suggest_plain('logs', pickle.id)}` before starting another"
        )
        raise


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Effects:
    """What a run of a pickle affects.

    Attributes:
        slots: All slots that it may submit for, also if it is triggered for one of them.
        now: The API's time when the slots and the round were read.
    """

    pickle: tournament.UploadedPickle
    slots: Sequence[tournament.Slot]
    round: tournament.Round | None
    now: dt.datetime

    @property
    def open_round(self) -> int | None:
        """The number of the open round, or None."""
        return self.round.number if self.round is not None and self.round.is_open(self.now) else None

    def exceeds(self, agreed: _Effects) -> bool:
        """Return whether there are more effects than the user agreed to: a stake or an open round."""
        stakes, agreed_stakes = (
            {(slot.id, slot.stake) for slot in effects.slots if slot.stake} for effects in (self, agreed)
        )
        return not stakes <= agreed_stakes or self.open_round not in {None, agreed.open_round}

    def lines(self, *, validation: bool) -> list[str]:
        """Return the effects as lines of text for a person."""
        pickle = self.pickle
        names = ", ".join(sanitize(slot.name) for slot in self.slots) or "its slot"
        lines = [
            f"pickle   {listing.pickle_line(pickle)} ({pickle.id}), for {names}",
            f"round    {times.describe_round(self.round, self.now)}",
        ]
        if status.judge_validation(pickle) is not True:
            status_text = sanitize(pickle.validation) or "none"
            lines.append(
                f"note     its validation status is {status_text!r}; "
                f"`{commands.suggest_plain('why', pickle.id)}` explains it"
            )
        each = f" for each of {names}" if len(self.slots) > 1 else ""
        if self.open_round is None:
            lines.append("effects  a run that submits nothing: no round is open")
        else:
            lines.append(f"effects  a submission for round {self.open_round}{each}, which replaces an earlier one")
        staked = ", ".join(f"{sanitize(slot.name)} {sanitize(slot.stake)}" for slot in self.slots if slot.stake)
        if staked and self.open_round is None:
            lines.append(f"STAKE    {staked}: a submission is staked if a round opens in the meantime")
        elif staked:
            lines.append(f"STAKE    {staked}: that submission is staked, and cannot be undone")
        if validation:
            lines.append("         its validation starts again; until it passes, the pickle is not valid")
        return lines


def _read_effects(
    api: tournament.Tournament, pickle: tournament.UploadedPickle, slot: tournament.Slot | None
) -> _Effects:
    """Read which slots a run touches and which round is open.

    Args:
        api: The tournament.
        pickle: The pickle to run.
        slot: The slot to run it for; None for all slots that run it, or else for the slot that it was uploaded for.
    """
    account = api.get_account()
    current, now = api.get_round()
    affected = slots.find_slots_running(account, pickle)
    if slot or not affected:
        slot_id = slot.id if slot else pickle.owner
        affected += [item for item in account.slots if item.id == slot_id and item not in affected]
    return _Effects(pickle=pickle, slots=affected, round=current, now=now)


def _confirm(
    api: tournament.Tournament, effects: _Effects, slot: tournament.Slot | None, *, validation: bool, yes: bool
) -> _Effects:
    """Ask the user to confirm a run, again if its effects have grown since; return the confirmed effects."""
    while True:
        stakes = confirmation.format_stakes(effects.slots, confirmation.format_run(effects.open_round))
        question = f"Run {listing.pickle_line(effects.pickle)} now?"
        confirmation.ask(question, effects.lines(validation=validation), yes=yes, stakes=stakes)
        now = effects if yes else _read_effects(api, effects.pickle, slot)
        if not now.exceeds(effects):
            return effects
        terminal.show("in the meantime a round opened or a stake was added; the effects are now:")
        effects = now
