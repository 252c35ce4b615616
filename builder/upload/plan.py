"""Describe what an upload would do and its consequences, for a person to confirm before anything is changed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import commands, tournament
from builder.text import sanitize
from builder.tournament import status, times

if TYPE_CHECKING:
    from builder.build.artifact import Artifact
    from builder.tournament import DataVersion, DockerImage, Round, Slot, UploadedPickle


@dataclass(frozen=True, kw_only=True)
class UploadRequest:
    """The options of an upload.

    Attributes:
        artifact: The pickle and its manifest.
        slot: Name or id of the slot.
        data_version: For example ``v5.3``.
        create: Create the slot if it does not exist.
        clear_webhook: Remove the slot's webhook.
        trigger: Start a run after the pickle is assigned.
        again: Send the pickle again if an earlier upload of it failed at the tournament.
        compare: Compare its predictions with those of the slot's current pickle.
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
    """What an upload would do, with all that it was derived from.

    Attributes:
        account: Name of the account.
        slot: The slot as read; None if it is to be created.
        name: The slot's name.
        slots: Number of slots that the account has, and its limit if known.
        image: The tournament's image that the pickle was built in.
        ref: The image's reference with the tag.
        existing: An upload of the same pickle for this image and data version, which is used again.
        round: The open round, else the next or last one; None if the API reports none.
        now: The API's time when the round was read.
        notes: Other facts that a person should know.
        similarity: How similar its predictions are to those of the slot's current pickle; empty if not compared.
        other_slots: Other slots that run this pickle. A run may submit for each of them, because all uploads of the
            same bytes share one registered pickle.
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
        """The name that the pickle is sent under; its digits of the hash identify the upload later."""
        manifest = self.request.artifact.manifest
        return f"{manifest.name}-{manifest.pickle.sha256[:12]}.pkl"

    @property
    def is_round_open(self) -> bool:
        """Whether a round is open, so that a run submits for it."""
        return self.round is not None and self.round.is_open(self.now)

    @property
    def orders_run(self) -> bool:
        """Whether the upload starts a run: registering a pickle does, and so does a trigger."""
        # Assigning an existing upload starts none.
        return self.existing is None or self.request.trigger

    @property
    def runs_now(self) -> bool:
        """Whether the upload starts a run for an open round."""
        return self.is_round_open and self.orders_run

    @property
    def staked(self) -> tuple[Slot, ...]:
        """The staked slots that are affected: its own, and others that the run may submit for."""
        # Its own slot also without a run: later rounds run the pickle with that stake.
        affected = (*((self.slot,) if self.slot else ()), *(self.other_slots if self.orders_run else ()))
        return tuple(slot for slot in affected if slot.stake)

    def exceeds(self, agreed: UploadPlan) -> bool:
        """Return whether it has more consequences than the plan that was agreed to: a stake or an open round."""
        # With the amounts: a stake that was raised since is another stake.
        stakes, agreed_stakes = ({(slot.id, slot.stake) for slot in plan.staked} for plan in (self, agreed))
        return not stakes <= agreed_stakes or (self.runs_now and not agreed.runs_now)

    @property
    def is_done(self) -> bool:
        """Whether the slot already runs this pickle."""
        return bool(self.existing and self.slot and self.slot.pickle and self.slot.pickle.id == self.existing.id)

    @property
    def is_known_bad(self) -> bool:
        """Whether the existing upload failed its validation, so that it will not be assigned."""
        return not self.is_done and self.existing is not None and status.judge_validation(self.existing) is False

    @property
    def clears_webhook(self) -> bool:
        """Whether the slot's webhook will be removed."""
        return bool(self.request.clear_webhook and self.slot and self.slot.webhook)

    @property
    def changes_nothing(self) -> bool:
        """Whether there is nothing to confirm."""
        return self.is_done and not self.request.trigger and not self.clears_webhook

    def lines(self) -> list[str]:
        """Return the plan as lines of text for a person."""
        artifact, pickle, slot = self.request.artifact, self.request.artifact.manifest.pickle, self.slot
        before = describe_pickle(slot.pickle if slot else None)
        used, limit = self.slots
        kind = "existing model" if slot else f"NEW model, number {used + 1}" + (f" of {limit}" if limit else "")
        lines = [
            f"deploy   {artifact.pickle} ({pickle.size:,} bytes, sha256 {pickle.sha256})",
            f"to       {sanitize(self.name)} ({kind}), account {sanitize(self.account)}",
            f"image    {sanitize(self.image.name)}, {self.ref}, {artifact.manifest.image.identity[:19]}...",
            f"data     {self.request.data_version}",
            f"runs now {before}",
        ]
        if self.similarity:
            lines.append(f"compared {self.similarity}")
        lines += [f"{'does' if index == 0 else '':9}{text}" for index, text in enumerate(self._format_steps())]
        lines += [
            f"{'effects' if index == 0 else '':9}{text}" for index, text in enumerate(self._format_consequences())
        ]
        return [*lines, *(f"note     {note}" for note in self.notes)]

    def _format_steps(self) -> list[str]:
        steps = [] if self.slot else [f"creates the slot {sanitize(self.name)}, which can be archived, not deleted"]
        if self.clears_webhook:
            steps.append("removes the slot's webhook; another machine is no longer called in each round")
        if self.existing is None:
            steps.append(f"sends it as {self.filename}, registers it, waits for the tournament's validation")
        elif tournament.judge_status(self.existing.validation) is not None:
            steps.append(
                f"uses the existing upload: {describe_pickle(self.existing)}, {sanitize(self.existing.validation)}"
            )
        else:
            steps.append(f"continues with the existing upload: {describe_pickle(self.existing)}")
        if self.is_known_bad:
            return [
                *steps,
                "does not assign it, because its validation failed; `--again` (make: AGAIN=1) sends it again",
            ]
        if self.is_done:
            steps.append("finds it already assigned")
        else:
            steps.append("assigns it and reads the slot back; on any failure the slot's current pickle is restored")
        return [*steps, "starts one run of it"] if self.request.trigger else steps

    def _format_consequences(self) -> list[str]:
        if self.is_known_bad:
            before = describe_pickle(self.slot.pickle if self.slot else None)
            return [f"the slot continues to run {before}"]
        consequences = [self._format_run(), *(self._format_other_slot(slot) for slot in self.other_slots)]
        if not self.is_done:
            consequences.append("from now on, the tournament runs this pickle to submit for each round")
        if not (self.slot and self.slot.pickle):
            consequences.append("the slot no longer accepts submissions over the API until the pickle is disabled")
        consequences.append("Numerai can unpickle and read the model")
        if not self.is_done:
            consequences.append(f"to undo: `{commands.suggest_plain('rollback', sanitize(self.name))}`")
        return consequences

    def _format_run(self) -> str:
        stake = f", with the slot's stake of {sanitize(self.slot.stake)}" if self.slot and self.slot.stake else ""
        later = stake and f"; later rounds{stake}"
        if not self.orders_run:
            trigger = "; `--trigger` (make: TRIGGER=1) runs it for this round" if self.is_round_open else ""
            return f"no run is started; {times.describe_round(self.round, self.now)}{later}{trigger}"
        if self.is_round_open and self.round is not None:
            final = ": a staked submission, which a rollback does not undo" if stake else ""
            until = times.format_time(self.round.close_time, self.now)
            return f"it runs for round {self.round.number}, which is open until {until}{stake}{final}"
        return f"it runs for its validation; {times.describe_round(self.round, self.now)}{later}"

    def _format_other_slot(self, slot: Slot) -> str:
        stake = f", which has a stake of {sanitize(slot.stake)}" if slot.stake else ""
        submits = "the run may also submit for that slot" if self.orders_run else "that slot does not change"
        final = ", and a rollback does not undo a staked submission" if stake and self.orders_run else ""
        return f"this pickle also runs in {sanitize(slot.name)}{stake}: {submits}{final}"

    def data(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        manifest = self.request.artifact.manifest
        return {
            "account": self.account,
            "slot": {
                "name": self.name,
                "id": self.slot.id if self.slot else None,
                "new": self.slot is None,
                "stake": self.slot.stake if self.slot else "",
                "runs": self.slot.pickle.id if self.slot and self.slot.pickle else None,
            },
            "pickle": {"sha256": manifest.pickle.sha256, "size": manifest.pickle.size, "filename": self.filename},
            "image": {"id": self.image.id, "ref": self.ref, "digest": manifest.image.identity},
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
            "follows": self._format_consequences(),
            "likeness": self.similarity,  # the key of format 1, which scripts read
            "notes": list(self.notes),
        }


def describe_pickle(pickle: UploadedPickle | None) -> str:
    """Return the stored name and id of a pickle, or of what a slot runs, for messages."""
    return f"{sanitize(pickle.filename)} ({pickle.id})" if pickle else "no pickle"
