"""Assign a pickle to a slot and read the slot back; restore the previous pickle if that fails.

The API's response to an assignment is undocumented, and its list of a slot's pickles does not include one that was
uploaded for another slot. So the slot itself is read afterwards. Assigning the same pickle twice has no further effect,
so the request is retried if there is no response.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

from builder import commands, errors, interrupts, tournament
from builder.net import retry
from builder.text import sanitize
from builder.tournament.slots import match_slot
from builder.upload import plan, slot_log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.progress import Progress
    from builder.tournament import Slot, Tournament
    from builder.upload.slot_log import SlotLog

_ASSIGN_POLICY = retry.RetryPolicy(attempts=3, first=0.5, longest=60.0)
_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each read of the slot: the API may show a change with a delay."""
_INTERRUPTED_TIMEOUT = 5.0
"""Timeout in seconds of requests after Ctrl-C."""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class _MismatchError(errors.ApiError):
    """The slot or the response does not have the requested pickle."""


class RestoreError(errors.ApiError):
    """The slot's previous pickle could not be restored; the slot's log contains its id."""


def assign_and_read_back(api: Tournament, slot: Slot, pickle: str | None, progress: Progress) -> Slot:
    """Assign a pickle to a slot, or unassign the slot's pickle (None), and read the slot back.

    Args:
        api: The tournament.
        slot: The slot as read before; its pickle is restored if this fails.
        pickle: Id of a pickle.
        progress: Shows when the previous pickle is restored.

    Returns:
        The slot as read back.

    Raises:
        errors.ArtifactError: The slot's log cannot be written; nothing was changed.
        errors.ApiError: It failed; the message says whether the slot was restored.
        errors.NetworkError: The same, because there was no response.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the slot was restored.
    """
    with assign_or_restore(api, slot, pickle, progress, slot_log.open_log(slot, api.now)) as now:
        return now


@contextlib.contextmanager
def assign_or_restore(
    api: Tournament,
    slot: Slot,
    pickle: str | None,
    progress: Progress,
    log: SlotLog,
) -> Iterator[Slot]:
    """Assign a pickle; restore the previous one if the ``with`` block fails.

    Takes, yields and raises the same as :func:`assign_and_read_back`; any exception in the block restores the slot.
    """
    log.write(slot_log.ASSIGNING, slot=slot.name, slot_id=slot.id, before=get_pickle_id(slot), pickle=pickle)
    try:
        _check_response(_send(api, slot.id, pickle), slot, pickle)
        yield _read_back(api, slot, pickle)
    except errors.BuilderError as error:
        with interrupts.defer():
            late = isinstance(error, errors.UnavailableError) and error.sent
            restore_pickle(api, slot, progress, log, because=str(error), late=late)
        raise replace_message(error, f"{error}\n{slot.name} still runs {plan.describe_pickle(slot.pickle)}") from error
    except BaseException as error:  # Ctrl-C above all
        with interrupts.defer():
            restore_pickle(api, slot, progress, log, because="it was interrupted", late=True)
        error.add_note(f"{slot.name} still runs {plan.describe_pickle(slot.pickle)}")
        raise


@contextlib.contextmanager
def report_slots_on_interrupt(api: Tournament, slots: Iterable[str]) -> Iterator[None]:
    """Add to an interrupt what each slot runs now, as read from the API, or else as last read.

    Args:
        api: The tournament.
        slots: Names or ids of slots.
    """
    try:
        yield
    except (KeyboardInterrupt, RestoreError) as error:
        with interrupts.defer():
            for line in _describe_slots(api, slots):
                error.add_note(line)
        raise


def _describe_slots(api: Tournament, slots: Iterable[str]) -> Iterator[str]:
    account, reason = api.last_account, ""
    try:
        with api.client.shorten_timeouts(_INTERRUPTED_TIMEOUT):
            account = api.get_account()
    except errors.BuilderError as error:
        reason = str(error).splitlines()[0].partition(";")[0]
    for text in slots:
        slot = match_slot(account, text) if account else None
        name = sanitize(slot.name if slot else text)
        pickle = plan.describe_pickle(slot.pickle) if slot else ""
        if not reason:
            yield f"{name} runs {pickle}  (read back from the slot)" if slot else f"{name}: the slot does not exist"
            continue
        last = f"when last read, it ran {pickle}" if slot else "when last read, it did not exist"
        yield f"cannot read {name} again ({reason}); {last}: `{commands.suggest_plain('status', name)}` shows it"


