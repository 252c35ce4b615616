"""``dist/NAME`` on disk: written whole or not at all, and never read without checking its hashes.

A build gathers its files in a staging folder beside the old ones and then puts them in place: ``model.pkl`` before
``manifest.json``, which holds its hash. While that is done a mark stands in the folder: "a build was cut short" is told
by it, "the file was edited" by the hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import commands, errors, locks, paths
from builder.build import manifest, render, untrusted_files
from builder.bundle.storage import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.progress import Progress

PICKLE, MANIFEST, DOCKERFILE, CONTEXT, VALIDATION = (
    "model.pkl",
    "manifest.json",
    "Dockerfile",
    "context",
    "validation.json",
)
# What later stages say about one pickle: gone as soon as another one takes its place.
DEPENDENT = (VALIDATION, "receipt.json")
MAX_PICKLE_BYTES = 1 << 34
"""Bytes of ``model.pkl``."""
MAX_CONTEXT_ENTRIES = 2 * files.MOST_FILES
"""Files and folders in ``context/``."""
_MARK, _LOCK, _STAGING, _STAMP = ".unfinished", ".lock", ".staging-", ".written"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A pickle and its manifest, found whole and agreeing."""

    folder: Path
    manifest: manifest.Manifest

    @property
    def pickle(self) -> Path:
        """The pickle's path."""
        return self.folder / PICKLE


def load(folder: Path) -> Artifact:
    """Read ``dist/NAME`` and check the pickle against its manifest.

    Raises:
        errors.ArtifactError: nothing was built there, a build was cut short, the pickle was edited, or a file is not
            what this tool writes.
    """
    again = commands.suggest_rebuild(folder)
    if os.path.lexists(folder / _MARK):
        # The pickle may be whole, and what lies beside it another build's.
        raise errors.ArtifactError(f"{folder}: a build was cut short there; {again}")
    first = commands.suggest("pickle", folder)
    if not os.path.lexists(folder / MANIFEST) or not os.path.lexists(folder / PICKLE):
        raise errors.ArtifactError(f"{folder}: nothing was built there yet; run `{first}` first")
    with _telling(f"read {folder}"), untrusted_files.with_fix(again):
        found = manifest.read(folder / MANIFEST)
        with untrusted_files.open_file(folder / PICKLE, max_bytes=MAX_PICKLE_BYTES) as file:
            size = os.fstat(file.fileno()).st_size
            # A size that differs says enough: no need to read gigabytes.
            same_size = size == found.pickle.size
            actual = hashlib.file_digest(file, "sha256").hexdigest() if same_size else ""
    if not same_size:
        raise errors.ArtifactError(
            f"{folder / PICKLE}: has {size:,} bytes, and {MANIFEST} says {found.pickle.size:,}: the file was edited or "
            f"replaced after the build; {again}"
        )
    if actual != found.pickle.sha256:
        raise errors.ArtifactError(
            f"{folder / PICKLE}: its sha256 is {actual}, and {MANIFEST} says {found.pickle.sha256}: the file was "
            f"edited or replaced after the build; {again}"
        )
    return Artifact(folder=folder, manifest=found)


