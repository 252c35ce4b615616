"""Move the journals and receipts of version 0.1 from ``dist/`` into the slots' logs.

Version 0.1 wrote ``dist/NAME/journal-KEY.jsonl`` and ``dist/NAME/receipts/KEY.json``, one of each per pickle and slot.
Their lines are merged into the logs by time, and the files are removed. ``dist/NAME`` may come from an untrusted
source: only known steps and plain values are used.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

from builder import errors, locks, paths, tournament
from builder.build import untrusted_files
from builder.upload import slot_log
from builder.upload.slot_log import LogEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from builder.tournament import Slot

_JOURNAL, _RECEIPTS = "journal-", "receipts"
_MAX_FILES, _MAX_RECEIPT_BYTES = 10_000, 1 << 16
_STORED, _RECORD, _SLOT = ("filename",), ("pickle", "filename"), ("slot", "slot_id")
_VERSIONS = ("image_id", "data_version", "data_version_id")
_STEPS = {
    slot_log.PLANNED: ("name", "bundle", "size", "image", "ref", *_VERSIONS, *_SLOT, "account"),
    slot_log.AUTHORISED: _STORED,
    slot_log.PUT: _STORED,
    slot_log.CREATE_SENT: _STORED,
    slot_log.CREATED: _RECORD,
    slot_log.VALIDATED: ("pickle",),
    slot_log.FAILED: ("pickle",),
    slot_log.UNKNOWN_STATUS: ("pickle",),
    slot_log.ASSIGNING: (*_SLOT, "pickle"),
    slot_log.ASSIGNED: ("pickle",),
    slot_log.READ_BACK: (*_RECORD, *_VERSIONS),
    slot_log.GIVEN_BACK: _SLOT,
    slot_log.TRIGGERING: ("pickle",),
    slot_log.TRIGGERED: ("pickle", "trigger"),
    slot_log.RUN_FAILED: ("pickle",),
}
"""The steps of an upload, and the facts of each that are also in a receipt."""
_SAME_TIME = dt.timedelta(seconds=3)
"""The API reports its time in whole seconds, and each command reads it from another response."""


def migrate(root: Path, slots: Iterable[Slot]) -> None:
    """Move the journals and receipts below ``root/dist`` that are about these slots into their logs.

    Raises:
        errors.ArtifactError: A log cannot be written; nothing was removed.
    """
    dist = root / "dist"
    records = [
        (path.parent, path.stem.removeprefix(_JOURNAL))
        for path in itertools.islice(dist.glob(f"*/{_JOURNAL}*.jsonl"), _MAX_FILES)
    ]
    records += [
        (path.parent.parent, path.stem) for path in itertools.islice(dist.glob(f"*/{_RECEIPTS}/*.json"), _MAX_FILES)
    ]
    slots = tuple(slots)
    for folder, key in sorted(set(records)):
        lock_files = [folder / f".upload-{key}.lock", folder / f".register-{key[:12]}.lock"]
        if not any(map(_is_held, lock_files)):  # otherwise version 0.1 is uploading right now
            _move(folder, key, slots, lock_files)


def _is_held(lock: Path) -> bool:
    with contextlib.suppress(errors.LockError):  # not a lock file of this tool, so nothing holds it
        return locks.is_held(lock)
    return False


def _move(folder: Path, key: str, slots: Sequence[Slot], lock_files: Sequence[Path]) -> None:
    journal, receipt = folder / f"{_JOURNAL}{key}.jsonl", folder / _RECEIPTS / f"{key}.json"
    receipt_data = _read_receipt(receipt)
    entries = [entry for entry in slot_log.read(journal) if entry.step in _STEPS]
    slot = _find_slot(entries, receipt_data, slots)
    if slot is None:
        return
    path = slot_log.get_log_path(slot.id)
    lines = _convert(entries, receipt_data) if entries else _convert_receipt(receipt_data)
    merged = _merge(slot_log.read(path, max_bytes=sys.maxsize), lines)  # all of it, because it is rewritten
    try:
        paths.write_atomically(path, b"".join(entry.to_line() + b"\n" for entry in merged), mode=0o600)
    except OSError as error:
        raise errors.ArtifactError(
            f"cannot write {path} ({error.strerror}), to which {journal} must be moved; free some space or fix the "
            "permissions, then run it again"
        ) from error
    with contextlib.suppress(OSError):  # a file that cannot be removed is merged again, which has no effect
        for old in (journal, *([receipt] if receipt_data else []), *lock_files):
            old.unlink(missing_ok=True)
        receipt.parent.rmdir()


def _find_slot(entries: Sequence[LogEntry], receipt_data: dict[str, Any], slots: Sequence[Slot]) -> Slot | None:
    """Return the slot that the files are about: by its id, or by its name if it was to be created."""
    values = {}
    for key in ("slot_id", "slot"):
        values[key] = {entry.get_text(key) for entry in entries if entry.get_text(key)} | (
            {receipt_data[key]} if key in receipt_data else set()
        )
    if values["slot_id"]:
        return next((slot for slot in slots if slot.id in values["slot_id"]), None)
    return next((slot for slot in slots if slot.name in values["slot"]), None)


def _read_receipt(path: Path) -> dict[str, Any]:
    try:
        untrusted_files.check_folder(path.parent)  # a link would lead to files outside of dist/NAME
        data = json.loads(untrusted_files.read_bytes(path, max_bytes=_MAX_RECEIPT_BYTES))
    except (OSError, ValueError, RecursionError, errors.ArtifactError):
        return {}
    if not isinstance(data, dict) or data.get("format") != 1 or not isinstance(data.get("times"), dict):
        return {}
    return {**_filter_plain(data), "times": _filter_plain(data["times"])}


def _convert(entries: Sequence[LogEntry], receipt_data: dict[str, Any]) -> list[LogEntry]:
    """Convert a journal's lines for a slot's log: add the pickle's hash, and the receipt's facts where they agree."""
    sha256 = next((entry.get_text("sha256") for entry in entries if entry.get_text("sha256")), "")
    lines = []
    for entry in entries:
        facts = _filter_plain(entry.facts)
        if entry.step == slot_log.PLANNED:
            facts = {"slot": entry.get_text("slot"), "slot_id": entry.get_text("slot_id")}
            facts |= {"image_id": entry.get_text("image"), "data_version_id": entry.get_text("data_version")}
        if entry.step in {slot_log.PLANNED, slot_log.READ_BACK} and _is_same_upload(facts, receipt_data):
            facts = _select_facts(entry.step, receipt_data)
        lines.append(LogEntry(at=entry.at, step=entry.step, facts={**facts, "sha256": sha256}))
    return lines


def _is_same_upload(facts: dict[str, Any], receipt_data: dict[str, Any]) -> bool:
    return all(receipt_data.get(key) == value for key, value in facts.items() if value)


def _convert_receipt(receipt_data: dict[str, Any]) -> list[LogEntry]:
    """Convert a receipt without a journal to lines for a slot's log."""
    lines = []
    for at, step in sorted((str(at), step) for step, at in receipt_data.get("times", {}).items() if step in _STEPS):
        facts = {**_select_facts(step, receipt_data), "sha256": receipt_data.get("sha256")}
        if step == slot_log.ASSIGNING:
            if receipt_data.get("known") is not True:
                continue
            facts["before"] = receipt_data.get("previous")
        lines.append(LogEntry(at=at, step=step, facts=facts))
    return lines


