"""Which slot, pickle or run is meant by what somebody typed, and what a slot may be called."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from builder import errors, tournament
from builder.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST_NAME = 20
"""By users' reports; the server's word counts."""
_NAME = re.compile(r"[a-z0-9_]{1,20}")
_NEAR = 3
_SHOWN = 5
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def find_slot(account: tournament.Account, text: str, *, origin: str = "") -> tournament.Slot:
    """Return the account's slot with this name or id; of two with one name, the Classic tournament's.

    Args:
        account: Whose slots.
        text: A name, in upper or lower case, or an id.
        origin: What it comes from if it was not typed, for the message.

    Raises:
        errors.UsageError: There is none; names that are near are named.
    """
    found = match_slot(account, text)
    if found is None:
        source = f" ({origin})" if origin else ""
        raise errors.UsageError(f"{escape(text)}{source}: {explain_missing_slot(account, text)}")
    return found


def match_slot(account: tournament.Account, text: str) -> tournament.Slot | None:
    """Return the slot with this name or id, or None."""
    by_id = [slot for slot in account.slots if slot.id == text]
    exact = [slot for slot in account.slots if slot.name == text]
    loose = [slot for slot in account.slots if slot.name.lower() == text.lower()]
    chosen = by_id or exact or loose
    # Names are unique in one tournament alone.
    return next((slot for slot in chosen if slot.tournament == tournament.CLASSIC), chosen[0] if chosen else None)


def explain_missing_slot(account: tournament.Account, text: str) -> str:
    """Say that no slot is called so, and what may have been meant."""
    if not account.slots:
        return f"the account {account.username} has no slot yet; make one with `python -m builder create-model NAME`"
    near = find_nearest(text, (slot.name for slot in account.slots))
    return f"no slot of {account.username} has this name or id; {_meant(near)}`python -m builder models` lists them"


def _meant(near: Sequence[str]) -> str:
    return f"did you mean {' or '.join(near)}? " if near else ""


def find_nearest(text: str, names: Iterable[str]) -> list[str]:
    """Return the names that are spelled like a text, the nearest first."""
    known = {name.lower(): name for name in names}
    return [known[one] for one in difflib.get_close_matches(text.lower(), known, n=_NEAR)]


def find_name_problem(name: str) -> str | None:
    """Return what is wrong with a new slot's name, or None; the server has the last word."""
    if _NAME.fullmatch(name):
        return None
    if len(name) > LONGEST_NAME:
        return f"has {len(name)} characters; expected at most {LONGEST_NAME}"
    return f"is invalid; expected 1 to {LONGEST_NAME} lower-case letters, digits and _"


def find_slot_or_pickle(api: tournament.Tournament, text: str) -> tournament.Slot | tournament.UploadedPickle:
    """Return the slot, else the pickle, that a text names.

    Raises:
        errors.UsageError: It names neither.
    """
    account = api.get_account()
    slot = match_slot(account, text)
    if slot is not None:
        return slot
    found = match_pickle(api, api.list_uploads(), text)
    if found is None:
        raise errors.UsageError(
            f"{escape(text)}: no pickle of the account has this id, file name or label, and "
            f"{explain_missing_slot(account, text)}; `python -m builder pickles` lists the pickles"
        )
    return found


def find_pickle(api: tournament.Tournament, text: str) -> tournament.UploadedPickle:
    """Return the pickle that a text names: by id, by stored name or its twelve digits of the hash, or by label.

    Raises:
        errors.UsageError: It names none, or several.
    """
    uploads = api.list_uploads()
    found = match_pickle(api, uploads, text)
    if found is None:
        names = [name for one in uploads for name in (one.label, one.filename, _own_name(one.filename)) if name]
        near = _meant([escape(name) for name in find_nearest(text, names)])
        raise errors.UsageError(
            f"{escape(text)}: no pickle of the account has this id, file name or label; {near}"
            "`python -m builder pickles` lists them"
        )
    return found


def _own_name(filename: str) -> str:
    """Return the name that a pickle was sent under, ``NAME-DIGITS.pkl``: the API puts digits of its own before that."""
    return re.sub(r"^[0-9a-f]{8}-(?=.)", "", filename)


