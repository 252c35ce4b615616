"""What an upload would do, where to, and what follows from yes: read in full before anything is changed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import tournament
from builder.text import sanitize
from builder.tournament import status, times

if TYPE_CHECKING:
    from builder.build.artifact import Artifact
    from builder.tournament import DataVersion, DockerImage, Round, Slot, UploadedPickle


@dataclass(frozen=True, kw_only=True)
class UploadRequest:
    """What a person asks for.

    Attributes:
        made: The pickle.
        slot: Name or id of the slot.
        data_version: Such as ``v5.2``.
        create: Make the slot where there is none of this name.
        clear_webhook: Take the slot's webhook away.
        trigger: Have it run once it is assigned.
        again: Send it anew even if the tournament has it and it failed there.
        compare: Compare with what the slot runs now.
    """

    artifact: Artifact
    slot: str
    data_version: str
    create: bool = False
    clear_webhook: bool = False
    trigger: bool = False
    again: bool = False
    compare: bool = True


@dataclass(frozen=True, kw_only=True)
class UploadPlan:
    """All that would be done.

    Attributes:
        account: Name of the account.
        slot: None: it is to be made.
        name: The slot's name.
        slots: How many slots the account has, and may have, where that is known.
        image: The tournament's image that the pickle was made in.
        ref: Its reference, with the tag.
        existing: An upload of this very pickle for this image and data version, which is used.
        round: The current round as far as the API names one.
        now: When it was read.
        notes: What a person should know besides.
        likeness: How much its predictions are like those of what the slot runs now; nothing where it runs nothing.
        also: Other slots that run this pickle: equal bytes share one record, and a run may submit for each of them.
    """

    request: UploadRequest
    account: str
    slot: Slot | None
    name: str
    slots: tuple[int, int | None]
    image: DockerImage
    ref: str
    data_version: DataVersion
    existing: UploadedPickle | None
    round: Round | None
    now: dt.datetime
    notes: tuple[str, ...]
    similarity: str = ""
    other_slots: tuple[Slot, ...] = ()

    @property
    def filename(self) -> str:
        """The name that the pickle is sent under: it carries the hash."""
        recorded = self.request.artifact.manifest
        return f"{recorded.name}-{recorded.pickle.sha256[:12]}.pkl"

    @property
    def is_round_open(self) -> bool:
        """Tell whether registering runs it for a round at once."""
        return self.round is not None and self.round.is_open(self.now)

    @property
    def orders_run(self) -> bool:
        """Tell whether the tournament is to run it at once: registering does that, and so does a trigger."""
        return self.existing is None or self.request.trigger

    @property
    def runs_now(self) -> bool:
        """Tell whether it is run for an open round."""
        return self.is_round_open and self.orders_run

    @property
    def staked(self) -> tuple[Slot, ...]:
        """Every slot with a stake that this touches: its own, and those that a run may submit for too."""
        touched = (*((self.slot,) if self.slot else ()), *(self.other_slots if self.orders_run else ()))
        return tuple(slot for slot in touched if slot.stake)

    def exceeds(self, agreed: UploadPlan) -> bool:
        """Tell whether more follows from it than from what a person agreed to: a stake, or a round that is open."""
        stakes, known = ({(slot.id, slot.stake) for slot in plan.staked} for plan in (self, agreed))
        return not stakes <= known or (self.runs_now and not agreed.runs_now)

    @property
    def is_done(self) -> bool:
        """Tell whether the slot runs this pickle already."""
        return bool(self.existing and self.slot and self.slot.pickle and self.slot.pickle.id == self.existing.id)

    @property
    def is_known_bad(self) -> bool:
        """Tell whether the upload that is used failed its validation: it is not assigned, then."""
        return not self.is_done and self.existing is not None and status.judge_validation(self.existing) is False

    @property
    def clears_webhook(self) -> bool:
        """Tell whether the slot's webhook is taken away."""
        return bool(self.request.clear_webhook and self.slot and self.slot.webhook)

    @property
    def changes_nothing(self) -> bool:
        """Tell whether there is nothing to agree to."""
        return self.is_done and not self.request.trigger and not self.clears_webhook

    def lines(self) -> list[str]:
        """Return all of it for a person."""
        artifact = self.request.artifact
        slot = self.slot
        before = describe_pickle(slot.pickle) if slot and slot.pickle else "no pickle"
        taken, most = self.slots
        kind = "existing model" if slot else f"NEW model, number {taken + 1}" + (f" of {most}" if most else "")
        lines = [
            f"deploy   {artifact.pickle} ({artifact.manifest.pickle.size:,} bytes, sha256 {artifact.manifest.pickle.sha256})",
            f"to       {sanitize(self.name)} ({kind}), account {sanitize(self.account)}",
            f"image    {sanitize(self.image.name)}, {self.ref}, {artifact.manifest.image.identity[:19]}...",
            f"data     {self.request.data_version}",
            f"runs now {before}",
        ]
        if self.similarity:
            lines.append(f"alike    {self.similarity}")
        lines += [f"{'does' if index == 0 else '':9}{text}" for index, text in enumerate(self._steps())]
        lines += [f"{'follows' if index == 0 else '':9}{text}" for index, text in enumerate(self._consequences())]
        return [*lines, *(f"note     {note}" for note in self.notes)]

    def _steps(self) -> list[str]:
        steps = [] if self.slot else [f"makes the slot {sanitize(self.name)}, which can be archived, not deleted"]
        if self.clears_webhook:
            steps.append("takes the slot's webhook away; another machine is no longer called in each round")
        if self.existing is None:
            steps.append(f"sends it as {self.filename}, registers it, waits for the tournament's validation")
        elif tournament.judge_status(self.existing.validation) is not None:
            steps.append(
                f"uses the upload that is there: {describe_pickle(self.existing)}, {sanitize(self.existing.validation)}"
            )
        else:
            steps.append(f"goes on with the upload that is there: {describe_pickle(self.existing)}")
        if self.is_known_bad:
            return [*steps, "does not assign it, as it failed there; `--again` (make: AGAIN=1) sends it once more"]
        if self.is_done:
            steps.append("finds it assigned already")
        else:
            steps.append(
                "assigns it, and reads that back from the slot; on any failure the slot gets back what it runs now"
            )
        return [*steps, "has the tournament run it, once"] if self.request.trigger else steps

    def _consequences(self) -> list[str]:
        if self.is_known_bad:
            return [
                f"the slot goes on to run {describe_pickle(self.slot.pickle) if self.slot and self.slot.pickle else 'no pickle'}"
            ]
        follows = [self._run_line(), *(self._also_line(slot) for slot in self.other_slots)]
        if not self.is_done:
            follows.append("each round from now on is submitted by this pickle, at the tournament")
        if not (self.slot and self.slot.pickle):
            follows.append("the slot takes no submissions over the API any more, until the pickle is disabled")
        follows.append("Numerai can unpickle and read the model")
        if not self.is_done:
            follows.append(f"back: `python -m builder rollback {sanitize(self.name)}`")
        return follows

    def _run_line(self) -> str:
        stake = f", with the slot's stake of {sanitize(self.slot.stake)}" if self.slot and self.slot.stake else ""
        later = stake and f"; later rounds{stake}"
        if not self.orders_run:
            trigger = "; `--trigger` (make: TRIGGER=1) runs it for this round" if self.is_round_open else ""
            return f"no new run is ordered; {times.describe_round(self.round, self.now)}{later}{trigger}"
        if self.is_round_open and self.round is not None:
            final = ": a staked submission, which no rollback takes back" if stake else ""
            until = times.format_time(self.round.close_time, self.now)
            return f"it is run for round {self.round.number}, which is open until {until}{stake}{final}"
        return f"it is run to be validated; {times.describe_round(self.round, self.now)}{later}"

    def _also_line(self, slot: Slot) -> str:
        stake = f", which has a stake of {sanitize(slot.stake)}" if slot.stake else ""
        submits = "the run may submit for that too" if self.orders_run else "nothing changes there"
        final = ", and no rollback takes a staked submission back" if stake and self.orders_run else ""
        return f"this pickle runs in {sanitize(slot.name)} as well{stake}: {submits}{final}"

    def data(self) -> dict[str, Any]:
        """Return all of it for a program."""
        artifact = self.request.artifact.manifest
        return {
            "account": self.account,
            "slot": {
                "name": self.name,
                "id": self.slot.id if self.slot else None,
                "new": self.slot is None,
                "stake": self.slot.stake if self.slot else "",
                "runs": self.slot.pickle.id if self.slot and self.slot.pickle else None,
            },
            "pickle": {"sha256": artifact.pickle.sha256, "size": artifact.pickle.size, "filename": self.filename},
            "image": {"id": self.image.id, "ref": self.ref, "digest": artifact.image.identity},
            "data_version": {"id": self.data_version.id, "name": self.request.data_version},
            "existing": self.existing.id if self.existing else None,
            "clears_webhook": self.clears_webhook,
            "triggers": self.request.trigger,
            "done": self.is_done,
            "round": {
                "number": self.round.number,
                "open": self.is_round_open,
                "open_time": self.round.open_time,
                "close_time": self.round.close_time,
            }
            if self.round
            else None,
            "runs_now": self.runs_now,
            "also": [{"name": slot.name, "id": slot.id, "stake": slot.stake} for slot in self.other_slots],
            "follows": self._consequences(),
            "likeness": self.similarity,
            "notes": list(self.notes),
        }


def describe_pickle(pickle: UploadedPickle) -> str:
    """Return what a pickle is called, for messages."""
    return f"{sanitize(pickle.filename)} ({pickle.id})"
