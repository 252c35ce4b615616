"""A slot's webhook, taken away for a pickle; put back where the slot does not come to run it.

A slot without its webhook and without a pickle submits nothing, and says nothing. So the address is written down before
it is taken away, and what was ordered is read back.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from builder import errors, interrupts
from builder.net import retry
from builder.upload import assign, slot_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.progress import Progress
    from builder.tournament import Slot, Tournament
    from builder.upload.slot_log import SlotLog

_POLICY = retry.RetryPolicy(attempts=4, first=0.5, longest=2.0)


@contextlib.contextmanager
def remove_or_restore(api: Tournament, slot: Slot, progress: Progress, log: SlotLog) -> Iterator[None]:
    """Take the slot's webhook away for good, unless this fails: then it is put back.

    One that was taken away by an upload that did not end is put back too.

    Raises:
        errors.ArtifactError: Its address cannot be written down; nothing was changed.
        errors.NetworkError: It could not be taken away.
    """
    address = slot.webhook or slot_log.find_pending_webhook(log.entries)
    if not address:
        yield
        return
    if slot.webhook:
        progress.step("taking the slot's webhook away")
        log.write(slot_log.WEBHOOK_TAKEN, slot=slot.name, address=slot.webhook)
    try:
        if slot.webhook:
            _set(api, slot, None)
        yield
    except BaseException:
        with interrupts.defer():
            restore_webhook(api, slot, address, progress, log)
        raise
    log.write(slot_log.WEBHOOK_GONE, slot=slot.name)


def restore_webhook(api: Tournament, slot: Slot, address: str, progress: Progress, log: SlotLog) -> None:
    """Give the slot its webhook again; where that cannot be, a note says what to do by hand."""
    try:
        _set(api, slot, address)
    except errors.BuilderError as error:
        progress.note(
            f"note: the webhook of {slot.name} could NOT be put back ({error}); set it by hand at the tournament's "
            f"site: its address is in the last lines of {log.path}"
        )
        return
    with contextlib.suppress(errors.ArtifactError):  # then it is put back once more the next time
        log.write(slot_log.WEBHOOK_BACK, slot=slot.name)
    progress.note(f"note: {slot.name} has its webhook again")


def _set(api: Tournament, slot: Slot, address: str | None) -> None:
    """Order it and read it back; an order whose answer was lost is given again: twice the same changes nothing."""

    def order() -> None:
        api.set_webhook(slot.id, address)
        if (assign.read_slot(api, slot).webhook or None) != address:
            raise errors.UnavailableError(f"{slot.name}: its webhook is not, read back, what was ordered", sent=True)

    retry.retry(order, _POLICY, on_retry=lambda *_: None)
