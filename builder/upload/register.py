"""From bytes on this disk to one record at the tournament, whatever answers are lost on the way.

Registering has no key that would make it safe to send twice. So the stored name carries the hash, each step is written
down before it is done, and after a doubtful registration the server's list is read before anything is sent again.
Uploads of one pickle to several slots take turns here, and share the record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import errors, locks, tournament
from builder.text import sanitize
from builder.tournament import status
from builder.upload import plan, remote_checks, slot_log, storage

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from builder.progress import Progress
    from builder.tournament import FileAuth, Slot, Tournament, UploadedPickle
    from builder.upload.plan import UploadPlan
    from builder.upload.slot_log import LogEntry, SlotLog
    from builder.upload.waiting import PollPolicy

SOURCE = "numerai-builder"
_LOOKS = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each look for a record: what was written may be listed a little later."""
_KEPT_SECONDS = 3_600.0
"""How long a stored file without a record is relied on."""
_SENDINGS = 3


@dataclass(frozen=True, kw_only=True)
class UploadTask:
    """One pickle on its way into one slot.

    Attributes:
        plan: What was agreed to.
        slot: As it was planned, or as it was created since.
        log: The slot's log, for this pickle.
        policy: How patient the validation and the run are waited for.
    """

    plan: UploadPlan
    slot: Slot
    api: Tournament
    log: SlotLog
    progress: Progress
    policy: PollPolicy

    @property
    def sha256(self) -> str:
        """The pickle's hash."""
        return self.plan.request.artifact.manifest.pickle.sha256


def register(task: UploadTask) -> str:
    """Return the id of the record: the one that is there, or a new one.

    Raises:
        errors.ArtifactError: The file changed while it was sent, or the log cannot be written.
        errors.NetworkError: It could not be stored or registered; running again goes on.
        errors.RefusedError: A stake came or a round opened since it was agreed to.
    """
    if task.plan.existing is not None:
        task.log.write_once(slot_log.CREATED, pickle=task.plan.existing.id, filename=task.plan.existing.filename)
        return task.plan.existing.id
    lock = slot_log.get_registration_lock(task.sha256)
    with locks.acquire(
        lock, lambda holder: task.progress.note(f"waiting for another upload of this pickle to register it ({holder})")
    ):
        return _recover(task) or _find_concurrent(task) or _create(task, _store(task))


def check(task: UploadTask, pickle: UploadedPickle) -> None:
    """Make sure that a record is what was planned, whichever way it was found: else nothing may come to run it.

    Raises:
        errors.ApiError: It is of another file, or for another image or data version.
    """
    planned = task.plan
    stored = {one.get_text("filename") for one in task.log.uploads if one.step in {slot_log.PUT, slot_log.CREATED}}
    is_ours = task.sha256[:12] in pickle.filename or pickle.filename in stored
    if is_ours and _is_for(task, pickle):
        return
    said = f"{pickle.filename}, image {pickle.image_name or pickle.image_id}, data {pickle.data_version}"
    raise errors.ApiError(
        f"{pickle.id}: is on record as {sanitize(said)}; planned was {planned.filename}, image "
        f"{planned.image.name}, data {planned.request.data_version}: {task.slot.name} is not changed; run it again, which "
        "registers what was planned"
    )


def _recover(task: UploadTask) -> str | None:
    """Return the record of a registration that the log says was sent, where the plan's list missed it."""
    last = _last(task, task.log.uploads)
    if last is None:
        return None
    if last.step == slot_log.CREATE_SENT:
        return _find(task, last.get_text("filename"), set(last.get_text("known").split()))
    if task.plan.request.again:
        return None
    found = task.api.get_pickle(last.get_text("pickle"))
    return found.id if found is not None and _is_for(task, found) else None


def _find_concurrent(task: UploadTask) -> str | None:
    """Return the record that an upload of the same pickle to another slot made since this one was planned."""
    for path, entries in slot_log.read_all():
        last = _last(task, slot_log.filter_by_pickle(entries, task.sha256)) if path != task.log.path else None
        if last is None:
            continue
        every = (
            task.api.list_pickles()
            if last.step == slot_log.CREATE_SENT
            else (task.api.get_pickle(last.get_text("pickle")),)
        )
        for one in every:
            if one is None or one.filename != last.get_text("filename") or not _is_for(task, one):
                continue
            if not (task.plan.request.again and status.judge_validation(one) is False):
                task.progress.note(f"another upload of it made {plan.describe_pickle(one)}, which is used")
                task.log.write(slot_log.CREATED, pickle=one.id, filename=one.filename)
                return one.id
    return None


def _last(task: UploadTask, entries: Sequence[LogEntry]) -> LogEntry | None:
    """Return the newest line on a registration, sent or done, for the same image and data version."""
    return slot_log.find_last(_lines(task, entries), slot_log.CREATE_SENT, slot_log.CREATED)


