"""Append-only log of what was done to each slot; every line is synced to disk before its step is done.

The logs are in the user's state folder (``numerai-builder/slots``), readable only by that user: they contain the
address of a removed webhook, without which it could not be restored. They contain no token and no presigned URL.

An upload works without its log, because most state is read from the API. The log answers what the API cannot: what
became of a registration without a response, and which pickle a slot ran before. Lines about a pickle contain its
``sha256``; ``dist/NAME/receipt.json`` is derived from them (:mod:`builder.upload.receipt`). See ``docs/upload.md``.

| step | written | facts |
| --- | --- | --- |
| ``planned`` | before anything is sent | bundle, pickle, image, data version, slot, account |
| ``authorised`` | before the bytes are sent | stored name |
| ``put`` | when all bytes are stored | stored name |
| ``create sent`` | before the registration is sent | stored name, ids of the pickles that existed before |
| ``created`` | when its id is known | its id |
| ``unknown status`` | for each unknown status of its validation or run | of what, status |
| ``validated``, ``failed`` | when its validation ends | status |
| ``assigning`` | before the slot is changed, by any command | from which pickle, to which (null: no pickle) |
| ``assigned``, ``read back`` | after that | what the slot runs |
| ``given back`` | when the slot's previous pickle is restored | that pickle |
| ``triggering`` | before a run is started | ids of the runs that existed before |
| ``triggered``, ``run failed`` | when the run is known; when it failed | its id |
| ``webhook taken`` | before the slot's webhook is removed | its address |
| ``webhook back``, ``webhook gone`` | when it was restored; when it stays removed | |
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import os
import re
import stat
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from builder import errors, locks, paths
from builder.build import untrusted_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from builder.tournament import Slot

FORMAT = 1
PLANNED, AUTHORISED, PUT, CREATE_SENT, CREATED = "planned", "authorised", "put", "create sent", "created"
VALIDATED, FAILED, UNKNOWN_STATUS = "validated", "failed", "unknown status"
ASSIGNING, ASSIGNED, READ_BACK, GIVEN_BACK = "assigning", "assigned", "read back", "given back"
TRIGGERING, TRIGGERED, RUN_FAILED = "triggering", "triggered", "run failed"
WEBHOOK_TAKEN, WEBHOOK_BACK, WEBHOOK_GONE = "webhook taken", "webhook back", "webhook gone"
ABOUT_WEBHOOK = (WEBHOOK_TAKEN, WEBHOOK_BACK, WEBHOOK_GONE)
_OUTCOMES = {
    PLANNED: (PLANNED,),
    CREATED: (CREATE_SENT, CREATED),
    VALIDATED: (VALIDATED, FAILED),
    FAILED: (VALIDATED, FAILED),
    READ_BACK: (ASSIGNING, READ_BACK),
}
"""For :meth:`SlotLog.write_once`: the steps that replace each other; the newest of them is the current state."""
_RESERVED_BYTES = 1 << 16
_READ_BYTES = 1 << 20
"""Only the end of a log is read: about a thousand lines, of hundreds of uploads."""
# O_NOFOLLOW: do not write to the target of a link. O_NONBLOCK: do not block on a FIFO.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One line of a log: the API's time, the step and its facts."""

    at: str
    step: str
    facts: dict[str, Any]

    def get_text(self, key: str) -> str:
        """Return a fact, or an empty string if it is missing or not one line of printable text."""
        value = self.facts.get(key)
        return value if isinstance(value, str) and value.isprintable() else ""

    def to_line(self) -> bytes:
        """Return the entry as JSON, without a newline."""
        return json.dumps({"format": FORMAT, "at": self.at, "step": self.step, **self.facts}).encode()