def restore_pickle(
    api: Tournament,
    slot: Slot,
    progress: Progress,
    log: SlotLog,
    *,
    because: str,
    late: bool = False,
) -> None:
    """Assign the pickle that a slot had when it was read.

    Args:
        api: The tournament.
        slot: The slot as read before the change.
        progress: Shows that this is under way.
        log: The slot's log.
        because: What went wrong, for the message if this fails too.
        late: A request without a response may still take effect. So assign at least once, even though the slot still
            has its previous pickle.

    Raises:
        RestoreError: It failed; the message says how to do it by hand.
    """
    before = get_pickle_id(slot)
    last: errors.NetworkError | None = None
    for attempt in range(_ASSIGN_POLICY.attempts):
        try:
            # `late` applies to the first attempt only: if that gets no response either, rely on what the slot shows.
            if (late and not attempt) or get_pickle_id(read_slot(api, slot)) != before:
                progress.note(f"restoring the previous pickle of {slot.name}: please wait")
                _send(api, slot.id, before)
                _read_back(api, slot, before)
        except errors.NetworkError as error:
            last = error
            time.sleep(_PAUSES[attempt + 1])
        else:
            with contextlib.suppress(errors.ArtifactError):  # the slot is restored; a missing log line is harmless
                log.write(slot_log.GIVEN_BACK, slot=slot.name, slot_id=slot.id, pickle=before)
            return
    by_hand = ("assign", slot.name, before) if before else ("disable", slot.name)
    raise RestoreError(
        f"{because}\nand the previous pickle of {slot.name} could NOT be restored "
        f"({plan.describe_pickle(slot.pickle)}): {last}\n"
        f"check it now: `{commands.suggest_plain(*by_hand)}` restores it by hand, "
        f"`{commands.suggest_plain('status', slot.name)}` shows it"
    ) from last


def get_pickle_id(slot: Slot) -> str | None:
    """Return the id of the pickle that a slot runs, or None."""
    return slot.pickle.id if slot.pickle else None


def read_slot(api: Tournament, slot: Slot) -> Slot:
    """Read a slot again.

    Raises:
        errors.ApiError: The account no longer has it.
    """
    current = next((item for item in api.get_account().slots if item.id == slot.id), None)
    if current is None:
        raise errors.ApiError(
            f"the account no longer has the slot {slot.name} ({slot.id}); "
            f"`{commands.suggest_plain('models')}` lists its slots"
        )
    return current


def replace_message(error: errors.BuilderError, text: str) -> errors.BuilderError:
    """Return an error with another message and the same exit code."""
    if isinstance(error, errors.TokenError):
        return errors.TokenError(text)
    if isinstance(error, errors.NetworkError):
        return errors.ApiError(text)
    return errors.ArtifactError(text)


def _send(api: Tournament, slot: str, pickle: str | None) -> str:
    try:
        return retry.retry(lambda: api.assign(slot, pickle), _ASSIGN_POLICY, on_retry=lambda *_: None)
    except errors.UnavailableError as error:
        # Without the usual advice to check the outcome: the caller reads the slot and reports what it runs.
        raise errors.UnavailableError(f"{error.what} (tried {error.attempt} times)", sent=error.sent) from error


def _check_response(response: str, slot: Slot, pickle: str | None) -> None:
    """Reject a response with another id or a bad status; any other text is ignored, as the slot is read back."""
    ids = {identity.lower() for identity in _ID.findall(response)}
    expected = {identity.lower() for identity in (slot.id, pickle) if identity}
    if (ids and not ids <= expected) or tournament.judge_status(response) is False:
        raise _MismatchError(
            f"{slot.name}: requested {pickle or 'no pickle'}, but the API responded {response[:100]!r}"
        )


def _read_back(api: Tournament, slot: Slot, pickle: str | None) -> Slot:
    for pause in _PAUSES:
        time.sleep(pause)
        now = read_slot(api, slot)
        if get_pickle_id(now) == pickle and (now.pickle is None or not now.pickle.slots or slot.id in now.pickle.slots):
            return now
    assigned = f", which is assigned to {', '.join(now.pickle.slots) or 'no slot'}" if now.pickle else ""
    raise _MismatchError(
        f"{slot.name}: requested {pickle or 'no pickle'}, but the slot runs "
        f"{plan.describe_pickle(now.pickle)}{assigned}"
    )
