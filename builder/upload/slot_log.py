"""Records what is done to a slot: one append-only log a slot, each line synced to the disk before its step is taken.

The logs lie in the user's state folder (``numerai-builder/slots``) and are readable by that user alone: a webhook's
address is in them, because nothing else could put it back. No token and no presigned address is.

An upload can go on without its log, because what the API knows is read from the API. The log decides what the API
cannot tell: what became of a registration whose answer was lost, and what a slot ran before. Lines about one pickle
hold its ``sha256``; ``dist/NAME/receipt.json`` is derived from them (:mod:`builder.upload.receipt`).

| step | written | facts |
| --- | --- | --- |
| ``planned`` | before anything is sent | bundle, pickle, image, data version, slot, account |
| ``authorised`` | before the bytes are sent | stored name |
| ``put`` | when all bytes are stored | stored name |
| ``create sent`` | before the registration is sent | stored name, ids of the records that were there before |
| ``created`` | when the record is known | its id |
| ``unknown status`` | for each unknown status of its validation or run | of what, status |
| ``validated``, ``failed`` | when its validation ends | status |
| ``assigning`` | before the slot is changed, by any command | from which pickle, to which (null: none) |
| ``assigned``, ``read back`` | after that | what the slot runs |
| ``given back`` | when the slot has again what it had | that pickle |
| ``triggering`` | before a run is ordered | ids of the runs that were there before |
| ``triggered``, ``run failed`` | when the run is known; when it failed | its id |
| ``webhook taken`` | before the slot's webhook is taken away | its address |
| ``webhook back``, ``webhook gone`` | when it was put back; when it stays away | |
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
"""For :meth:`SlotLog.write_once`: the steps of which the newest says what holds now."""
_RESERVED_BYTES = 1 << 16
_READ_BYTES = 1 << 20
"""The end of a log that is read: some thousand lines, of hundreds of uploads."""
# A link is not followed: what it names would be written to. A FIFO is not waited for.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One line: the API's time, the step, and its facts."""

    at: str
    step: str
    facts: dict[str, Any]

    def get_text(self, key: str) -> str:
        """Return a fact, or an empty text if it is missing or not one line of printable text."""
        value = self.facts.get(key)
        return value if isinstance(value, str) and value.isprintable() else ""

    def to_line(self) -> bytes:
        """Return the entry as it is written."""
        return json.dumps({"format": FORMAT, "at": self.at, "step": self.step, **self.facts}).encode()


class SlotLog:
    """The log of one slot.

    Args:
        path: Its file, made with the first line.
        clock: Tells the API's time, which is comparable between computers. None for a log that is only read.
        sha256: The pickle that is being uploaded; written into each line.
        reserve: What :func:`reserved` yields: given up when the disk is full.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], dt.datetime] | None = None,
        *,
        sha256: str = "",
        reserve: BinaryIO | None = None,
    ) -> None:
        self.path, self._clock, self._sha256, self._spare = path, clock or _local_time, sha256, reserve

    @property
    def entries(self) -> Sequence[LogEntry]:
        """All lines, read again each time: other commands write to the same log."""
        return read(self.path)

    @property
    def uploads(self) -> list[LogEntry]:
        """The lines about the pickle that is being uploaded."""
        return filter_by_pickle(self.entries, self._sha256)

    def write(self, step: str, **facts: str | int | None) -> None:
        """Append a line; it is on the disk when this returns.

        Raises:
            errors.ArtifactError: It cannot be written.
        """
        entry = self._entry(step, facts)
        try:
            self._append(entry.to_line())
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise _not_writable(self.path, error) from error
            if self._spare is not None:
                self._spare.close()  # it was kept for this
            try:
                self._append(entry.to_line())
            except OSError as again:
                raise _not_writable(self.path, again) from again

    def write_once(self, step: str, **facts: str | int | None) -> None:
        """Append a line unless the newest outcome of this kind, for this pickle, says the same already.

        Raises:
            errors.ArtifactError: It cannot be written.
        """
        newest = find_last(self.uploads, *_OUTCOMES[step])
        if newest is None or (newest.step, newest.facts) != (step, self._entry(step, facts).facts):
            self.write(step, **facts)

    def _entry(self, step: str, facts: dict[str, Any]) -> LogEntry:
        tag = {"sha256": self._sha256} if self._sha256 else {}
        return LogEntry(at=self._clock().isoformat(timespec="milliseconds"), step=step, facts={**tag, **facts})

    def _append(self, to_line: bytes) -> None:
        is_new = not self.path.exists()
        handle = os.open(self.path, _APPEND, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "not a plain file")
            # A killed writer may have left half a line: this one starts on its own.
            whole = b"\n" + to_line + b"\n"
            if os.write(handle, whole) != len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            _sync_folder(self.path.parent)


def ensure_folder() -> Path:
    """Return the folder of the logs, made on first use.

    Raises:
        errors.ArtifactError: It cannot be made.
    """
    try:
        logs = paths.state_folder() / "slots"
        logs.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise errors.ArtifactError(
            f"{error.filename}: cannot be created ({error.strerror}), and no slot is changed without recording what it "
            "ran; free some space, or set XDG_STATE_HOME to another folder"
        ) from error
    return logs


def get_log_path(slot_id: str) -> Path:
    """Return the path of a slot's log; raises what :func:`ensure_folder` does."""
    return ensure_folder() / f"{_plain(slot_id)}.jsonl"


