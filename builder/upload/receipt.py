"""``receipt.json``: what was joined at the end, from bundle to slot; a copy is kept by pickle and slot."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from builder import errors, schema
from builder.build import artifact, untrusted
from builder.upload import journal

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
NAME, KEPT = "receipt.json", "receipts"
_MOST_BYTES, _MOST_FILES = 1 << 16, 10_000


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """All of it; no address, no token.

    Attributes:
        bundle: The bundle's hash.
        sha256: The pickle's.
        image: The runner image's digest; ``ref`` its reference, ``image_id`` the tournament's id of it.
        pickle: The id that the tournament gave; ``filename`` the name that it is stored under.
        previous: Id of what the slot ran before, or None; ``known`` says whether that is known at all.
        trigger: Id of the run that was asked for, or None.
        times: When each step was done.
    """

    name: str
    bundle: str
    sha256: str
    size: int
    image: str
    ref: str
    image_id: str
    data_version: str
    data_version_id: str
    pickle: str
    filename: str
    slot: str
    slot_id: str
    account: str
    previous: str | None
    known: bool
    trigger: str | None
    times: dict[str, str]

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"format": FORMAT, **asdict(self)}


def write(folder: Path, receipt: Receipt) -> None:
    """Write it to ``receipt.json``, and to where it stays when another pickle is made; not where it is already.

    Raises:
        errors.ArtifactError: The disk is full or may not be written.
    """
    journal.make_folder(folder / KEPT)
    content = (json.dumps(receipt.data(), indent=2, sort_keys=True) + "\n").encode()
    for name in (f"{KEPT}/{journal.key_of(receipt.sha256, receipt.slot)}.json", NAME):
        if not _holds(folder / name, content):
            artifact.write_report(folder, name, content)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return untrusted.read_bytes(path, most=_MOST_BYTES) == content
    except (OSError, errors.ArtifactError):
        return False


def remove(folder: Path, sha256: str, slot: str, pickle: str) -> None:
    """Take back what was written of a pickle (its hash and id) that did not come to stay in a slot (its name)."""
    for path in (folder / KEPT / f"{journal.key_of(sha256, slot)}.json", folder / NAME):
        if _read(path).get("pickle") == pickle:
            path.unlink(missing_ok=True)


def read(folder: Path, sha256: str, slot: str) -> dict[str, Any]:
    """Return the receipt that is kept for a pickle and a slot (its name); nothing where there is none."""
    return _read(folder / KEPT / f"{journal.key_of(sha256, slot)}.json")


def read_all(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return all receipts below ``dist``, those of other tools and formats left out."""
    paths = sorted(itertools.islice((root / "dist").glob(f"*/{KEPT}/*.json"), _MOST_FILES))
    return [(path, data) for path in paths if (data := _read(path))]


def _read(path: Path) -> dict[str, Any]:
    try:
        data = schema.read_json(untrusted.read_bytes(path, most=_MOST_BYTES))
    except (OSError, errors.ArtifactError):
        return {}
    return data if isinstance(data, dict) and data.get("format") == FORMAT and _is_plain(data) else {}


def _is_plain(data: dict[str, Any]) -> bool:
    """Tell whether all texts are lines that can be printed: a receipt may have come from a stranger."""
    return all(not isinstance(value, str) or value.isprintable() for value in data.values())
