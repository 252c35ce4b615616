"""Find a slot or pickle by what a person typed, and check whether a slot can be used or created."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from builder import commands, errors, tournament
from builder.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_NAME_LENGTH = 20
"""As users report; the limit is undocumented and the server decides."""
_NAME = re.compile(rf"[a-z0-9_]{{1,{MAX_NAME_LENGTH}}}")
_MAX_SUGGESTIONS = 3
_MAX_IDS = 5
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def find_slot(account: tournament.Account, text: str, *, origin: str = "") -> tournament.Slot:
    """Return the account's slot with this name or id; if two have the name, the one of the Classic tournament.

    Args:
        account: The account to search.
        text: A name, ignoring case, or an id.
        origin: The config key that ``text`` comes from, for the message; empty if it was typed.

    Raises:
        errors.UsageError: No slot has it; the message suggests similar names.
    """
    slot = match_slot(account, text)
    if slot is None:
        source = f" ({origin})" if origin else ""
        raise errors.UsageError(f"{escape(text)}{source}: {explain_missing_slot(account, text)}")
    return slot


def match_slot(account: tournament.Account, text: str) -> tournament.Slot | None:
    """Return the slot with this name or id, or None; see :func:`find_slot`."""
    by_id = [slot for slot in account.slots if slot.id == text]
    exact = [slot for slot in account.slots if slot.name == text]
    ignoring_case = [slot for slot in account.slots if slot.name.lower() == text.lower()]
    matches = by_id or exact or ignoring_case  # in this order, so that a name that looks like another id finds its slot
    # Names are unique only within one tournament.
    return next((slot for slot in matches if slot.tournament == tournament.CLASSIC), matches[0] if matches else None)


def explain_missing_slot(account: tournament.Account, text: str) -> str:
    """Return a message that no slot has this name or id, with similar names."""
    if not account.slots:
        create = commands.suggest_plain("create-model", "NAME")
        return f"the account {account.username} has no slot yet; create one with `{create}`"
    suggestion = _suggest(find_nearest(text, (slot.name for slot in account.slots)))
    command = commands.suggest_plain("models")
    return f"no slot of {account.username} has this name or id; {suggestion}`{command}` lists them"


def _suggest(names: Sequence[str]) -> str:
    return f"did you mean {' or '.join(names)}? " if names else ""


def find_nearest(text: str, names: Iterable[str]) -> list[str]:
    """Return the names that are spelled most like a text, ignoring case, nearest first."""
    by_lower = {name.lower(): name for name in names}
    return [by_lower[key] for key in difflib.get_close_matches(text.lower(), by_lower, n=_MAX_SUGGESTIONS)]


def find_name_problem(name: str) -> str | None:
    """Return what is wrong with a new slot's name, or None; the server may still reject it."""
    if _NAME.fullmatch(name):
        return None
    if len(name) > MAX_NAME_LENGTH:
        return f"has {len(name)} characters; expected at most {MAX_NAME_LENGTH}"
    return f"is invalid; expected 1 to {MAX_NAME_LENGTH} lower-case letters, digits and _"


def find_slot_or_pickle(api: tournament.Tournament, text: str) -> tournament.Slot | tournament.UploadedPickle:
    """Return the slot that a text identifies, or else the pickle.

    Raises:
        errors.UsageError: It identifies neither.
    """
    account = api.get_account()
    slot = match_slot(account, text)
    if slot is not None:
        return slot
    pickle = match_pickle(api, api.list_uploads(), text)
    if pickle is None:
        raise errors.UsageError(
            f"{escape(text)}: no pickle of the account has this id, file name or label, and "
            f"{explain_missing_slot(account, text)}; `{commands.suggest_plain('pickles')}` lists the pickles"
        )
    return pickle


def find_pickle(api: tournament.Tournament, text: str) -> tournament.UploadedPickle:
    """Return the pickle that a text identifies: by id, stored name, the hash in that name, or label.

    Raises:
        errors.UsageError: It identifies no pickle, or several.
    """
    uploads = api.list_uploads()
    pickle = match_pickle(api, uploads, text)
    if pickle is None:
        names = [
            name
            for upload in uploads
            for name in (upload.label, upload.filename, _strip_prefix(upload.filename))
            if name
        ]
        suggestion = _suggest([escape(name) for name in find_nearest(text, names)])
        raise errors.UsageError(
            f"{escape(text)}: no pickle of the account has this id, file name or label; {suggestion}"
            f"`{commands.suggest_plain('pickles')}` lists them"
        )
    return pickle


def _strip_prefix(filename: str) -> str:
    """Remove the 8 hexadecimal digits that the API puts before the name a pickle was sent under."""
    return re.sub(r"^[0-9a-f]{8}-(?=.)", "", filename)


