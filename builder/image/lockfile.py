"""``builder.lock.yaml``, the one lock file: which digest each reference means here, and what was last built of it.

``images`` has an entry a reference (or the word ``default``), ``models`` one a model that was made in a pinned image.
The tool writes it: whole or not at all, one process at a time, always in the same order, so that a diff of it says what
changed and nothing else.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from builder import errors, locks, paths, schema
from builder.config import strict_yaml
from builder.config import values as config_values
from builder.registry import reference
from builder.text import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


NAME = "builder.lock.yaml"
_HEAD = """\
# Which image each reference means here, by digest, and what was last made in it. Keep it under version control.
# Written by `make pin` (python -m builder pin) and by `make pickle`; LOCKED=1 allows nothing that is not named here.
"""
_LOCK = "dist/.builder.lock"
"""Held while the file is changed; ``dist`` is under nobody's version control."""
_MOST_LABELS, _LONGEST = 20, 200


def _is_day(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


Day = Annotated[str, schema.Constraint(text='like "2026-11-24"', holds=_is_day)]


def _full_reference(text: str) -> str:
    if reference.parse(text).tag is None:
        raise ValueError(f"{describe(text)} has no tag; expected registry/repository:tag")
    return text


_Reference = Annotated[str, schema.ParsedText(parse=_full_reference, text="an image reference with a tag")]


@dataclass(frozen=True, kw_only=True)
class Pin:
    """What a reference means here.

    Attributes:
        digest: The repository digest: of the image, or of the index that the tag names.
        pinned: The day on which it was pinned.
        python: The image's Python, where it is known.
        labels: The image's own, those with a value.
        ref: The reference that ``default`` stood for; only there.
    """

    digest: schema.Digest
    pinned: Day
    python: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    ref: _Reference | None = None


@dataclass(frozen=True, kw_only=True)
class LockedModel:
    """What was last made of a config in a pinned image.

    Attributes:
        image: The image's digest.
        bundle: Hash of the bundle's files.
        pickle: Hash of the pickle.
    """

    image: schema.Digest
    bundle: schema.Sha256
    pickle: schema.Sha256 | None = None


@dataclass(frozen=True, kw_only=True)
class LockFile:
    """The whole file; empty where there is none.

    Attributes:
        format: Of the file.
        images: A pin by reference, in the one way to write it, or by the word ``default``.
        models: What was made, by the config's name.
    """

    format: Annotated[int, schema.require_equal(1)] = 1
    images: dict[str, Pin] = field(default_factory=dict)
    models: dict[str, LockedModel] = field(default_factory=dict)

    def with_pin(self, key: str, pin: Pin) -> LockFile:
        """Return it with one pin more, or another."""
        return dataclasses.replace(self, images={**self.images, key: pin})

    def with_model(self, name: str, model: LockedModel) -> LockFile:
        """Return it with one model more, or another."""
        return dataclasses.replace(self, models={**self.models, name: model})


def create_pin(
    digest: str, *, day: str, python: str = "", labels: Mapping[str, str] | None = None, ref: str = ""
) -> Pin:
    """Return a pin; of the labels, those that say something and are short enough to be read."""
    said = {key: value for key, value in sorted((labels or {}).items()) if _is_short(key) and _is_short(value)}
    return Pin(
        digest=digest,
        pinned=day,
        python=python if re.fullmatch(r"3\.[0-9]{1,2}(\.[0-9]{1,3})?", python) else None,
        labels=dict(list(said.items())[:_MOST_LABELS]),
        ref=ref or None,
    )


def read(root: Path) -> LockFile:
    """Read the lock file of a folder that holds ``configs/``; an empty one where there is none.

    Raises:
        errors.ConfigError: Everything that is wrong with it.
        OSError: It cannot be read.
    """
    path = root / NAME
    try:
        with path.open("rb") as file:
            text = file.read(strict_yaml.MAX_BYTES + 1)
    except FileNotFoundError:
        return LockFile()
    return parse(text, str(path))


def parse(text: bytes, shown: str) -> LockFile:
    """Read a lock file's text.

    Args:
        text: Any bytes.
        shown: What the file is called in messages.

    Raises:
        errors.ConfigError: Everything that is wrong with it.
    """
    document = strict_yaml.read(text)
    faults = list(document.problems)
    found = schema.parse(LockFile, document.data, spelling=document.spelling)
    if all(fault.path for _, fault in faults):
        wrong = found if isinstance(found, list) else _wrong_keys(found)
        if "format" not in document.data:
            wrong = [schema.Problem(path=("format",), text="missing; expected 1"), *wrong]
        known = {fault.path for _, fault in faults}
        faults += [(document.position(fault.path), fault) for fault in wrong if fault.path not in known]
    if faults or isinstance(found, list):
        faults.sort(key=lambda fault: fault[0])
        lines = [f"{shown}:{at[0]}: {_place(fault.path)}{fault.text}" for at, fault in faults]
        raise errors.ConfigError([*lines, f"{shown} is written by `make pin`: fix it, or remove it and run that"])
    return found


def update(
    root: Path, edit: Callable[[LockFile], LockFile], *, on_wait: Callable[[str], None]
) -> tuple[LockFile, LockFile]:
    """Change the lock file; two processes that do so come one after the other.

    Args:
        root: The folder that holds ``configs/``.
        edit: From what the file says to what it shall say.
        on_wait: Called once if another process is at it, with who that is.

    Returns:
        What it said and what it says now; nothing is written where these are the same.

    Raises:
        errors.ConfigError: What is there has faults.
        OSError: It cannot be written; what was there before still is.
    """
    with locks.acquire(root / _LOCK, on_wait):
        before = read(root)
        after = edit(before)
        if after != before:
            paths.write_atomically(root / NAME, to_bytes(after))
    return before, after


def to_bytes(lock: LockFile) -> bytes:
    """Return the file: sorted, one way to write each value."""
    data = schema.to_data(LockFile, lock)
    pins = {
        key: _without_empty({**pin, "labels": dict(sorted(pin["labels"].items()))})
        for key, pin in data["images"].items()
    }
    sections = {"images": dict(sorted(pins.items())), "models": dict(sorted(data["models"].items()))}
    return (_HEAD + strict_yaml.write({"format": lock.format, **_without_empty(sections)})).encode()


def format_added_entries(before: LockFile, after: LockFile) -> str:
    """Return the entries of a lock file that are new or changed, as they stand there; nothing for none."""
    added = LockFile(
        images={key: one for key, one in after.images.items() if before.images.get(key) != one},
        models={key: one for key, one in after.models.items() if before.models.get(key) != one},
    )
    return to_bytes(added).decode().removeprefix(f"{_HEAD}format: {added.format}\n").rstrip("\n")


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value != {}}


def _is_short(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isprintable()


def _wrong_keys(lock: LockFile) -> list[schema.Problem]:
    """Return what no type says: keys that are no references, and ``ref`` where it does not belong."""
    faults = []
    for key, one in lock.images.items():
        is_default = key == config_values.DEFAULT_IMAGE
        if not is_default and (said := _wrong_reference(key)):
            faults.append(schema.Problem(path=("images", key), text=said))
        if is_default and one.ref is None:
            faults.append(schema.Problem(path=("images", key), text="has no ref; expected what it stood for"))
        if not is_default and one.ref is not None:
            faults.append(schema.Problem(path=("images", key, "ref"), text="only default has one; leave it out"))
    return faults


def _wrong_reference(key: str) -> str:
    try:
        full = str(reference.parse(key))
    except ValueError as error:
        return str(error)
    return "" if full == key else f"is not written in full; expected {full}"


def _place(path: schema.KeyPath) -> str:
    parts = [part if re.fullmatch(r"[\w-]{1,60}", str(part)) else describe(part) for part in path]
    return f"{'.'.join(map(str, parts))}: " if parts else ""