def _store(task: UploadTask) -> str:
    """Return the stored name of the bytes; they are sent unless that was done a little while ago."""
    put = slot_log.find_last(_lines(task, task.log.uploads), slot_log.PUT)
    if put and _age(task, put) < _KEPT_SECONDS and not _is_registered(task, put):
        return put.get_text("filename")
    recorded = task.plan.request.artifact.manifest.pickle
    task.progress.step("reading the pickle")
    md5 = storage.compute_md5(task.plan.request.artifact.pickle)
    sent = storage.put(
        _authorise(task),
        task.plan.request.artifact.pickle,
        sha256=recorded.sha256,
        md5=md5,
        size=recorded.size,
        progress=task.progress,
        clock_ahead=task.api.client.clock_ahead,
        renew=lambda: _authorise(task),
    )
    task.log.write(slot_log.PUT, filename=sent.filename)
    return sent.filename


def _authorise(task: UploadTask) -> FileAuth:
    auth = task.api.get_upload_auth(task.plan.filename, task.slot.id)
    if not auth.filename:
        raise errors.ApiError(f"{task.api.client.display_url}: where to put the pickle: the answer has no filename")
    task.log.write(slot_log.AUTHORISED, filename=auth.filename)
    return auth


def _create(task: UploadTask, filename: str) -> str:
    """Register a stored file; after an answer that was lost, look for the record before anything is sent again."""
    image, data_version = _ids(task)
    looked = 0
    # Sent anew, a failed record of the same stored name may be there.
    known = {one.id for one in (task.api.list_pickles(task.slot.id) if task.plan.request.again else ())}
    for attempt in range(1, _SENDINGS + 1):
        remote_checks.check_consent(task.api, task.plan, task.slot)
        task.log.write(slot_log.CREATE_SENT, filename=filename, known=" ".join(sorted(known)))
        task.progress.step("registering it")
        try:
            made = task.api.create_pickle(filename, task.slot.id, image=image, data_version=data_version, source=SOURCE)
        except errors.UnavailableError as error:
            # One that may have arrived may be listed late: from then on it is looked for each time.
            looked += bool(error.sent or looked)
            found = _find(task, filename, known) if looked else None
            if found is not None:
                return found
            if error.is_last(attempt, _SENDINGS):
                raise _not_registered(error, attempt, looked) from error
            pause = max(_LOOKS[attempt], error.after)
            task.progress.step(f"it is not there: registering it again in {pause:.0f} s")
            time.sleep(pause)
            continue
        task.log.write(slot_log.CREATED, pickle=made, filename=filename)
        return made
    raise AssertionError  # the loop returns or raises


def _not_registered(error: errors.UnavailableError, attempt: int, looked: int) -> errors.UnavailableError:
    """Say what is known of a registration that is not sent again."""
    known = f"it was looked for and is not there ({looked} times)" if looked else "nothing was registered"
    return errors.UnavailableError(
        f"{error.what} ({attempt} times); {known}",
        remedy="run it again later, which goes on from here",
        sent=bool(looked),
        after=error.after,
    )


def _find(task: UploadTask, filename: str, known: Collection[str]) -> str | None:
    """Return the id of the record with a stored name, if there is a new one for this image and data version."""
    for pause in _LOOKS:
        time.sleep(pause)
        task.progress.step("looking whether it was registered")
        for one in task.api.list_pickles(task.slot.id):
            if filename and one.filename == filename and one.id not in known and _is_for(task, one):
                task.log.write(slot_log.CREATED, pickle=one.id, filename=filename)
                return one.id
    return None


def _ids(task: UploadTask) -> tuple[str, str]:
    return task.plan.image.id, task.plan.data_version.id


def _is_for(task: UploadTask, pickle: UploadedPickle) -> bool:
    return (pickle.image_id, pickle.data_version_id) == _ids(task)


def _lines(task: UploadTask, entries: Sequence[LogEntry]) -> list[LogEntry]:
    """Return what was written down for the same image and data version: no record for another is any of ours."""
    found, ours = [], False
    for one in entries:
        if one.step == slot_log.PLANNED:
            ours = (one.get_text("image_id"), one.get_text("data_version_id")) == _ids(task)
        elif ours:
            found.append(one)
    return found


def _is_registered(task: UploadTask, put: LogEntry) -> bool:
    """Tell whether the log knows a record of this file: then it is no longer free to register."""
    name = put.get_text("filename")
    return not name or any(
        one.step == slot_log.CREATED and one.get_text("filename") == name for one in task.log.uploads
    )


def _age(task: UploadTask, put: LogEntry) -> float:
    """Return how many seconds ago a file was stored, by the API's clock (which expires it)."""
    then = tournament.read_time(put.at)
    return abs((task.api.now() - then).total_seconds()) if then else _KEPT_SECONDS