@contextlib.contextmanager
def lock_folder(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold ``dist/NAME`` for one command, once others have ended; what killed builds staged there is removed first.

    Raises:
        errors.ArtifactError: the folder cannot be written.
        errors.LockError: the folder cannot be written, or has no locks.
    """
    with _telling(f"write to {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    waiting = locks.acquire(
        folder / _LOCK, lambda holder: progress.note(f"waiting for another command that uses {folder} ({holder})")
    )
    with waiting, _telling(f"write to {folder}"):
        for old in folder.glob(f"{_STAGING}*"):
            shutil.rmtree(old)
        yield


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside the artifact's files, on the same disk; it is gone afterwards.

    Raises:
        errors.ArtifactError: the disk is full or may not be written, also while the caller writes there.
    """
    with _telling(f"write to {folder}"):
        staged = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
        try:
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def commit(staged: Path, folder: Path, made: manifest.Manifest) -> Artifact:
    """Put a finished build in place; from the mark's writing to its removal, there is none to be read.

    Raises:
        errors.ArtifactError: the disk is full or may not be written.
    """
    with _telling(f"write to {folder}"):
        before = _recorded_hash(folder)
        (staged / MANIFEST).write_bytes(manifest.to_bytes(made))
        write_fingerprint(staged)
        (folder / _MARK).touch()
    with _telling(f"put the new build in place in {folder}", kept="the build there is cut short now"):
        if before != made.pickle.sha256:
            remove_dependent(folder)
        _put(staged, folder, (CONTEXT, DOCKERFILE, PICKLE, MANIFEST, _STAMP))
        (folder / _MARK).unlink()
    return Artifact(folder=folder, manifest=made)


def put_rendering(staged: Path, folder: Path) -> None:
    """Put a Dockerfile and its context in place, without a build.

    Raises:
        errors.ArtifactError: the disk is full or may not be written.
    """
    with _telling(f"write to {folder}", kept="the Dockerfile or its context may be missing now"):
        _put(staged, folder, (CONTEXT, DOCKERFILE))


def _put(staged: Path, folder: Path, names: Iterable[str]) -> None:
    for name in names:
        if name == CONTEXT or (folder / name).is_dir():
            _remove(folder / name)
        (staged / name).replace(folder / name)


def _remove(path: Path) -> None:
    """Remove whatever has this name: a file, a link (not what it leads to), or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_dependent(folder: Path) -> None:
    """Remove what was said about a pickle that is no longer the one here."""
    for name in DEPENDENT:
        _remove(folder / name)


def write_fingerprint(folder: Path) -> None:
    """Record a hash of what was written there, for :func:`is_as_written`.

    Raises:
        OSError: It cannot be written.
    """
    paths.write_atomically(folder / _STAMP, _fingerprint(folder).encode())


def is_as_written(folder: Path) -> bool:
    """Tell whether the manifest, the Dockerfile and all of ``context/`` are what the last build wrote, and no more.

    ``verify`` renders them again, which takes numpy; a hash finds an edit without it.
    """
    try:
        return untrusted_files.read_bytes(folder / _STAMP, max_bytes=100) == _fingerprint(folder).encode()
    except (OSError, errors.ArtifactError):
        return False


def _fingerprint(folder: Path) -> str:
    """Return a hash of the files, and of the template: another one renders another Dockerfile."""
    total = hashlib.sha256((paths.docker_folder() / render.TEMPLATE).read_bytes())
    context = untrusted_files.list_files(folder / CONTEXT, max_bytes=MAX_CONTEXT_ENTRIES)
    for name in (MANIFEST, DOCKERFILE, *(f"{CONTEXT}/{name}" for name in context)):
        with untrusted_files.open_file(folder / name, max_bytes=files.MOST_FILE) as file:
            total.update(
                f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode(errors="surrogateescape")
            )
    return total.hexdigest()


def write_report(folder: Path, name: str, content: bytes) -> None:
    """Write a later stage's file, whole or not at all.

    Raises:
        errors.ArtifactError: the disk is full or may not be written.
    """
    with _telling(f"write {folder / name}"):
        paths.write_atomically(folder / name, content)


def read_manifests(root: Path) -> Iterator[tuple[Path, manifest.Manifest]]:
    """Yield the manifests of ``dist/*/`` that can be read."""
    for path in sorted((root / "dist").glob(f"*/{MANIFEST}")):
        try:
            yield path, manifest.read(path)
        except (errors.BuilderError, OSError):
            continue


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recorded_hash(folder: Path) -> str | None:
    with contextlib.suppress(OSError, errors.ArtifactError):
        return manifest.read(folder / MANIFEST).pickle.sha256
    return None


@contextlib.contextmanager
def _telling(what: str, *, kept: str = "what was there before is as it was") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.ArtifactError(
            f"could not {what}: {error.strerror or error}; free some space or mend the permissions, then run it again "
            f"({kept})"
        ) from error
