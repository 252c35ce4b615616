"""Read and write the lock file ``builder.lock.yaml``: the pinned digests of images, and the last builds of models.

``images`` has one entry for each reference (or ``default``), ``models`` one for each model built in a pinned image. The
file is written atomically, by one process at a time and in sorted order, so that its diffs show only what changed.
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
from builder.tournament import session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


NAME = "builder.lock.yaml"
_HEAD = """\
# The digest of each image reference, and the last build of each model. Keep this file under version control.
# Written by `make pin` (python -m builder pin) and by `make pickle`; LOCKED=1 refuses everything that is not listed.
"""
_UPDATE_LOCK = "dist/.builder.lock"
"""File lock for updates; in ``dist``, because that is not under version control."""
_MAX_LABELS, _MAX_LABEL_LENGTH = 20, 200  # anybody can label an image; the file is for people to read


def _is_day(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text  # since Python 3.11 it also accepts 20261124
    except ValueError:
        return False


Day = Annotated[str, schema.Constraint(text='like "2026-11-24"', holds=_is_day)]


def _check_reference(text: str) -> str:
    if reference.parse(text).tag is None:
        raise ValueError(f"{describe(text)} has no tag; expected registry/repository:tag")
    return text


_Reference = Annotated[str, schema.ParsedText(parse=_check_reference, text="an image reference with a tag")]


@dataclass(frozen=True, kw_only=True)
class Pin:
    """The pinned image of a reference.

    Attributes:
        digest: The repository digest, of the image or of the index that the tag resolves to.
        pinned: The date on which it was pinned.
        python: The image's Python version, if it is known.
        labels: The image's labels that are not empty.
        ref: The reference that ``default`` resolved to; None for other keys.
    """

    digest: schema.Digest
    pinned: Day
    python: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    ref: _Reference | None = None


@dataclass(frozen=True, kw_only=True)
class LockedModel:
    """The last build of a model in a pinned image.

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
    """The contents of the lock file; empty if it does not exist.

    Attributes:
        format: The version of the file format.
        images: Pins, by full reference or ``default``.
        models: Builds, by the config's name.
    """

    format: Annotated[int, schema.require_equal(1)] = 1
    images: dict[str, Pin] = field(default_factory=dict)
    models: dict[str, LockedModel] = field(default_factory=dict)

    def with_pin(self, key: str, pin: Pin) -> LockFile:
        """Return a copy with a pin added or replaced."""
        return dataclasses.replace(self, images={**self.images, key: pin})

    def with_model(self, name: str, model: LockedModel) -> LockFile:
        """Return a copy with a model added or replaced."""
        return dataclasses.replace(self, models={**self.models, name: model})


def create_pin(
    digest: str, *, day: str, python: str = "", labels: Mapping[str, str] | None = None, ref: str = ""
) -> Pin:
    """Return a pin without empty, long and unprintable labels."""
    usable = {key: value for key, value in sorted((labels or {}).items()) if _is_short(key) and _is_short(value)}
    return Pin(
        digest=digest,
        pinned=day,
        python=python if re.fullmatch(r"3\.[0-9]{1,2}(\.[0-9]{1,3})?", python) else None,
        labels=dict(list(usable.items())[:_MAX_LABELS]),
        ref=ref or None,
    )


def find(root: Path) -> Path:
    """Return the path of a project's lock file; the sandbox sets another one for its pins.

    Args:
        root: The folder that contains ``configs/``.
    """
    return session.read_lock_file(root) or root / NAME


def read(root: Path) -> LockFile:
    """Read the lock file of a project; return an empty one if it does not exist.

    Args:
        root: The folder that contains ``configs/``.

    Raises:
        errors.ConfigError: The file is invalid; the error lists all problems.
        OSError: The file cannot be read.
    """
    path = find(root)
    try:
        with path.open("rb") as file:
            text = file.read(strict_yaml.MAX_BYTES + 1)
    except FileNotFoundError:
        return LockFile()
    return parse(text, str(path))


