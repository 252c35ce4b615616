"""Moves what versions up to 0.1 wrote beside the pickle into the slots' logs: journals and kept receipts, read once.

``dist/NAME/journal-KEY.jsonl`` and ``dist/NAME/receipts/KEY.json`` were one file per pickle and slot. Their lines go
where they belong by their times, and the files are removed. ``dist/NAME`` may have come from a stranger: only steps of
an upload are taken, and only plain facts.
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
_MOST_FILES, _MOST_RECEIPT = 10_000, 1 << 16
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
"""The steps of an upload, and which facts of each a receipt holds."""
_SAME_TIME = dt.timedelta(seconds=3)
"""The API's clock is known to a second, by each command from an answer of its own."""


def migrate(root: Path, slots: Iterable[Slot]) -> None:
    """Move the journals and receipts below ``dist`` into the logs of these slots; what is of others stays.

    Raises:
        errors.ArtifactError: A log cannot be written; nothing was removed then.
    """
    dist = root / "dist"
    found = [
        (path.parent, path.stem.removeprefix(_JOURNAL))
        for path in itertools.islice(dist.glob(f"*/{_JOURNAL}*.jsonl"), _MOST_FILES)
    ]
    found += [
        (path.parent.parent, path.stem) for path in itertools.islice(dist.glob(f"*/{_RECEIPTS}/*.json"), _MOST_FILES)
    ]
    slots = tuple(slots)
    for folder, key in sorted(set(found)):
        used = [folder / f".upload-{key}.lock", folder / f".register-{key[:12]}.lock"]
        if not any(map(_is_held, used)):  # else such a version is uploading right now
            _move(folder, key, slots, used)


def _is_held(lock: Path) -> bool:
    with contextlib.suppress(errors.LockError):  # it is not a lock file of this tool
        return locks.is_held(lock)
    return False


def _move(folder: Path, key: str, slots: Sequence[Slot], used: Sequence[Path]) -> None:
    journal, receipt = folder / f"{_JOURNAL}{key}.jsonl", folder / _RECEIPTS / f"{key}.json"
    kept = _read_receipt(receipt)
    entries = [entry for entry in slot_log.read(journal) if entry.step in _STEPS]
    slot = _find_slot(entries, kept, slots)
    if slot is None:
        return
    path = slot_log.get_log_path(slot.id)
    lines = _convert(entries, kept) if entries else _from_receipt(kept)
    merged = _merge(slot_log.read(path, max_bytes=sys.maxsize), lines)  # it is written again: all of it
    try:
        paths.write_atomically(path, b"".join(entry.to_line() + b"\n" for entry in merged), mode=0o600)
    except OSError as error:
        raise errors.ArtifactError(
            f"{path}: cannot be written ({error.strerror}), and {journal} belongs into it; free some space or fix the "
            "permissions, then run it again"
        ) from error
    with contextlib.suppress(OSError):  # what is left there is moved once more, which changes nothing
        for old in (journal, *([receipt] if kept else []), *used):
            old.unlink(missing_ok=True)
        receipt.parent.rmdir()


def _find_slot(entries: Sequence[LogEntry], kept: dict[str, Any], slots: Sequence[Slot]) -> Slot | None:
    """Return the slot that files are about; by its name if that was to be created, and no id was known."""
    found = {}
    for key in ("slot_id", "slot"):
        found[key] = {entry.get_text(key) for entry in entries if entry.get_text(key)} | (
            {kept[key]} if key in kept else set()
        )
    if found["slot_id"]:
        return next((one for one in slots if one.id in found["slot_id"]), None)
    return next((one for one in slots if one.name in found["slot"]), None)


def _read_receipt(path: Path) -> dict[str, Any]:
    try:
        untrusted_files.check_folder(path.parent)  # behind a link it is not this folder's
        data = json.loads(untrusted_files.read_bytes(path, max_bytes=_MOST_RECEIPT))
    except (OSError, ValueError, RecursionError, errors.ArtifactError):
        return {}
    if not isinstance(data, dict) or data.get("format") != 1 or not isinstance(data.get("times"), dict):
        return {}
    return {**_plain(data), "times": _plain(data["times"])}


def _convert(entries: Sequence[LogEntry], kept: dict[str, Any]) -> list[LogEntry]:
    """Return a journal's lines as a slot's log has them: each names its pickle, and is as full as the receipt is."""
    sha256 = next((entry.get_text("sha256") for entry in entries if entry.get_text("sha256")), "")
    lines = []
    for entry in entries:
        facts = _plain(entry.facts)
        if entry.step == slot_log.PLANNED:
            facts = {"slot": entry.get_text("slot"), "slot_id": entry.get_text("slot_id")}
            facts |= {"image_id": entry.get_text("image"), "data_version_id": entry.get_text("data_version")}
        if entry.step in {slot_log.PLANNED, slot_log.READ_BACK} and _agree(facts, kept):
            facts = _facts_of(entry.step, kept)
        lines.append(LogEntry(at=entry.at, step=entry.step, facts={**facts, "sha256": sha256}))
    return lines


def _agree(facts: dict[str, Any], kept: dict[str, Any]) -> bool:
    return all(kept.get(key) == value for key, value in facts.items() if value)


def _from_receipt(kept: dict[str, Any]) -> list[LogEntry]:
    """Return the lines of an upload of which only the receipt is left."""
    lines = []
    for at, step in sorted((str(at), step) for step, at in kept.get("times", {}).items() if step in _STEPS):
        facts = {**_facts_of(step, kept), "sha256": kept.get("sha256")}
        if step == slot_log.ASSIGNING:
            if kept.get("known") is not True:
                continue
            facts["before"] = kept.get("previous")
        lines.append(LogEntry(at=at, step=step, facts=facts))
    return lines


def _facts_of(step: str, kept: dict[str, Any]) -> dict[str, Any]:
    return {key: kept.get(key) for key in _STEPS[step]}


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in facts.items()
        if value is None or isinstance(value, int) or (isinstance(value, str) and value.isprintable())
    }


def _merge(log: Sequence[LogEntry], lines: Iterable[LogEntry]) -> list[LogEntry]:
    """Return a log with lines of another file put where they belong; both are in order, whatever their clocks said."""
    merged, index = list(log), 0
    for entry in lines:
        same = next((place for place in range(index, len(merged)) if _is_same(merged[place], entry)), None)
        if same is not None:
            merged[same], index = entry, same + 1
            continue
        while index < len(merged) and merged[index].at <= entry.at:
            index += 1
        merged.insert(index, entry)
        index += 1
    return merged


def _is_same(one: LogEntry, other: LogEntry) -> bool:
    """Tell whether two lines are about one act: a change of the slot was written into both files."""
    if one == other:
        return True
    if one.step != other.step or one.step not in {slot_log.ASSIGNING, slot_log.GIVEN_BACK}:
        return False
    keys = ("before", "pickle") if one.step == slot_log.ASSIGNING else ()
    then, now = tournament.read_time(one.at), tournament.read_time(other.at)
    is_close = then is not None and now is not None and abs(now - then) < _SAME_TIME
    return is_close and all(one.get_text(key) == other.get_text(key) for key in keys)