class SlotLog:
    """The log of one slot.

    Args:
        path: The file, created with the first line.
        clock: Returns the API's time, so that lines of several computers compare; default: this computer's clock.
        sha256: The pickle that is being uploaded, added to each line.
        reserve: The file of :func:`reserve_space`, closed to free its space if the disk is full.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], dt.datetime] | None = None,
        *,
        sha256: str = "",
        reserve: BinaryIO | None = None,
    ) -> None:
        self.path, self._clock, self._sha256, self._reserve = path, clock or _get_local_time, sha256, reserve

    @property
    def entries(self) -> Sequence[LogEntry]:
        """All lines, read on each access because other commands write to the same log."""
        return read(self.path)

    @property
    def uploads(self) -> list[LogEntry]:
        """The lines about the pickle that is being uploaded."""
        return filter_by_pickle(self.entries, self._sha256)

    def write(self, step: str, **facts: str | int | None) -> None:
        """Append a line and sync it to disk.

        Raises:
            errors.ArtifactError: The log cannot be written.
        """
        entry = self._entry(step, facts)
        try:
            self._append(entry.to_line())
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise _create_error(self.path, error) from error
            if self._reserve is not None:
                self._reserve.close()  # frees the space for this line
            try:
                self._append(entry.to_line())
            except OSError as second_error:
                raise _create_error(self.path, second_error) from second_error

    def write_once(self, step: str, **facts: str | int | None) -> None:
        """Append a line unless the newest line of these steps (``_OUTCOMES``) for this pickle is the same.

        Raises:
            errors.ArtifactError: The log cannot be written.
        """
        newest = find_last(self.uploads, *_OUTCOMES[step])
        if newest is None or (newest.step, newest.facts) != (step, self._entry(step, facts).facts):
            self.write(step, **facts)

    def _entry(self, step: str, facts: dict[str, Any]) -> LogEntry:
        tag = {"sha256": self._sha256} if self._sha256 else {}
        return LogEntry(at=self._clock().isoformat(timespec="milliseconds"), step=step, facts={**tag, **facts})

    def _append(self, line: bytes) -> None:
        is_new = not self.path.exists()
        handle = os.open(self.path, _APPEND, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "not a plain file")
            # Start with a newline, because a killed writer may have left an incomplete line.
            data = b"\n" + line + b"\n"
            # One write to a file opened with O_APPEND, so that lines of two commands are not mixed.
            if os.write(handle, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
        finally:
            os.close(handle)
        if (
            is_new
        ):  # or the file itself may be gone after a power failure: https://man7.org/linux/man-pages/man2/fsync.2.html
            _sync_folder(self.path.parent)


def ensure_folder() -> Path:
    """Create the folder of the logs if it does not exist, and return it.

    Raises:
        errors.ArtifactError: It cannot be created.
    """
    try:
        logs = paths.state_folder() / "slots"
        logs.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise errors.ArtifactError(
            f"cannot create {error.filename} ({error.strerror}), and slots are not changed without logging what they "
            "ran; free some space, or set XDG_STATE_HOME to another folder"
        ) from error
    return logs


def get_log_path(slot_id: str) -> Path:
    """Return the path of a slot's log; raises the same as :func:`ensure_folder`."""
    return ensure_folder() / f"{_to_filename(slot_id)}.jsonl"


def open_log(
    slot: Slot,
    clock: Callable[[], dt.datetime] | None = None,
    *,
    sha256: str = "",
    reserve: BinaryIO | None = None,
) -> SlotLog:
    """Return a slot's log, see :class:`SlotLog`; raises the same as :func:`ensure_folder`."""
    return SlotLog(get_log_path(slot.id), clock, sha256=sha256, reserve=reserve)


def read(path: Path, *, max_bytes: int = _READ_BYTES) -> Sequence[LogEntry]:
    """Read the last bytes of a log; incomplete and invalid lines are skipped, and an unreadable log is empty."""
    try:
        with untrusted_files.open_file(path, max_bytes=sys.maxsize) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - max_bytes))
            lines = file.read(min(size, max_bytes)).splitlines()
    except (OSError, errors.ArtifactError):
        return ()
    return tuple(entry for line in lines if (entry := _parse_line(line)) is not None)


def read_all() -> Iterator[tuple[Path, Sequence[LogEntry]]]:
    """Yield the logs of all slots on this machine."""
    try:
        logs = sorted(ensure_folder().glob("*.jsonl"))
    except errors.ArtifactError:  # without a folder there are no logs
        return
    for path in logs:
        yield path, read(path)


def filter_by_pickle(entries: Iterable[LogEntry], sha256: str) -> list[LogEntry]:
    """Return the lines about uploads of a pickle."""
    return [entry for entry in entries if entry.get_text("sha256") == sha256]