def parse(text: bytes, shown: str) -> LockFile:
    """Parse the content of a lock file.

    Args:
        text: Any bytes.
        shown: The file's path for messages.

    Raises:
        errors.ConfigError: The file is invalid; the error lists all problems.
    """
    document = strict_yaml.read(text)
    problems = list(document.problems)
    parsed = schema.parse(LockFile, document.data, spelling=document.spelling)
    if all(problem.path for _, problem in problems):
        more = parsed if isinstance(parsed, list) else _find_key_problems(parsed)
        if "format" not in document.data:
            more = [schema.Problem(path=("format",), text="missing; expected 1"), *more]
        known_paths = {problem.path for _, problem in problems}
        problems += [(document.position(problem.path), problem) for problem in more if problem.path not in known_paths]
    if problems or isinstance(parsed, list):
        problems.sort(key=lambda problem: problem[0])
        lines = [f"{shown}:{position[0]}: {_format_path(problem.path)}{problem.text}" for position, problem in problems]
        raise errors.ConfigError([*lines, f"{shown} is written by `make pin`: fix it, or remove it and run `make pin`"])
    return parsed


def update(
    root: Path, edit: Callable[[LockFile], LockFile], *, on_wait: Callable[[str], None]
) -> tuple[LockFile, LockFile]:
    """Change the lock file, while other processes wait; write nothing if ``edit`` changes nothing.

    Args:
        root: The folder that contains ``configs/``.
        edit: Returns the new contents for the old ones.
        on_wait: Called once if another process is updating the file, with a description of it.

    Returns:
        The old and the new contents.

    Raises:
        errors.ConfigError: The existing file is invalid.
        OSError: The file cannot be written; it is unchanged then.
    """
    path = find(root)
    with locks.acquire(path.parent / _UPDATE_LOCK, on_wait):
        before = read(root)
        after = edit(before)
        if after != before:
            paths.write_atomically(path, to_bytes(after))
    return before, after


def to_bytes(lock: LockFile) -> bytes:
    """Return the file's content; equal values always give the same bytes."""
    data = schema.to_data(LockFile, lock)
    pins = {
        key: _without_empty({**pin, "labels": dict(sorted(pin["labels"].items()))})
        for key, pin in data["images"].items()
    }
    sections = {"images": dict(sorted(pins.items())), "models": dict(sorted(data["models"].items()))}
    return (_HEAD + strict_yaml.write({"format": lock.format, **_without_empty(sections)})).encode()


def format_added_entries(before: LockFile, after: LockFile) -> str:
    """Return the new and changed entries as in the file; an empty string if there are none."""
    added = LockFile(
        images={key: entry for key, entry in after.images.items() if before.images.get(key) != entry},
        models={key: entry for key, entry in after.models.items() if before.models.get(key) != entry},
    )
    return to_bytes(added).decode().removeprefix(f"{_HEAD}format: {added.format}\n").rstrip("\n")


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value != {}}


def _is_short(text: str) -> bool:
    return 0 < len(text) <= _MAX_LABEL_LENGTH and text.isprintable()


def _find_key_problems(lock: LockFile) -> list[schema.Problem]:
    """Return the problems that the schema does not find: invalid keys, and a missing or misplaced ``ref``."""
    problems = []
    for key, pin in lock.images.items():
        is_default = key == config_values.DEFAULT_IMAGE
        if not is_default and (problem := _find_reference_problem(key)):
            problems.append(schema.Problem(path=("images", key), text=problem))
        if is_default and pin.ref is None:
            problems.append(
                schema.Problem(
                    path=("images", key), text="ref is missing; expected the reference that default resolved to"
                )
            )
        if not is_default and pin.ref is not None:
            problems.append(schema.Problem(path=("images", key, "ref"), text="only allowed for default; remove it"))
    return problems


def _find_reference_problem(key: str) -> str:
    try:
        full = str(reference.parse(key))
    except ValueError as error:
        return str(error)
    return "" if full == key else f"is not a full reference; expected {full}"


def _format_path(path: schema.KeyPath) -> str:
    parts = [part if re.fullmatch(r"[\w-]{1,60}", str(part)) else describe(part) for part in path]
    return f"{'.'.join(map(str, parts))}: " if parts else ""
