"""Fetch uploaded pickles into the cache, and find the image of a pickle."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, paths
from builder.build import artifact
from builder.net import download
from builder.text import sanitize
from builder.tournament import images as tournament_images
from builder.upload import slot_log

if TYPE_CHECKING:
    from builder import tournament
    from builder.progress import Progress

_KEPT = 10


def reference(api: tournament.Tournament, pickle: tournament.UploadedPickle, registry: str) -> str:
    """Return the reference, in this registry, of the image that a pickle was registered for.

    Raises:
        errors.ImageError: The API does not say which.
    """
    image = next((image for image in api.list_images() if image.id == pickle.image_id), None)
    if image is not None:
        return tournament_images.get_reference(image, registry)
    # An image that is no longer offered is not listed, but the pickle still names it.
    if ":" in pickle.image:
        return pickle.image if "/" in pickle.image else f"{registry}/{pickle.image}"
    raise errors.ImageError(
        f"{pickle.id}: the API does not say which image it was registered for (it says {sanitize(pickle.image)!r})"
    )


def fetch(api: tournament.Tournament, pickle: tournament.UploadedPickle, progress: Progress) -> Path:
    """Return the path of a pickle in the cache; fetches it unless the cached file has the hash of its name.

    Raises:
        errors.NetworkError: A file cannot be fetched.
    """
    path = get_cached_path(pickle.id)
    digits = download.find_hash_prefix(pickle.filename)
    if digits and path.is_file() and artifact.hash_file(path).startswith(digits):
        return path
    progress.step(f"fetching {sanitize(pickle.filename)}")
    downloaded = fetch_pickle(api, pickle, path, progress)
    # Another tool's name may contain 12 digits that are not of a hash, so check only what was sent from here.
    digits = known_digits(pickle.filename, Path.cwd())
    if digits and not downloaded.sha256.startswith(digits):
        progress.note(f"note: the stored file has the sha256 {downloaded.sha256}, but its name contains {digits}")
    return path


def keep(identity: str, source: Path) -> None:
    """Keep an uploaded pickle, by its id, in the cache, where later commands find it; only the newest ones are kept.

    It is a link if possible. A later build replaces the file in ``dist`` and does not write into it.
    """
    path = get_cached_path(identity)
    with contextlib.suppress(OSError):  # the upload is complete, and the file can be fetched
        path.unlink(missing_ok=True)
        try:
            path.hardlink_to(source)
        except OSError:  # another file system
            shutil.copyfile(source, path)
        others = set(path.parent.glob("*.pkl")) - {path}
        for old in sorted(others, key=lambda path: path.stat().st_ctime_ns)[: 1 - _KEPT]:
            old.unlink()


def get_cached_path(identity: str) -> Path:
    """Return where the cache has a pickle by its id."""
    folder = paths.cache_folder() / "pickles"
    folder.mkdir(exist_ok=True)
    return folder / download.to_file_name(f"{identity}.pkl")


def fetch_pickle(
    api: tournament.Tournament, pickle: tournament.UploadedPickle, target: Path, progress: Progress
) -> download.DownloadedFile:
    """Fetch a pickle's bytes through the slot that it belongs to.

    Raises:
        errors.TokenError: The token does not have the scope.
        errors.NetworkError: It could not be fetched.
    """
    # The API authorises a download for a slot; an upload without an owner may still be assigned to one.
    slot = pickle.owner or next(iter(pickle.slots), "")
    auth = api.get_download_auth(slot, pickle.id)
    return download.download(auth.url, target, description=f"the pickle {pickle.id}", progress=progress)


def known_digits(filename: str, root: Path) -> str | None:
    """Return the digits of the hash in a stored name, if a manifest below ``dist`` or a slot's log has that hash."""
    digits = download.find_hash_prefix(filename)
    if digits is None:
        return None
    hashes = [manifest.pickle.sha256 for _, manifest in artifact.read_manifests(root)]
    hashes += [entry.get_text("sha256") for _, entries in slot_log.read_all() for entry in entries]
    return digits if any(sha256.startswith(digits) for sha256 in hashes) else None
