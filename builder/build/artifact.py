"""Write and read ``dist/NAME``, the folder with a pickle, its manifest and the inputs it was built from.

A build collects its files in a staging folder inside ``dist/NAME`` and then moves them into place: ``model.pkl`` before
``manifest.json``, which contains its hash. A marker file exists while they are moved. A folder with the marker is an
interrupted build; a pickle that does not match the manifest, without the marker, was edited.
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
# What later stages write about one pickle; removed when another pickle replaces it.
PAGE = "report.html"
DEPENDENT_FILES = (VALIDATION, PAGE, "receipt.json")
MAX_PICKLE_BYTES = 1 << 34
"""Largest ``model.pkl`` that is read."""
MAX_CONTEXT_ENTRIES = 2 * files.MOST_FILES
"""Most files and folders in ``context/``."""
_UNFINISHED, _LOCK, _STAGING, _FINGERPRINT = ".unfinished", ".lock", ".staging-", ".written"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A pickle and the manifest that matches it."""

    folder: Path
    manifest: manifest.Manifest

    @property
    def pickle(self) -> Path:
        """The pickle's path."""
        return self.folder / PICKLE


def load(folder: Path) -> Artifact:
    """Read ``dist/NAME`` and check the pickle against its manifest.

    Raises:
        errors.ArtifactError: Nothing was built there, a build was interrupted, the pickle was edited, or a file is not
            one that this tool writes.
    """
    build_again = commands.suggest_rebuild(folder)
    if os.path.lexists(folder / _UNFINISHED):
        # The pickle may be complete, and the files beside it those of another build.
        raise errors.ArtifactError(f"{folder}: the last build was interrupted; {build_again}")
    # lexists: a dangling link is not "no pickle", it is refused below.
    if not os.path.lexists(folder / MANIFEST) or not os.path.lexists(folder / PICKLE):
        command = commands.suggest("pickle", folder)
        raise errors.ArtifactError(f"{folder}: no pickle has been built here; run `{command}` first")
    with _convert_os_errors(f"read {folder}"), untrusted_files.with_fix(build_again):
        recorded = manifest.read(folder / MANIFEST)
        with untrusted_files.open_file(folder / PICKLE, max_bytes=MAX_PICKLE_BYTES) as file:
            size = os.fstat(file.fileno()).st_size
            # Hashing several gigabytes takes seconds: skip it if the size already differs.
            same_size = size == recorded.pickle.size
            sha256 = hashlib.file_digest(file, "sha256").hexdigest() if same_size else ""
    if not same_size:
        raise errors.ArtifactError(
            f"{folder / PICKLE}: the size is {size:,} bytes, but {MANIFEST} records {recorded.pickle.size:,}: the file "
            f"was edited or replaced after the build; {build_again}"
        )
    if sha256 != recorded.pickle.sha256:
        raise errors.ArtifactError(
            f"{folder / PICKLE}: the sha256 is {sha256}, but {MANIFEST} records {recorded.pickle.sha256}: the file was "
            f"edited or replaced after the build; {build_again}"
        )
    return Artifact(folder=folder, manifest=recorded)


@contextlib.contextmanager
def lock_folder(folder: Path, progress: Progress) -> Iterator[None]:
    """Create ``dist/NAME`` and lock it for one command, waiting for others; remove staging folders of killed builds.

    Raises:
        errors.ArtifactError: The folder cannot be written.
        errors.LockError: The folder cannot be written, or its file system has no locks.
    """
    with _convert_os_errors(f"write to {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    lock = locks.acquire(
        folder / _LOCK, lambda holder: progress.note(f"waiting for another command that uses {folder} ({holder})")
    )
    with lock, _convert_os_errors(f"write to {folder}"):
        # The lock is held, so no running build uses them.
        for path in folder.glob(f"{_STAGING}*"):
            shutil.rmtree(path)
        yield


