"""``rollback``: assigns to a slot the pickle that it ran before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from builder import commands, errors
from builder.cli import api_session, confirmation, slot_change, terminal
from builder.cli.parameters import ConfigOrSlot, Json, Yes
from builder.config import model as config
from builder.config import project
from builder.text import sanitize
from builder.tournament import slots, status
from builder.upload import assign, old_records, plan, remote_checks, slot_log, webhook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder import tournament

_SHOWN = 10


def run(
    *,
    slot_name: ConfigOrSlot = None,
    to: Annotated[
        str | None,
        Option(
            "--to", metavar="PICKLE", help="the pickle to assign: its id, stored name, digits of its hash, or label"
        ),
    ] = None,
    yes: Yes = False,
    json_wanted: Json = False,
) -> int:
    """Assign the pickle that the slot ran before, from its log; without a log entry, the user chooses."""
    root, name, origin = _find_slot_name(project.choose_config(slot_name, alternative=", or a slot (make: MODEL=...)"))
    with terminal.progress() as progress, api_session.connect(progress, root=root) as api:
        account = api.get_account()
        slot = slots.find_slot(account, name, origin=origin)
        slots.check_usable(slot)
        old_records.migrate(root, account.slots)
        log = slot_log.open_log(slot, api.now)
        change = slot_log.find_last_change(log.entries, assign.get_pickle_id(slot))
        if to:
            pickle_id: str | None = slots.find_pickle(api, to).id
        elif change:
            pickle_id = change.get_text("before") or None
        else:
            pickle_id = _choose(slot, remote_checks.find_earlier_pickles(api, slot))
        pickle = _get_valid_pickle(api, pickle_id) if pickle_id else None
        description = plan.describe_pickle(pickle)
        facts = slot_change.format_effects(slot, pickle, source=str(log.path) if change and not to else "")
        facts.append("         submissions already made are not undone")
        # A slot without a pickle may have had a webhook, which the upload of its pickle removed.
        hook = None
        if not pickle_id and not slot.webhook:
            hook = slot_log.find_removed_webhook(log.entries, assign.get_pickle_id(slot))
        if hook:
            facts.append("         the webhook that was removed for its current pickle is restored")
        if assign.get_pickle_id(slot) == pickle_id:
            return slot_change.print_change(slot, slot, description, json_wanted=json_wanted)
        if pickle_id:
            slots.check_no_webhook(slot, fix=slot_change.NO_WEBHOOK)
        question = f"Roll back {sanitize(slot.name)} to {description}?"
        action = confirmation.NEXT_ROUNDS if pickle_id else confirmation.NO_PICKLE
        confirmation.ask_about_slot(api, slot, question, facts, action, yes=yes)
        with assign.report_slots_on_interrupt(api, [slot.id]):
            now = assign.assign_and_read_back(api, slot, pickle_id, progress)
            if hook:
                webhook.restore_webhook(api, now, hook, progress, log)
    return slot_change.print_change(slot, now, description, json_wanted=json_wanted)


def _find_slot_name(text: str) -> tuple[Path, str, str]:
    """Return the project's folder, the slot's name or id, and the config key that it comes from, if any."""
    path = Path(text)
    if path.suffix not in {".yaml", ".yml"}:
        return Path.cwd(), text, ""
    loaded = config.load(path)
    if loaded.upload is None or loaded.upload.model is None:
        raise errors.UsageError(
            f"{text}: upload.model is not set; pass the slot: `{commands.suggest_plain('rollback', 'SLOT')}`"
        )
    return loaded.root, loaded.upload.model, f"upload.model of {text}"


def _get_valid_pickle(api: tournament.Tournament, identity: str) -> tournament.UploadedPickle:
    uploaded = api.get_pickle(identity)
    if uploaded is None:
        raise errors.UsageError(
            f"{identity}: no longer exists in the account; `{commands.suggest_plain('pickles')}` lists the pickles; "
            "pass one with --to (make: TO=ID)"
        )
    if status.judge_validation(uploaded) is not True:
        raise errors.RefusedError(
            f"{identity}: its validation status is {uploaded.validation!r}; only a valid pickle can be assigned"
        )
    return uploaded


def _choose(slot: tournament.Slot, earlier: Sequence[tournament.UploadedPickle]) -> str:
    """Ask the user which of the slot's earlier pickles to assign, because no log says what it ran before."""
    if not earlier:
        raise errors.RefusedError(
            f"{sanitize(slot.name)}: the log does not contain its previous pickle, and no other valid pickle was "
            f"uploaded for it; pass one of `{commands.suggest_plain('pickles')}` with --to (make: TO=ID), or run "
            "`disable` to remove its pickle"
        )
    lines = [
        f"  {number}  {plan.describe_pickle(candidate)}, {sanitize(candidate.inserted_at)}"
        for number, candidate in enumerate(earlier[:_SHOWN], start=1)
    ]
    if not terminal.is_interactive():
        listed = "\n".join(lines)
        raise errors.RefusedError(
            f"{sanitize(slot.name)}: the log does not contain its previous pickle; pass one of its earlier pickles "
            f"with --to (make: TO=ID):\n{listed}"
        )
    terminal.show(f"The log does not contain the previous pickle of {sanitize(slot.name)}. Its earlier pickles:")
    terminal.show("\n".join(lines))
    answer = terminal.ask("Number of the pickle to assign:")
    if not answer.isdecimal() or not 1 <= int(answer) <= len(lines):
        raise errors.RefusedError("no pickle was chosen; nothing was changed")
    return earlier[int(answer) - 1].id
