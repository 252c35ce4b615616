"""Send a pickle and register it at the tournament exactly once, even if responses are lost.

An upload is two requests: a PUT of the file to a storage, then a mutation of the API that registers the stored file.
The mutation has no idempotency key that would make it safe to repeat: it could register the pickle twice. So the stored
name contains the hash, each step is logged before it is done (:mod:`builder.upload.slot_log`), and after a registration
without a response the server's list is read before it is repeated.

:func:`register` looks for the pickle in this order, and does only what is left to do:

1. in the API's list, when the plan was made (``plan.existing``);
2. in the slot's own log: an interrupted upload may have registered it since;
3. in the logs of other slots: uploads of one pickle to several slots register it one at a time and share the result;
4. in the storage: a file that was sent within the last hour is registered without being sent again.
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
_PAUSES = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each read of the list, since the API may list a new registration with a delay; and before a retry."""
_MAX_AGE_SECONDS = 3_600.0
"""Age up to which a stored but unregistered file is used again; an older one may have been deleted."""
_MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class UploadTask:
    """One upload of a pickle to a slot, with what all its steps use.

    Attributes:
        plan: What the person agreed to.
        slot: The slot as planned, or as created since.
        log: The slot's log, for lines about this pickle.
        policy: How long to wait for the validation and the run.
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
    """Register the pickle unless it is registered already; return its id.

    Raises:
        errors.ArtifactError: The file changed while it was sent, or the log cannot be written.
        errors.NetworkError: The file could not be sent or registered; running again resumes.
        errors.RefusedError: A stake was added or a round opened since the person agreed.
    """
    if task.plan.existing is not None:
        task.log.write_once(slot_log.CREATED, pickle=task.plan.existing.id, filename=task.plan.existing.filename)
        return task.plan.existing.id
    lock = slot_log.get_registration_lock(task.sha256)
    with locks.acquire(
        lock, lambda holder: task.progress.note(f"waiting for another upload of this pickle to register it ({holder})")
    ):
        return _find_in_log(task) or _find_in_other_logs(task) or _create(task, _store(task))


def check(task: UploadTask, pickle: UploadedPickle) -> None:
    """Check that a registered pickle is the planned one before it is assigned, however its id was found.

    Raises:
        errors.ApiError: It is another file, or is registered for another image or data version.
    """
    planned = task.plan
    names = {entry.get_text("filename") for entry in task.log.uploads if entry.step in {slot_log.PUT, slot_log.CREATED}}
    is_same_file = task.sha256[:12] in pickle.filename or pickle.filename in names
    if is_same_file and _has_same_ids(task, pickle):
        return
    actual = f"{pickle.filename}, image {pickle.image_name or pickle.image_id}, data {pickle.data_version}"
    raise errors.ApiError(
        f"{pickle.id}: is registered as {sanitize(actual)}, not as {planned.filename}, image {planned.image.name}, "
        f"data {planned.request.data_version}; {task.slot.name} was not changed; run it again to register the right one"
    )


def _find_in_log(task: UploadTask) -> str | None:
    """Return the id of a registration that the log contains but the API's list did not when the plan was made."""
    last = _get_last_registration(task, task.log.uploads)
    if last is None:
        return None
    if last.step == slot_log.CREATE_SENT:  # without `created` after it: its response was lost
        return _find_in_list(task, last.get_text("filename"), set(last.get_text("known").split()))
    if task.plan.request.again:  # the person wants a new registration, not the confirmed one
        return None
    pickle = task.api.get_pickle(last.get_text("pickle"))
    return pickle.id if pickle is not None and _has_same_ids(task, pickle) else None


def _find_in_other_logs(task: UploadTask) -> str | None:
    """Return the id of the same pickle if an upload to another slot has registered it since the plan was made."""
    for path, entries in slot_log.read_all():
        last = _get_last_registration(task, slot_log.filter_by_pickle(entries, task.sha256))
        if last is None or path == task.log.path:
            continue
        is_unconfirmed = last.step == slot_log.CREATE_SENT
        pickles = task.api.list_pickles() if is_unconfirmed else (task.api.get_pickle(last.get_text("pickle")),)
        for pickle in pickles:
            if pickle is None or pickle.filename != last.get_text("filename") or not _has_same_ids(task, pickle):
                continue
            if not (task.plan.request.again and status.judge_validation(pickle) is False):
                task.progress.note(f"using {plan.describe_pickle(pickle)}, which another upload registered")
                task.log.write(slot_log.CREATED, pickle=pickle.id, filename=pickle.filename)
                return pickle.id
    return None


def _get_last_registration(task: UploadTask, entries: Sequence[LogEntry]) -> LogEntry | None:
    """Return the newest log entry of a registration, sent or confirmed, for this image and data version."""
    return slot_log.find_last(_filter_entries(task, entries), slot_log.CREATE_SENT, slot_log.CREATED)