def match_pickle(
    api: tournament.Tournament, pickles: Sequence[tournament.UploadedPickle], text: str
) -> tournament.UploadedPickle | None:
    """Return the pickle of ``pickles`` that a text identifies, else the API's pickle with that id, or None.

    An upload sends its file as ``NAME-DIGITS.pkl`` and the API stores it under a longer name, so that name is matched
    by its 12 digits of the hash.

    Raises:
        errors.UsageError: It identifies several pickles.
    """
    # The last 12 digits of an id look like those of a hash.
    name = None if is_id(text) else re.fullmatch(r"(?:.*-)?([0-9a-f]{12})(?:\.pkl)?", text, re.IGNORECASE)
    digits = name[1].lower() if name else ""
    for matches in (
        [pickle for pickle in pickles if pickle.id == text],
        [pickle for pickle in pickles if pickle.filename == text],
        [pickle for pickle in pickles if digits and digits in re.findall(r"[0-9a-f]{12}", pickle.filename)],
        [pickle for pickle in pickles if text and pickle.label == text],
    ):
        if len(matches) > 1:
            ids = ", ".join(pickle.id for pickle in matches[:_MAX_IDS])
            raise errors.UsageError(
                f"{escape(text)}: {len(matches)} pickles have this name; use one of their ids: {ids}"
            )
        if matches:
            return matches[0]
    return api.get_pickle(text) if is_id(text) else None


def find_slots_running(account: tournament.Account, pickle: tournament.UploadedPickle) -> list[tournament.Slot]:
    """Return every slot that a pickle is assigned to: a run of it may submit for each of them.

    If the pickle lists a slot that the account does not, the result has it under its id and with an unknown stake, so
    that a person is asked about it.
    """
    ids = {slot.id for slot in account.slots}
    listed = [
        slot for slot in account.slots if slot.id in pickle.slots or (slot.pickle and slot.pickle.id == pickle.id)
    ]
    return [*listed, *(_create_unlisted_slot(identity, pickle) for identity in pickle.slots if identity not in ids)]


def _create_unlisted_slot(identity: str, pickle: tournament.UploadedPickle) -> tournament.Slot:
    return tournament.Slot(
        id=identity,
        name=identity,
        username="",
        tournament=tournament.CLASSIC,
        archived=False,
        compute=True,
        webhook="",
        stake="unknown size",
        submission=None,
        pickle=pickle,
    )


def is_id(text: str) -> bool:
    """Return whether a text has the form of the API's ids."""
    return _UUID.fullmatch(text) is not None


def check_usable(slot: tournament.Slot) -> None:
    """Check that a slot can run pickles.

    Raises:
        errors.RefusedError: It is archived, or belongs to another tournament.
    """
    name = escape(slot.name)
    if slot.archived:
        raise errors.RefusedError(f"{name}: is archived; unarchive it at the tournament's site first")
    if slot.tournament != tournament.CLASSIC:
        raise errors.RefusedError(
            f"{name}: belongs to tournament {slot.tournament}; only slots of Classic ({tournament.CLASSIC}) run pickles"
            f": `{commands.suggest_plain('models')}` lists them"
        )


def check_no_webhook(slot: tournament.Slot, *, fix: str) -> None:
    """Check that a slot has no webhook.

    Args:
        slot: The slot.
        fix: How to remove it, for the message.

    Raises:
        errors.RefusedError: It has a webhook.
    """
    if slot.webhook:
        raise errors.RefusedError(
            f"{escape(slot.name)}: has a webhook, which runs another machine in each round, and a slot "
            f"with a webhook cannot run a pickle; {fix}"
        )


def check_new_slot(api: tournament.Tournament, account: tournament.Account, name: str) -> None:
    """Check that a slot with this name can be created, as far as the API reports it.

    Raises:
        errors.UsageError: The name is invalid or taken.
        errors.RefusedError: The account has reached its limit of slots.
    """
    problem = find_name_problem(name)
    if problem:
        raise errors.UsageError(f"the slot name {name[:40]!r} {problem}")
    if account.max_slots is not None and account.used_slots >= account.max_slots:
        raise errors.RefusedError(
            f"{name}: {escape(account.username)} has {account.used_slots} slots, and its limit is {account.max_slots}; "
            "archive one at the tournament's site, or use an empty one "
            f"(`{commands.suggest_plain('models')}` lists them)"
        )
    if not api.is_name_available(name):
        raise errors.UsageError(f"{name}: the name is taken; choose another")


def create_slot(api: tournament.Tournament, name: str) -> tournament.Slot:
    """Create a slot; if there is no response, read the account to learn whether it was created.

    Raises:
        errors.NetworkError: It was not created, or the outcome is unknown.
    """
    try:
        return api.create_slot(name)
    except errors.UnavailableError as error:
        if not error.sent:
            raise
        # A slot of another tournament may have the same name.
        expected = (name, tournament.CLASSIC)
        slot = next((slot for slot in api.get_account().slots if (slot.name, slot.tournament) == expected), None)
        if slot is None:
            raise errors.UnavailableError(
                error.what,
                remedy=f"no slot {name} is listed: check again with `{commands.suggest_plain('models')}` before "
                "you create it again",
                sent=True,
            ) from error
        return slot
