"""``trigger``: run a pickle now."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import TYPE_CHECKING, Annotated

from typer import Option

from builder import tournament
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
    validation: Annotated[bool, Option("--validation", help="validate it again too")] = False,
    wait: Wait = 3600.0,
    yes: Yes = False,
    json_wanted: Json = False,
) -> int:
    """Have a pickle run now."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        slot_or_pickle = slots.find_slot_or_pickle(api, name)
        slot = slot_or_pickle if isinstance(slot_or_pickle, tournament.Slot) else None
        pickle = pickle_argument.resolve_pickle(api, slot_or_pickle, assigned=True)
        follows = _look_ahead(api, pickle, slot)
        where = [slot] if slot else follows.slots
        if all(model_slot.archived for model_slot in where):
            for model_slot in where:
                slots.check_usable(model_slot)
        follows = _agree(api, follows, slot, validation=validation, yes=yes)
        failure = None
        with assign.report_slots_on_interrupt(api, [model_slot.id for model_slot in follows.slots]):
            run = _begin(api, pickle, slot, validation=validation)
            if run is not None and wait:
                run, failure = _wait(api, pickle, run, wait, progress)
    if json_wanted:
        touched = [
            {"id": model_slot.id, "name": model_slot.name, "stake": model_slot.stake} for model_slot in follows.slots
        ]
        data = {"run": dataclasses.asdict(run) if run else None, "failure": failure.data() if failure else None}
        print(json.dumps({"format": 1, "pickle": pickle.id, "slots": touched, **data}))
    else:
        _tell_run(pickle, run, failure)
    return 1 if failure else 0


def _wait(
    api: tournament.Tournament,
    pickle: tournament.UploadedPickle,
    run: tournament.Run,
    seconds: float,
    progress: Progress,
) -> tuple[tournament.Run, waiting.ExplainedFailure | None]:
    """Wait until a run has ended; return it, and why it failed if it did."""
    policy = waiting.PollPolicy(total=seconds)
    resume = "triggering it again would begin another run"
    ended = waiting.wait_for_run(api, pickle.id, run.id, progress, policy, resume=resume)
    return ended, waiting.explain_run_failure(api, pickle, ended) if status.judge_run(ended) is False else None


def _tell_run(
    pickle: tournament.UploadedPickle, run: tournament.Run | None, failure: waiting.ExplainedFailure | None
) -> None:
    if run is None:
        print(f"triggered; the run is not listed yet: `python -m builder logs {pickle.id}` will show it")
        return
    print(f"{'FAILED' if failure else 'triggered'}: run {run.id}, {sanitize(run.status) or 'no status yet'}")
    if failure:
        terminal.print_table(failure.rows())
    else:
        for text in run.descriptions:
            print(f"  {sanitize(text)}")
    print(f"  what it prints: python -m builder logs {run.id}")


def _begin(
    api: tournament.Tournament, pickle: tournament.UploadedPickle, slot: tournament.Slot | None, *, validation: bool
) -> tournament.Run | None:
    """Order a run, once: each would be one of its own. Returns it; None where it is not listed yet.

    Raises:
        errors.UnavailableError: The answer was lost, and no new run is listed.
    """
    try:
        return runs.start_run(api, pickle, slot.id if slot else None, validation=validation)
    except KeyboardInterrupt as stopped:
        stopped.add_note(
            f"whether a run was begun is not known: `python -m builder logs {pickle.id}` names the newest; look before "
            "another is begun"
        )
        raise


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Follows:
    """What a run of a pickle touches.

    Attributes:
        slots: All that it may submit for, whichever it is triggered for.
        now: The API's time when this was read.
    """

    pickle: tournament.UploadedPickle
    slots: Sequence[tournament.Slot]
    round: tournament.Round | None
    now: dt.datetime

    @property
    def open_round(self) -> int | None:
        """The number of the round that is open, or None."""
        return self.round.number if self.round is not None and self.round.is_open(self.now) else None

    def exceeds(self, agreed: _Follows) -> bool:
        """Tell whether more follows from it now than a person agreed to: a stake, or a round."""
        stakes, known = (
            {(model_slot.id, model_slot.stake) for model_slot in follows.slots if model_slot.stake}
            for follows in (self, agreed)
        )
        return not stakes <= known or self.open_round not in {None, agreed.open_round}

    def lines(self, *, validation: bool) -> list[str]:
        """Return all of it for a person."""
        pickle = self.pickle
        names = ", ".join(sanitize(slot.name) for slot in self.slots) or "its slot"
        lines = [
            f"pickle   {listing.pickle_line(pickle)} ({pickle.id}), for {names}",
            f"round    {times.describe_round(self.round, self.now)}",
        ]
        if status.judge_validation(pickle) is not True:
            message = sanitize(pickle.validation) or "nothing"
            lines.append(
                f"note     its validation says {message!r}: `python -m builder why {pickle.id}` says what that means"
            )
        each = f" for each of {names}" if len(self.slots) > 1 else ""
        if self.open_round is None:
            lines.append("follows  a run that submits nothing: no round is open")
        else:
            lines.append(
                f"follows  a submission for round {self.open_round}{each}, which takes the place of an earlier one"
            )
        staked = ", ".join(f"{sanitize(slot.name)} {sanitize(slot.stake)}" for slot in self.slots if slot.stake)
        if staked and self.open_round is None:
            lines.append(f"STAKE    {staked}: a submission would be staked, should a round open meanwhile")
        elif staked:
            lines.append(f"STAKE    {staked}: that submission is staked, and nothing takes it back")
        if validation:
            lines.append("         its validation begins again: until it has passed, it counts as not validated")
        return lines


def _look_ahead(
    api: tournament.Tournament, pickle: tournament.UploadedPickle, slot: tournament.Slot | None
) -> _Follows:
    """Read which slots a run touches and which round is open.

    Args:
        api: The tournament.
        pickle: What is run.
        slot: What it is run for; None for any slot that runs it, else the slot that it was uploaded for.
    """
    account = api.get_account()
    current, now = api.get_round()
    where = slots.find_slots_running(account, pickle)
    if slot or not where:
        named = slot.id if slot else pickle.owner
        where += [model_slot for model_slot in account.slots if model_slot.id == named and model_slot not in where]
    return _Follows(pickle=pickle, slots=where, round=current, now=now)


def _agree(
    api: tournament.Tournament, follows: _Follows, slot: tournament.Slot | None, *, validation: bool, yes: bool
) -> _Follows:
    """Have a run confirmed, again if more follows from it by the time of the answer; return what was agreed to."""
    while True:
        stakes = confirmation.format_stakes(follows.slots, confirmation.format_run(follows.open_round))
        question = f"Run {listing.pickle_line(follows.pickle)} now?"
        confirmation.ask(question, follows.lines(validation=validation), yes=yes, stakes=stakes)
        now = follows if yes else _look_ahead(api, follows.pickle, slot)
        if not now.exceeds(follows):
            return follows
        terminal.tell("a round has opened or a stake has come meanwhile, so that more follows from it:")
        follows = now