def _store(task: UploadTask) -> str:
    """Send the file unless it was sent recently; return its stored name."""
    put = slot_log.find_last(_filter_entries(task, task.log.uploads), slot_log.PUT)
    if put and _compute_age(task, put) < _MAX_AGE_SECONDS and not _is_registered(task, put):
        return put.get_text("filename")
    recorded = task.plan.request.artifact.manifest.pickle
    task.progress.step("reading the pickle")
    # Before the presigned URL is requested, so that it does not expire during the hashing.
    md5 = storage.compute_md5(task.plan.request.artifact.pickle)
    stored = storage.put(
        _authorise(task),
        task.plan.request.artifact.pickle,
        sha256=recorded.sha256,
        md5=md5,
        size=recorded.size,
        progress=task.progress,
        clock_ahead=task.api.client.clock_ahead,
        renew=lambda: _authorise(task),
    )
    task.log.write(slot_log.PUT, filename=stored.filename)
    return stored.filename


def _authorise(task: UploadTask) -> FileAuth:
    auth = task.api.get_upload_auth(task.plan.filename, task.slot.id)
    if not auth.filename:
        raise errors.ApiError(f"{task.api.client.display_url}: the upload address: the response has no filename")
    task.log.write(slot_log.AUTHORISED, filename=auth.filename)
    return auth


def _create(task: UploadTask, filename: str) -> str:
    """Register a stored file and return its id; after a request without a response, read the list before repeating."""
    image, data_version = _get_ids(task)
    searches = 0  # how often the list was searched in vain
    # With --again, an earlier, failed pickle may have the same stored name.
    known = {pickle.id for pickle in (task.api.list_pickles(task.slot.id) if task.plan.request.again else ())}
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        # Before each attempt: a pause or a retry may have passed the opening of a round.
        remote_checks.check_consent(task.api, task.plan, task.slot)
        task.log.write(slot_log.CREATE_SENT, filename=filename, known=" ".join(sorted(known)))
        task.progress.step("registering it")
        try:
            identity = task.api.create_pickle(
                filename, task.slot.id, image=image, data_version=data_version, source=SOURCE
            )
        except errors.UnavailableError as error:
            # Once a request may have arrived, search after each attempt: its pickle may be listed late.
            searches += bool(error.sent or searches)
            registered = _find_in_list(task, filename, known) if searches else None
            if registered is not None:
                return registered
            if error.is_last(attempt, _MAX_ATTEMPTS):
                raise _create_error(error, attempt, searches) from error
            pause = max(_PAUSES[attempt], error.after)
            task.progress.step(f"it is not registered: registering it again in {pause:.0f} s")
            time.sleep(pause)
            continue
        task.log.write(slot_log.CREATED, pickle=identity, filename=filename)
        return identity
    raise AssertionError  # the loop returns or raises


def _create_error(error: errors.UnavailableError, attempt: int, searches: int) -> errors.UnavailableError:
    outcome = f"the pickle is not in the account (checked {searches} times)" if searches else "nothing was registered"
    return errors.UnavailableError(
        f"{error.what} (tried {attempt} times); {outcome}",
        remedy="run it again later to resume",
        sent=bool(searches),
        after=error.after,
    )


def _find_in_list(task: UploadTask, filename: str, known: Collection[str]) -> str | None:
    """Return the id of a new pickle with this stored name, image and data version; read the list several times."""
    for pause in _PAUSES:
        time.sleep(pause)
        task.progress.step("checking whether it was registered")
        for pickle in task.api.list_pickles(task.slot.id):
            is_new = pickle.id not in known and _has_same_ids(task, pickle)
            if filename and pickle.filename == filename and is_new:
                task.log.write(slot_log.CREATED, pickle=pickle.id, filename=filename)
                return pickle.id
    return None


def _get_ids(task: UploadTask) -> tuple[str, str]:
    """Return the ids of the planned image and data version."""
    return task.plan.image.id, task.plan.data_version.id


def _has_same_ids(task: UploadTask, pickle: UploadedPickle) -> bool:
    """Return whether a pickle is registered for the planned image and data version."""
    return (pickle.image_id, pickle.data_version_id) == _get_ids(task)


def _filter_entries(task: UploadTask, entries: Sequence[LogEntry]) -> list[LogEntry]:
    """Return the log entries for this image and data version: a pickle registered for others cannot be used."""
    matching, is_same = [], False
    # Only `planned` names the image and the data version; it applies to the entries up to the next one.
    for entry in entries:
        if entry.step == slot_log.PLANNED:
            is_same = (entry.get_text("image_id"), entry.get_text("data_version_id")) == _get_ids(task)
        elif is_same:
            matching.append(entry)
    return matching


def _is_registered(task: UploadTask, put: LogEntry) -> bool:
    """Return whether the log contains a registration of a stored file, so that it cannot be registered again."""
    name = put.get_text("filename")
    entries = task.log.uploads
    return not name or any(entry.step == slot_log.CREATED and entry.get_text("filename") == name for entry in entries)


def _compute_age(task: UploadTask, put: LogEntry) -> float:
    """Return the age in seconds of a stored file, by the API's clock, which decides when it expires."""
    then = tournament.read_time(put.at)
    return abs((task.api.now() - then).total_seconds()) if then else _MAX_AGE_SECONDS
