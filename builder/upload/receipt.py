"""Write ``dist/NAME/receipt.json``: which bundle, pickle, image and slot belong together, from the slot's log."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.build import artifact, untrusted_files
from builder.upload import slot_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.upload.slot_log import LogEntry

FORMAT = 1
NAME = "receipt.json"
_MAX_BYTES = 1 << 16


def derive(entries: Sequence[LogEntry], sha256: str) -> dict[str, Any]:
    """Derive the receipt of a slot's newest upload of a pickle from the slot's log.

    ``previous`` is the id of the pickle that the slot ran before, or None, which means no pickle only if ``known`` is
    true. ``trigger`` is the id of the run that was started since, or None. ``times`` has the last time of each step.
    """
    uploads = slot_log.filter_by_pickle(entries, sha256)
    planned, read_back = (slot_log.find_last(uploads, step) for step in (slot_log.PLANNED, slot_log.READ_BACK))
    facts = dict(planned.facts) if planned else {}
    if read_back:  # what the slot runs, which takes precedence over what was planned
        facts |= {key: value for key, value in read_back.facts.items() if value}
    pickle = str(facts.get("pickle", ""))
    change = slot_log.find_last_change(entries, pickle)
    run = slot_log.find_last(slot_log.find_since_change(entries, pickle), slot_log.TRIGGERED)
    return {
        "format": FORMAT,
        **facts,
        "previous": (change.get_text("before") or None) if change else None,
        "known": change is not None,
        "trigger": run.get_text("trigger") if run else None,
        "times": {entry.step: entry.at for entry in uploads if entry.step not in slot_log.ABOUT_WEBHOOK},
    }


def write(folder: Path, receipt: dict[str, Any]) -> None:
    """Write ``receipt.json`` unless its content is the same.

    Raises:
        errors.ArtifactError: The disk is full or the folder is not writable.
    """
    content = (json.dumps(receipt, indent=2, sort_keys=True) + "\n").encode()
    if _read(folder) != content:
        artifact.write_report(folder, NAME, content)


def remove(folder: Path, slot_id: str, pickle: str) -> None:
    """Remove ``receipt.json`` if it is about this slot and pickle (its id), after the assignment was undone."""
    with contextlib.suppress(OSError, ValueError, RecursionError, TypeError, KeyError):
        receipt = json.loads(_read(folder))
        if (receipt["slot_id"], receipt["pickle"]) == (slot_id, pickle):
            (folder / NAME).unlink()


def _read(folder: Path) -> bytes:
    try:
        return untrusted_files.read_bytes(folder / NAME, max_bytes=_MAX_BYTES)
    except (OSError, errors.ArtifactError):
        return b""