def _select_facts(step: str, receipt_data: dict[str, Any]) -> dict[str, Any]:
    return {key: receipt_data.get(key) for key in _STEPS[step]}


def _filter_plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in facts.items()
        if value is None or isinstance(value, int) or (isinstance(value, str) and value.isprintable())
    }


def _merge(log: Sequence[LogEntry], lines: Iterable[LogEntry]) -> list[LogEntry]:
    """Merge the lines of another file into a log by time, without changing the order of either."""
    merged, index = list(log), 0
    for entry in lines:
        same = next((i for i in range(index, len(merged)) if _is_same(merged[i], entry)), None)
        if same is not None:
            merged[same], index = entry, same + 1
            continue
        while index < len(merged) and merged[index].at <= entry.at:
            index += 1
        merged.insert(index, entry)
        index += 1
    return merged


def _is_same(entry: LogEntry, other: LogEntry) -> bool:
    """Return whether two lines record the same change: version 0.1 wrote slot changes into both files."""
    if entry == other:
        return True
    if entry.step != other.step or entry.step not in {slot_log.ASSIGNING, slot_log.GIVEN_BACK}:
        return False
    keys = ("before", "pickle") if entry.step == slot_log.ASSIGNING else ()
    times = tournament.read_time(entry.at), tournament.read_time(other.at)
    is_close = times[0] is not None and times[1] is not None and abs(times[1] - times[0]) < _SAME_TIME
    return is_close and all(entry.get_text(key) == other.get_text(key) for key in keys)
