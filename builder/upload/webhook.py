"""Remove a slot's webhook for an upload, and restore it if the upload fails.

A slot with neither a webhook nor a pickle silently submits nothing. So the address is logged before the webhook is
removed, and each change is read back.
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
    """Remove the slot's webhook; restore it if the ``with`` block fails.

    Also restores a webhook that an interrupted upload had removed.

    Raises:
        errors.ArtifactError: The address cannot be logged; nothing was changed.
        errors.NetworkError: The webhook could not be removed.
    """
    address = slot.webhook or slot_log.find_pending_webhook(log.entries)
    if not address:
        yield
        return
    if slot.webhook:
        progress.step("removing the slot's webhook")
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
    """Restore the slot's webhook; if that fails, show how to do it by hand instead of raising."""
    try:
        _set(api, slot, address)
    except errors.BuilderError as error:
        progress.note(
            f"note: the webhook of {slot.name} could NOT be restored ({error}); set it by hand at the tournament's "
            f"site: its address is in the last lines of {log.path}"
        )
        return
    with contextlib.suppress(errors.ArtifactError):  # without this line, the next upload restores it once more
        log.write(slot_log.WEBHOOK_BACK, slot=slot.name)
    progress.note(f"note: restored the webhook of {slot.name}")


def _set(api: Tournament, slot: Slot, address: str | None) -> None:
    """Set the webhook and read it back; safe to retry, since setting it twice has no further effect."""

    def set_and_check() -> None:
        api.set_webhook(slot.id, address)
        if (assign.read_slot(api, slot).webhook or None) != address:
            raise errors.UnavailableError(f"{slot.name}: the webhook was not changed as requested", sent=True)

    retry.retry(set_and_check, _POLICY, on_retry=lambda *_: None)