@contextlib.contextmanager
def create_staging_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder inside ``folder``, so that its files can be moved by renaming; remove it afterwards.

    Raises:
        errors.ArtifactError: The disk is full or may not be written, also while the caller writes there.
    """
    with _convert_os_errors(f"write to {folder}"):
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def commit(staging: Path, folder: Path, new_manifest: manifest.Manifest) -> Artifact:
    """Move a finished build from its staging folder into place, and remove reports about the pickle it replaces.

    Raises:
        errors.ArtifactError: The disk is full or may not be written.
    """
    with _convert_os_errors(f"write to {folder}"):
        # Read before the manifest is replaced: a build with the same bytes keeps its validation and receipt.
        old_hash = _read_pickle_hash(folder)
        (staging / MANIFEST).write_bytes(manifest.to_bytes(new_manifest))
        if not new_manifest.is_adopted:
            write_fingerprint(staging)
        (folder / _UNFINISHED).touch()
    with _convert_os_errors(f"move the new build into {folder}", outcome="the build there is now incomplete"):
        if old_hash != new_manifest.pickle.sha256:
            remove_dependent_files(folder)
        _move_into_place(staging, folder, (CONTEXT, DOCKERFILE, PICKLE, MANIFEST, _FINGERPRINT))
        (folder / _UNFINISHED).unlink()
    return Artifact(folder=folder, manifest=new_manifest)


def commit_rendering(staging: Path, folder: Path) -> None:
    """Move a Dockerfile and its context into place, without a build.

    Raises:
        errors.ArtifactError: The disk is full or may not be written.
    """
    with _convert_os_errors(f"write to {folder}", outcome="the Dockerfile or its context may be missing now"):
        _move_into_place(staging, folder, (CONTEXT, DOCKERFILE))


def _move_into_place(staging: Path, folder: Path, names: Iterable[str]) -> None:
    for name in names:
        exists = (staging / name).exists()  # an adopted pickle has neither a Dockerfile nor a context
        if not exists or name == CONTEXT or (folder / name).is_dir():
            _remove(folder / name)  # a rename replaces a file, but not a folder
        if exists:
            (staging / name).replace(folder / name)


def _remove(path: Path) -> None:
    """Remove a file, a link (not its target), or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_dependent_files(folder: Path) -> None:
    """Remove what later stages wrote about a pickle that is no longer there."""
    for name in DEPENDENT_FILES:
        _remove(folder / name)


def write_fingerprint(folder: Path) -> None:
    """Write the hash of the folder's files that :func:`is_unmodified` compares.

    Raises:
        OSError: It cannot be written.
    """
    paths.write_atomically(folder / _FINGERPRINT, _compute_fingerprint(folder).encode())


def is_unmodified(folder: Path) -> bool:
    """Return whether the manifest, the Dockerfile and ``context/`` are exactly what the last build wrote.

    ``verify`` renders them again for the same purpose; a hash needs no numpy, whose import takes longer than this.
    """
    try:
        return untrusted_files.read_bytes(folder / _FINGERPRINT, max_bytes=100) == _compute_fingerprint(folder).encode()
    except (OSError, errors.ArtifactError):
        return False


def _compute_fingerprint(folder: Path) -> str:
    """Return a hash of the files and of the Dockerfile template: a changed template renders another Dockerfile."""
    total = hashlib.sha256((paths.docker_folder() / render.TEMPLATE).read_bytes())
    context = untrusted_files.list_files(folder / CONTEXT, max_entries=MAX_CONTEXT_ENTRIES)
    for name in (MANIFEST, DOCKERFILE, *(f"{CONTEXT}/{name}" for name in context)):
        with untrusted_files.open_file(folder / name, max_bytes=files.MOST_FILE) as file:
            # surrogateescape: a file name may have bytes that are not UTF-8.
            total.update(
                f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode(errors="surrogateescape")
            )
    return total.hexdigest()


def write_report(folder: Path, name: str, content: bytes) -> None:
    """Write a later stage's file atomically.

    Raises:
        errors.ArtifactError: The disk is full or may not be written.
    """
    with _convert_os_errors(f"write {folder / name}"):
        paths.write_atomically(folder / name, content)


def read_manifests(root: Path) -> Iterator[tuple[Path, manifest.Manifest]]:
    """Yield the manifests of ``dist/*/`` and their paths; skip those that cannot be read."""
    for path in sorted((root / "dist").glob(f"*/{MANIFEST}")):
        try:
            yield path, manifest.read(path)
        except (errors.BuilderError, OSError):
            continue


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_pickle_hash(folder: Path) -> str | None:
    with contextlib.suppress(OSError, errors.ArtifactError):
        return manifest.read(folder / MANIFEST).pickle.sha256
    return None


@contextlib.contextmanager
def _convert_os_errors(action: str, *, outcome: str = "the previous files are unchanged") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.ArtifactError(
            f"could not {action}: {error.strerror or error}; free some space or fix the permissions, then run the "
            f"command again ({outcome})"
        ) from error
