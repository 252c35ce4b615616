"""Compare the bytes of an adopted pickle, which cannot be built again, with what is on record about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import commands, errors
from builder.build import artifact, lock, manifest, untrusted_files
from builder.image import lockfile

if TYPE_CHECKING:
    from pathlib import Path

    from builder.build import target


@dataclass(frozen=True, kw_only=True)
class Record:
    """What has the hash of a pickle, and whether the pickle has this hash."""

    source: str
    sha256: str
    equal: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A pickle with its hash, and what is on record."""

    pickle: str
    sha256: str
    records: tuple[Record, ...]

    @property
    def equal(self) -> bool:
        """Whether the pickle has the recorded bytes everywhere."""
        return all(record.equal for record in self.records)


def is_adopted(selected: target.Target) -> bool:
    """Return whether a target is of an adopted pickle, by its config or else by its manifest; False if not known."""
    if selected.config:
        return selected.config.pickle is not None
    try:
        return manifest.read(selected.folder / artifact.MANIFEST).is_adopted
    except (OSError, errors.ArtifactError):
        return False


def compare(selected: target.Target, *, locked: bool) -> Comparison:
    """Compare the pickle in ``dist/NAME`` with its manifest, the config's pickle and the lock file.

    Raises:
        errors.ArtifactError: A file is missing, or is not a regular file.
        errors.RefusedError: With ``locked``, the lock file has no entry for it.
    """
    folder, config = selected.folder, selected.config
    if config and locked:
        lock.check(config)
    path = folder / artifact.PICKLE
    try:
        with untrusted_files.with_fix(commands.suggest_rebuild(folder)):
            recorded = manifest.read(folder / artifact.MANIFEST)
            sha256 = _hash(path)
            recorded_hashes = [(artifact.MANIFEST, recorded.pickle.sha256)]
            if config and config.pickle:
                recorded_hashes.append((str(config.pickle), _hash(config.pickle)))
    except OSError as error:
        raise errors.ArtifactError(
            f"{error.filename or folder}: cannot be read: {error.strerror}; {commands.suggest_rebuild(folder)}"
        ) from error
    locked_model = lockfile.read(config.root).models.get(config.name) if config else None
    if config and locked_model and locked_model.pickle and recorded.image.kind == "exact":
        recorded_hashes.append((str(lockfile.find(config.root)), locked_model.pickle))
    records = tuple(Record(source=source, sha256=digest, equal=digest == sha256) for source, digest in recorded_hashes)
    return Comparison(pickle=str(path), sha256=sha256, records=records)


def _hash(path: Path) -> str:
    with untrusted_files.open_file(path, max_bytes=artifact.MAX_PICKLE_BYTES) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