def find_last(entries: Sequence[LogEntry], *steps: str) -> LogEntry | None:
    """Return the newest line that has one of these steps, or None."""
    return next((entry for entry in reversed(entries) if entry.step in steps), None)


def find_last_change(entries: Iterable[LogEntry], pickle: str | None) -> LogEntry | None:
    """Return the newest ``assigning`` line of a pickle (None: no pickle) that was not undone."""
    changes: list[LogEntry] = []
    for entry in entries:
        if entry.step == ASSIGNING:
            changes.append(entry)
        elif entry.step == GIVEN_BACK and changes:  # it undoes the newest change that is not undone
            changes.pop()
    return next((entry for entry in reversed(changes) if entry.get_text("pickle") == (pickle or "")), None)


def find_since_change(entries: Sequence[LogEntry], pickle: str) -> list[LogEntry]:
    """Return the lines about a pickle (its id) since it was assigned; all of them if the log does not contain that."""
    change = find_last_change(entries, pickle)
    later = entries if change is None else entries[entries.index(change) :]
    return [entry for entry in later if entry.get_text("pickle") == pickle]


def find_pending_webhook(entries: Iterable[LogEntry]) -> str | None:
    """Return the address of a webhook that an interrupted upload removed and did not restore, or None."""
    address = None
    for entry in entries:
        if entry.step == WEBHOOK_TAKEN:
            address = entry.get_text("address") or None
        elif entry.step in {WEBHOOK_BACK, WEBHOOK_GONE}:
            address = None
    return address


def find_removed_webhook(entries: Iterable[LogEntry], pickle: str | None) -> str | None:
    """Return the address of the webhook that was removed to assign the slot's current pickle, or None."""
    address = None
    for entry in entries:
        if entry.step == WEBHOOK_TAKEN:
            address = entry.get_text("address") or None
        elif entry.step == WEBHOOK_BACK or (entry.step == ASSIGNING and entry.get_text("pickle") != (pickle or "")):
            address = None
    return address


@contextlib.contextmanager
def reserve_space() -> Iterator[BinaryIO]:
    """Reserve disk space, so that a log can be written to the end of an upload even if the disk fills up.

    The space is in an unnamed temporary file: each process has its own, and the kernel frees it when the process ends.

    Raises:
        errors.ArtifactError: The disk is full, or the folder is not writable.
    """
    logs = ensure_folder()
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(dir=logs))
            # Written, not only sized: a file with a hole takes no space.
            file.write(bytes(_RESERVED_BYTES))
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise _create_error(logs, error) from error
        yield file


@contextlib.contextmanager
def lock_slot(slot_name: str) -> Iterator[None]:
    """Lock a slot for one upload at a time; the lock goes by the name, because a new slot has no id yet.

    Raises:
        errors.RefusedError: Another upload to the slot is running; the message contains its process id.
        errors.LockError: The folder is not writable, or its file system has no locks.
    """

    def refuse(holder: str) -> None:
        raise errors.RefusedError(
            f"{slot_name}: another upload to this slot is running ({holder}); wait for it to end, or stop it: what it "
            "has done is not lost"
        )

    with locks.acquire(ensure_folder() / f".upload-{_to_filename(slot_name)}.lock", refuse):
        yield


def get_registration_lock(sha256: str) -> Path:
    """Return the lock file by which uploads of one pickle to several slots register it one at a time."""
    return ensure_folder() / f".register-{sha256[:12]}.lock"


def _to_filename(name: str) -> str:
    """Return a slot's name or id as a safe part of a file name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:80]


def _get_local_time() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _sync_folder(path: Path) -> None:
    """Sync a folder, because syncing a new file does not sync its name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _parse_line(line: bytes) -> LogEntry | None:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return None
    at, step = data.pop("at", None), data.pop("step", None)
    if not isinstance(at, str) or not isinstance(step, str) or not (at + step).isprintable():
        return None
    del data["format"]
    return LogEntry(at=at, step=step, facts=data)


def _create_error(path: Path, error: OSError) -> errors.ArtifactError:
    return errors.ArtifactError(
        f"cannot write {path} ({error.strerror}), and nothing is done at the tournament without logging it first; "
        "free some space or fix the permissions, then run it again"
    )