def open_log(
    slot: Slot,
    clock: Callable[[], dt.datetime] | None = None,
    *,
    sha256: str = "",
    reserve: BinaryIO | None = None,
) -> SlotLog:
    """Return a slot's log; see :class:`SlotLog`, and raises what :func:`ensure_folder` does."""
    return SlotLog(get_log_path(slot.id), clock, sha256=sha256, reserve=reserve)


def read(path: Path, *, max_bytes: int = _READ_BYTES) -> Sequence[LogEntry]:
    """Return the lines in the last bytes of a log; half a line, as a killed writer leaves it, is skipped."""
    try:
        with untrusted_files.open_file(path, max_bytes=sys.maxsize) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - max_bytes))
            lines = file.read(min(size, max_bytes)).splitlines()
    except (OSError, errors.ArtifactError):
        return ()
    return tuple(entry for to_line in lines if (entry := _read_line(to_line)) is not None)


def read_all() -> Iterator[tuple[Path, Sequence[LogEntry]]]:
    """Yield the logs of all slots on this machine."""
    try:
        logs = sorted(ensure_folder().glob("*.jsonl"))
    except errors.ArtifactError:  # nothing can have been recorded there
        return
    for path in logs:
        yield path, read(path)


def filter_by_pickle(entries: Iterable[LogEntry], sha256: str) -> list[LogEntry]:
    """Return the lines about the uploads of a pickle."""
    return [entry for entry in entries if entry.get_text("sha256") == sha256]


def find_last(entries: Sequence[LogEntry], *steps: str) -> LogEntry | None:
    """Return the newest line of one of these steps."""
    return next((entry for entry in reversed(entries) if entry.step in steps), None)


def find_last_change(entries: Iterable[LogEntry], pickle: str | None) -> LogEntry | None:
    """Return the newest ``assigning`` line by which a slot came to run a pickle (None: no pickle) and kept it."""
    kept: list[LogEntry] = []
    for entry in entries:
        if entry.step == ASSIGNING:
            kept.append(entry)
        elif entry.step == GIVEN_BACK and kept:
            kept.pop()
    return next((entry for entry in reversed(kept) if entry.get_text("pickle") == (pickle or "")), None)


def find_since_change(entries: Sequence[LogEntry], pickle: str) -> list[LogEntry]:
    """Return the lines about a pickle (its id) since the slot came to run it; all about it if no line says when."""
    change = find_last_change(entries, pickle)
    later = entries if change is None else entries[entries.index(change) :]
    return [entry for entry in later if entry.get_text("pickle") == pickle]


def find_pending_webhook(entries: Iterable[LogEntry]) -> str | None:
    """Return the address of a webhook that was taken away by an upload that did not end."""
    address = None
    for entry in entries:
        if entry.step == WEBHOOK_TAKEN:
            address = entry.get_text("address") or None
        elif entry.step in {WEBHOOK_BACK, WEBHOOK_GONE}:
            address = None
    return address


def find_removed_webhook(entries: Iterable[LogEntry], pickle: str | None) -> str | None:
    """Return the address of the webhook that was taken away so that a slot could run a pickle, its present one."""
    address = None
    for entry in entries:
        if entry.step == WEBHOOK_TAKEN:
            address = entry.get_text("address") or None
        elif entry.step == WEBHOOK_BACK or (entry.step == ASSIGNING and entry.get_text("pickle") != (pickle or "")):
            address = None
    return address


@contextlib.contextmanager
def reserve_space() -> Iterator[BinaryIO]:
    """Make sure, before anything is sent, that a log can be written to the end of an upload.

    The space is held by a file without a name: each process has its own, and it is gone when the process ends.

    Raises:
        errors.ArtifactError: The disk is full, or the folder is not writable.
    """
    logs = ensure_folder()
    with contextlib.ExitStack() as undo:
        try:
            file = undo.enter_context(tempfile.TemporaryFile(dir=logs))
            file.write(bytes(_RESERVED_BYTES))
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise _not_writable(logs, error) from error
        yield file


@contextlib.contextmanager
def lock_slot(slot_name: str) -> Iterator[None]:
    """Hold the lock of the uploads to a slot; one that is to be made has no id yet, so it goes by the name.

    Raises:
        errors.RefusedError: Another upload to the slot is running; the message says which process.
        errors.LockError: The folder is not writable, or has no locks.
    """

    def refuse(holder: str) -> None:
        raise errors.RefusedError(
            f"{slot_name}: another upload to this slot is running ({holder}); wait for it to end, or stop it: what it "
            "did is not lost"
        )

    with locks.acquire(ensure_folder() / f".upload-{_plain(slot_name)}.lock", refuse):
        yield


def get_registration_lock(sha256: str) -> Path:
    """Return the lock file that uploads of one pickle to several slots take turns by when they register it."""
    return ensure_folder() / f".register-{sha256[:12]}.lock"


def _plain(name: str) -> str:
    """Return a slot's name or id as part of a file name: it cannot leave the folder."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:80]


def _local_time() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _sync_folder(path: Path) -> None:
    """Sync a new file's name to the disk too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_line(to_line: bytes) -> LogEntry | None:
    try:
        data = json.loads(to_line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return None
    at, step = data.pop("at", None), data.pop("step", None)
    if not isinstance(at, str) or not isinstance(step, str) or not (at + step).isprintable():
        return None
    del data["format"]
    return LogEntry(at=at, step=step, facts=data)


def _not_writable(path: Path, error: OSError) -> errors.ArtifactError:
    return errors.ArtifactError(
        f"{path}: cannot be written ({error.strerror}), and nothing is done at the tournament that is not recorded "
        "first; free some space or fix the permissions, then run it again"
    )
