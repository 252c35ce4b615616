"""A slot's pickle changed, and read back from the slot itself; on any doubt the slot gets back what it had.

What the API answers to the order promises nothing, and its list of a slot's pickles misses one that was uploaded for
another slot. So the slot is read, and what it runs is compared. To assign the same pickle twice changes nothing, so
an order whose answer was lost is given again.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

from builder import errors, interrupts, tournament
from builder.net import retry
from builder.text import sanitize
from builder.tournament.slots import match_slot
from builder.upload import slot_log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.progress import Progress
    from builder.tournament import Slot, Tournament
    from builder.upload.slot_log import SlotLog

_ORDER = retry.RetryPolicy(attempts=3, first=0.5, longest=60.0)
_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each look at the slot: what was written may be read a little later."""
_HURRY_SECONDS = 5.0
"""How long an answer is waited for once a person has interrupted."""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class _WrongError(errors.ApiError):
    """The slot, or the answer, is not what was ordered."""


class RestoreError(errors.ApiError):
    """The slot could not be given back what it ran: what was written down of that is the way back."""


def assign_and_read_back(api: Tournament, slot: Slot, pickle: str | None, progress: Progress) -> Slot:
    """Have a slot run a pickle (None: none), and read it back.

    Args:
        api: The tournament.
        slot: The slot as it was read before: what it runs there is what it gets back when this fails.
        pickle: Id of a pickle.
        progress: Told when the slot is given back.

    Returns:
        The slot as it is now.

    Raises:
        errors.ArtifactError: What the slot runs now cannot be written down; nothing was changed.
        errors.ApiError: It did not come to be; the message says whether the slot is as it was.
        errors.NetworkError: The same, for want of an answer.
        KeyboardInterrupt: Ctrl-C or SIGTERM came; the slot has what it had.
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
    """Have a slot run a pickle, and keep to that only if what is done meanwhile holds too.

    Takes, yields and raises what :func:`assign_and_read_back` does; whatever is raised within gives the slot back what
    it had.
    """
    log.write(slot_log.ASSIGNING, slot=slot.name, slot_id=slot.id, before=get_pickle_id(slot), pickle=pickle)
    try:
        _check_answer(_order(api, slot.id, pickle), slot, pickle)
        yield _read_back(api, slot, pickle)
    except errors.BuilderError as error:
        with interrupts.defer():
            late = isinstance(error, errors.UnavailableError) and error.sent
            restore_pickle(api, slot, progress, log, because=str(error), late=late)
        raise replace_message(
            error, f"{error}\n{slot.name} runs what it ran before: {describe_pickle(slot)}"
        ) from error
    except BaseException as error:  # Ctrl-C above all
        with interrupts.defer():
            restore_pickle(api, slot, progress, log, because="it was interrupted", late=True)
        error.add_note(f"{slot.name} runs what it ran before: {describe_pickle(slot)}")
        raise


@contextlib.contextmanager
def report_slots_on_interrupt(api: Tournament, slots: Iterable[str]) -> Iterator[None]:
    """Have an interrupt end with what each slot runs now: read from the API, else as it was last seen.

    Args:
        api: The tournament.
        slots: Names or ids of slots.
    """
    try:
        yield
    except (KeyboardInterrupt, RestoreError) as stopped:
        with interrupts.defer():
            for line in _what_runs(api, slots):
                stopped.add_note(line)
        raise


def _what_runs(api: Tournament, slots: Iterable[str]) -> Iterator[str]:
    account, doubt = api.last_account, ""
    try:
        with api.client.shorten_timeouts(_HURRY_SECONDS):
            account = api.get_account()
    except errors.BuilderError as error:
        doubt = str(error).splitlines()[0].partition(";")[0]
    for one in slots:
        slot = match_slot(account, one) if account else None
        name = sanitize(slot.name if slot else one)
        runs = sanitize(describe_pickle(slot)) if slot else ""
        if not doubt:
            yield f"{name} runs {runs}  (read back from the slot)" if slot else f"{name}: there is no such slot"
            continue
        last = f"when it was read last, it ran {runs}" if slot else "when it was looked for last, it was not there"
        yield f"{name} could not be read again ({doubt}); {last}: `python -m builder status {name}` shows it"


def restore_pickle(
    api: Tournament,
    slot: Slot,
    progress: Progress,
    log: SlotLog,
    *,
    because: str,
    late: bool = False,
) -> None:
    """Have a slot run again what it ran when it was read.

    Args:
        api: The tournament.
        slot: As it was read.
        progress: Told that this goes on.
        log: The slot's.
        because: What went wrong, for the message where this does too.
        late: An order without an answer may yet take effect, so that this one is given though the slot still runs
            what it ran.

    Raises:
        NotGivenBackError: It could not be; the message says how to do it by hand.
    """
    before = get_pickle_id(slot)
    last: errors.NetworkError | None = None
    for attempt in range(_ORDER.attempts):
        try:
            # Once at least; where that gets no answer either, what the slot is seen to run has to do.
            if (late and not attempt) or get_pickle_id(read_slot(api, slot)) != before:
                progress.note(f"giving {slot.name} back what it ran before: wait for that")
                _order(api, slot.id, before)
                _read_back(api, slot, before)
        except errors.NetworkError as error:
            last = error
            time.sleep(_PAUSES[attempt + 1])
        else:
            with contextlib.suppress(errors.ArtifactError):  # it is done, and the log merely knows less
                log.write(slot_log.GIVEN_BACK, slot=slot.name, slot_id=slot.id, pickle=before)
            return
    by_hand = f"assign {slot.name} {before}" if before else f"disable {slot.name}"
    raise RestoreError(
        f"{because}\nand {slot.name} could NOT be given back what it ran before ({describe_pickle(slot)}): {last}\n"
        f"look at it at once: `python -m builder {by_hand}` does it by hand, `status {slot.name}` shows it"
    ) from last


def get_pickle_id(slot: Slot) -> str | None:
    """Return the id of the pickle that a slot runs, or None."""
    return slot.pickle.id if slot.pickle else None


def describe_pickle(slot: Slot) -> str:
    """Return what a slot runs, for messages."""
    return f"{slot.pickle.filename} ({slot.pickle.id})" if slot.pickle else "no pickle"


def read_slot(api: Tournament, slot: Slot) -> Slot:
    """Return a slot as it is now.

    Raises:
        errors.ApiError: It is gone.
    """
    found = next((one for one in api.get_account().slots if one.id == slot.id), None)
    if found is None:
        raise errors.ApiError(
            f"the slot {slot.name} ({slot.id}) is no longer among the account's; `python -m builder models` lists them"
        )
    return found


def replace_message(error: errors.BuilderError, text: str) -> errors.BuilderError:
    """Return an error that exits as this one does, with another text."""
    if isinstance(error, errors.TokenError):
        return errors.TokenError(text)
    if isinstance(error, errors.NetworkError):
        return errors.ApiError(text)
    return errors.ArtifactError(text)


def _order(api: Tournament, slot: str, pickle: str | None) -> str:
    try:
        return retry.retry(lambda: api.assign(slot, pickle), _ORDER, on_retry=lambda *_: None)
    except errors.UnavailableError as error:
        # What became of it is seen in the slot, and said by who looks there.
        raise errors.UnavailableError(f"{error.what} ({error.attempt} times)", sent=error.sent) from error


def _check_answer(answer: str, slot: Slot, pickle: str | None) -> None:
    """Refuse an answer that names something else, or a failure; words that nobody knows are left to the slot."""
    named = {found.lower() for found in _ID.findall(answer)}
    ours = {one.lower() for one in (slot.id, pickle) if one}
    if (named and not named <= ours) or tournament.judge_status(answer) is False:
        raise _WrongError(f"{slot.name}: asked to run {pickle or 'no pickle'}, the API answers {answer[:100]!r}")


def _read_back(api: Tournament, slot: Slot, pickle: str | None) -> Slot:
    for pause in _PAUSES:
        time.sleep(pause)
        now = read_slot(api, slot)
        if get_pickle_id(now) == pickle and (now.pickle is None or not now.pickle.slots or slot.id in now.pickle.slots):
            return now
    lists = f", which lists {', '.join(now.pickle.slots) or 'no slot'} as its slots" if now.pickle else ""
    raise _WrongError(
        f"{slot.name}: was to run {pickle or 'no pickle'} and, read back, it runs {describe_pickle(now)}{lists}"
    )
