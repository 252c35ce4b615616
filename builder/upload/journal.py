"""What an upload did so far: a line of JSON before each step, synced to the disk, beside the pickle.

Nothing depends on it: what is needed to go on or back is read from the API too. It makes that sharper where the API
cannot tell (a registration whose answer was lost), and it says what a slot ran before. No address and no token is in
it.

| step | what it says |
| --- | --- |
| ``planned`` | what the slot runs now, the image and the data version |
| ``authorised`` | the stored name; the bytes go there next |
| ``put`` | all bytes are stored |
| ``create sent`` | the registration goes out next |
| ``created`` | the pickle's id |
| ``unknown status`` | an unknown status of its validation, or of its run: of what, and the status |
| ``validated``, ``failed`` | how its validation ended |
| ``assigning`` | the slot is changed next: from what, to what |
| ``assigned``, ``read back`` | it was |
| ``given back`` | the slot has again what it had |
| ``triggering``, ``triggered``, ``run failed`` | a run is asked for next; it was; it failed, which was told |
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from builder import errors, locks
from builder.build import untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

FORMAT = 1
PLANNED, AUTHORISED, PUT, CREATE_SENT, CREATED = "planned", "authorised", "put", "create sent", "created"
VALIDATED, FAILED, ASSIGNING, ASSIGNED, READ_BACK = "validated", "failed", "assigning", "assigned", "read back"
GIVEN_BACK, UNKNOWN_STATUS = "given back", "unknown status"
TRIGGERING, TRIGGERED, RUN_FAILED = "triggering", "triggered", "run failed"
_RESERVED_BYTES = 1 << 16
_MOST_BYTES = 1 << 24
# A link is not followed: what it names would be written to. A FIFO is not waited for.
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """One line: when, which step, and its facts (texts; None where there is none)."""

    at: str
    step: str
    facts: dict[str, Any]

    def text(self, key: str) -> str:
        """Return a fact; nothing if it is missing, or not a line of text."""
        value = self.facts.get(key)
        return value if isinstance(value, str) and value.isprintable() else ""


class Journal:
    """The journal of one pickle and one slot, or (:mod:`builder.upload.slot_log`) of a slot.

    Args:
        path: Its file; made with the first line.
        spare: What :func:`reserved` keeps for it.
        mode: Who may read it.
        clock: Tells the time of a line, by the API's clock: times of several files and computers are compared. None
            for a journal that is only read.
    """

    def __init__(
        self,
        path: Path,
        spare: BinaryIO | None = None,
        *,
        mode: int = 0o644,
        clock: Callable[[], dt.datetime] | None = None,
    ) -> None:
        self.path, self._spare, self._mode, self._clock = path, spare, mode, clock or _local_time
        self.entries: list[JournalEntry] = list(read(path))

    def write(self, step: str, **facts: str | None) -> JournalEntry:
        """Write a line down; it is on the disk when this returns.

        Raises:
            errors.ArtifactError: It cannot be written.
        """
        entry = JournalEntry(at=self._clock().isoformat(timespec="milliseconds"), step=step, facts=facts)
        line = json.dumps({"format": FORMAT, "at": entry.at, "step": step, **facts}).encode()
        try:
            self._append(line)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise _refused(self.path, error) from error
            if self._spare is not None:
                self._spare.close()  # it was kept for this
            try:
                self._append(line)
            except OSError as again:
                raise _refused(self.path, again) from again
        self.entries.append(entry)
        return entry

    def last(self, *steps: str) -> JournalEntry | None:
        """Return the newest line of one of these steps."""
        return next((one for one in reversed(self.entries) if one.step in steps), None)

    def since(self, step: str) -> list[JournalEntry]:
        """Return the lines from the newest of a step on; none where there is no such."""
        starts = [index for index, one in enumerate(self.entries) if one.step == step]
        return self.entries[starts[-1] :] if starts else []

    def _append(self, line: bytes) -> None:
        is_new = not self.path.exists()
        handle = os.open(self.path, _APPENDING, self._mode)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "not a plain file")
            # A killed writer may have left half a line: this one starts on its own.
            whole = b"\n" + line + b"\n"
            if os.write(handle, whole) != len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            _sync_folder(self.path.parent)


def _local_time() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def path_of(folder: Path, sha256: str, slot: str) -> Path:
    """Return where the journal of a pickle and a slot (its name) is, in ``dist/NAME``."""
    return folder / f"journal-{key_of(sha256, slot)}.jsonl"


def paths(folder: Path, sha256: str) -> list[Path]:
    """Return the journals of a pickle, of all slots that it was ever uploaded to."""
    return sorted(folder.glob(f"journal-{sha256[:12]}-*.jsonl"))


def key_of(sha256: str, slot: str) -> str:
    """Return what files of a pickle and a slot are named by."""
    return f"{sha256[:12]}-{re.sub(r'[^A-Za-z0-9_-]', '_', slot)[:60]}"


def read(path: Path) -> Sequence[JournalEntry]:
    """Return the lines that are there; what a killed writer left of its last one is left out."""
    try:
        lines = untrusted.read_bytes(path, most=_MOST_BYTES).splitlines()
    except (OSError, errors.ArtifactError):
        return ()
    return tuple(entry for line in lines if (entry := _read_line(line)) is not None)


@contextlib.contextmanager
def reserved(folder: Path) -> Iterator[BinaryIO]:
    """Make sure, before anything is sent anywhere, that a journal can be written to its end.

    What is kept is a file without a name: each process has its own, and it is gone when that ends, however it ends.

    Raises:
        errors.ArtifactError: The disk is full, or may not be written.
    """
    with contextlib.ExitStack() as undo:
        try:
            file = undo.enter_context(tempfile.TemporaryFile(dir=folder))
            file.write(bytes(_RESERVED_BYTES))
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise _refused(folder, error) from error
        yield file


def make_folder(path: Path) -> None:
    """Make a folder beside the journal.

    Raises:
        errors.ArtifactError: It cannot be made, or is a link to another one.
    """
    try:
        path.mkdir(exist_ok=True)
        untrusted.check_folder(path)
    except OSError as error:
        raise _refused(path, error) from error


@contextlib.contextmanager
def locked(folder: Path, sha256: str, slot: str) -> Iterator[None]:
    """Hold a pickle and a slot for one process; it is free again when that ends, however it ends.

    Raises:
        errors.RefusedError: Another process holds it: which one, and since when.
        errors.LockError: The folder cannot be written, or has no locks.
    """

    def refuse(holder: str) -> None:
        raise errors.RefusedError(
            f"{folder}: its upload to {slot} is already under way ({holder}); wait for that to end, or stop it: what "
            "it did is not lost"
        )

    with locks.hold(folder / f".upload-{key_of(sha256, slot)}.lock", refuse):
        yield


def _sync_folder(folder: Path) -> None:
    """Have a new file's name on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_line(line: bytes) -> JournalEntry | None:
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
    return JournalEntry(at=at, step=step, facts=data)


def _refused(path: Path, error: OSError) -> errors.ArtifactError:
    return errors.ArtifactError(
        f"{path}: cannot be written ({error.strerror}), and nothing is done at the tournament that is not written down "
        "first; free some space or mend the permissions, then run it again"
    )
