"""``rollback``: a slot runs again what it ran before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from builder import errors
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
        str | None, Option("--to", metavar="PICKLE", help="this one: its id, stored name, digits of its hash, or label")
    ] = None,
    yes: Yes = False,
    json_wanted: Json = False,
) -> int:
    """Have a slot run what it ran before, as its log says; else what a person chooses."""
    root, name, origin = _meant(project.choose_config(slot_name, alternative=", or a slot (make: MODEL=...)"))
    with terminal.progress() as progress, api_session.connect(progress, root=root) as api:
        account = api.get_account()
        slot = slots.find_slot(account, name, origin=origin)
        slots.check_usable(slot)
        old_records.migrate(root, account.slots)
        log = slot_log.open_log(slot, api.now)
        change = slot_log.find_last_change(log.entries, assign.get_pickle_id(slot))
        if to:
            wanted: str | None = slots.find_pickle(api, to).id
        elif change:
            wanted = change.get_text("before") or None
        else:
            wanted = _choose(slot, remote_checks.find_earlier_pickles(api, slot))
        pickle = _look_up(api, wanted) if wanted else None
        description = plan.describe_pickle(pickle) if pickle else "no pickle"
        facts = slot_change.follows(slot, pickle, source=str(log.path) if change and not to else "")
        facts.append("         what was submitted already is not taken back")
        # A slot that ran no pickle may have had a machine called in its place.
        hook = (
            None if wanted or slot.webhook else slot_log.find_removed_webhook(log.entries, assign.get_pickle_id(slot))
        )
        if hook:
            facts.append("         it gets the webhook again that was taken away for what it runs now")
        if assign.get_pickle_id(slot) == wanted:
            return slot_change.tell(slot, slot, description, json_wanted=json_wanted)
        if wanted:
            slots.check_no_webhook(slot, fix=slot_change.NO_WEBHOOK)
        question = f"Have {sanitize(slot.name)} run {description} again?"
        what = confirmation.NEXT_ROUNDS if wanted else confirmation.NO_PICKLE
        confirmation.ask_about_slot(api, slot, question, facts, what, yes=yes)
        with assign.report_slots_on_interrupt(api, [slot.id]):
            now = assign.assign_and_read_back(api, slot, wanted, progress)
            if hook:
                webhook.restore_webhook(api, now, hook, progress, log)
    return slot_change.tell(slot, now, description, json_wanted=json_wanted)


def _meant(text: str) -> tuple[Path, str, str]:
    """Return the folder whose ``dist`` is looked into, the slot by its name or id, and what names that if a config."""
    path = Path(text)
    if path.suffix not in {".yaml", ".yml"}:
        return Path.cwd(), text, ""
    loaded = config.load(path)
    if loaded.upload is None or loaded.upload.model is None:
        raise errors.UsageError(f"{text}: names no upload.model; name the slot: `python -m builder rollback SLOT`")
    return loaded.root, loaded.upload.model, f"upload.model of {text}"


def _look_up(api: tournament.Tournament, identity: str) -> tournament.UploadedPickle:
    uploaded = api.get_pickle(identity)
    if uploaded is None:
        raise errors.UsageError(
            f"{identity}: is no longer among the account's pickles; `python -m builder pickles` lists them, and "
            "--to (make: TO=ID) names one"
        )
    if status.judge_validation(uploaded) is not True:
        raise errors.RefusedError(
            f"{identity}: its validation says {uploaded.validation!r}; only a valid one is assigned"
        )
    return uploaded


def _choose(slot: tournament.Slot, earlier: Sequence[tournament.UploadedPickle]) -> str:
    """Have a person choose among the slot's earlier pickles: nothing here says what it ran."""
    if not earlier:
        raise errors.RefusedError(
            f"{sanitize(slot.name)}: nothing here says what it ran before, and no other valid pickle was uploaded "
            "for it; `python -m builder pickles` lists all, --to (make: TO=ID) names one, `disable` has it run none"
        )
    lines = [
        f"  {number}  {plan.describe_pickle(candidate)}, {sanitize(candidate.inserted_at)}"
        for number, candidate in enumerate(earlier[:_SHOWN], start=1)
    ]
    if not terminal.is_interactive():
        listed = "\n".join(lines)
        raise errors.RefusedError(
            f"{sanitize(slot.name)}: nothing here says what it ran before; say which of its earlier pickles with "
            f"--to (make: TO=ID):\n{listed}"
        )
    terminal.tell(f"Nothing here says what {sanitize(slot.name)} ran before. Its earlier pickles:")
    terminal.tell("\n".join(lines))
    answer = terminal.ask("Which one? Its number:")
    if not answer.isdecimal() or not 1 <= int(answer) <= len(lines):
        raise errors.RefusedError("none was chosen; nothing was changed")
    return earlier[int(answer) - 1].id