def match_pickle(
    api: tournament.Tournament, pickles: Sequence[tournament.UploadedPickle], text: str
) -> tournament.UploadedPickle | None:
    """Return the one of these that a text names, or what the API has under that id, or None.

    ``NAME-DIGITS.pkl``, as an upload names its file, is known by the digits of the hash: the API stores it under a
    longer name.

    Raises:
        errors.UsageError: It names several.
    """
    sent = None if is_id(text) else re.fullmatch(r"(?:.*-)?([0-9a-f]{12})(?:\.pkl)?", text, re.IGNORECASE)
    digits = sent[1].lower() if sent else ""
    for matches in (
        [one for one in pickles if one.id == text],
        [one for one in pickles if one.filename == text],
        [one for one in pickles if digits and digits in re.findall(r"[0-9a-f]{12}", one.filename)],
        [one for one in pickles if text and one.label == text],
    ):
        if len(matches) > 1:
            ids = ", ".join(one.id for one in matches[:_SHOWN])
            raise errors.UsageError(
                f"{escape(text)}: is the name of {len(matches)} pickles; say which by its id: {ids}"
            )
        if matches:
            return matches[0]
    return api.get_pickle(text) if is_id(text) else None


def find_slots_running(account: tournament.Account, pickle: tournament.UploadedPickle) -> list[tournament.Slot]:
    """Return every slot that a pickle is assigned to: a run of it may submit for each of them.

    A slot that the pickle names and the account does not list is among them, by its id and with a stake that is not
    known: nobody can say that it has none.
    """
    ids = {slot.id for slot in account.slots}
    found = [slot for slot in account.slots if slot.id in pickle.slots or (slot.pickle and slot.pickle.id == pickle.id)]
    return [*found, *(_unlisted(one, pickle) for one in pickle.slots if one not in ids)]


def _unlisted(identity: str, pickle: tournament.UploadedPickle) -> tournament.Slot:
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
    """Tell whether a text can be an id of the API."""
    return _UUID.fullmatch(text) is not None


def check_usable(slot: tournament.Slot) -> None:
    """Refuse a slot that runs no pickles.

    Raises:
        errors.RefusedError: It is archived, or of another tournament.
    """
    name = escape(slot.name)
    if slot.archived:
        raise errors.RefusedError(f"{name}: is archived; take it back at the tournament's site first")
    if slot.tournament != tournament.CLASSIC:
        raise errors.RefusedError(
            f"{name}: is of tournament {slot.tournament}; only slots of Classic ({tournament.CLASSIC}) run pickles: "
            "`python -m builder models` lists them"
        )


def check_no_webhook(slot: tournament.Slot, *, fix: str) -> None:
    """Refuse a slot that has a webhook.

    Args:
        slot: Which.
        fix: What takes it away.

    Raises:
        errors.RefusedError: It has one.
    """
    if slot.webhook:
        raise errors.RefusedError(
            f"{escape(slot.name)}: has a webhook, which runs another machine in each round, and a slot "
            f"with one takes no pickle; {fix}"
        )


def check_new_slot(api: tournament.Tournament, account: tournament.Account, name: str) -> None:
    """Make sure that a slot of this name can be made, as far as the API tells.

    Raises:
        errors.UsageError: The name is invalid, or is taken.
        errors.RefusedError: The account may have no more slots.
    """
    fault = find_name_problem(name)
    if fault:
        raise errors.UsageError(f"{name[:40]!r}: {fault}")
    if account.max_slots is not None and account.used_slots >= account.max_slots:
        raise errors.RefusedError(
            f"{name}: {escape(account.username)} has {account.used_slots} slots, and {account.max_slots} is "
            "all it may have; archive one at the tournament's site, or use one that is empty: `python -m builder "
            "models`"
        )
    if not api.is_name_available(name):
        raise errors.UsageError(f"{name}: the name is taken; choose another")


def create_slot(api: tournament.Tournament, name: str) -> tournament.Slot:
    """Make a slot; where the answer is lost, look whether it is there.

    Raises:
        errors.NetworkError: It was not made, or nobody can say.
    """
    try:
        return api.create_slot(name)
    except errors.UnavailableError as error:
        if not error.sent:
            raise
        # Another tournament's slot may have this name, too.
        wanted = (name, tournament.CLASSIC)
        found = next((slot for slot in api.get_account().slots if (slot.name, slot.tournament) == wanted), None)
        if found is None:
            raise errors.UnavailableError(
                error.what,
                remedy=f"no slot {name} is listed: look again (`python -m builder models`), before it is made again",
                sent=True,
            ) from error
        return found
