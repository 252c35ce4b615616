"""From what a config names as its bundle to a folder with the bundle in it: as it is, unpacked, or fetched first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors
from builder.bundle.storage import files, store
from builder.config import fetch
from builder.config import model as config
from builder.net import address, http

if TYPE_CHECKING:
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ResolvedBundle:
    """A bundle that is here.

    Attributes:
        folder: Holds its files.
        said: What a person knows it by, for messages: the folder, the zip, or the address without its secrets.
    """

    folder: Path
    said: str


def resolve_bundle(chosen: config.Config, *, cache: Path, progress: Progress) -> ResolvedBundle:
    """Return the bundle of a config; the network is asked only for one that is not in the cache.

    Args:
        chosen: The config.
        cache: Folder for what can be made or fetched again.
        progress: Told of a fetch.

    Raises:
        errors.BundleError: There is none, the zip has faults, or its hash is not the config's.
        errors.NetworkError: It could not be fetched.
    """
    bundle = chosen.bundle
    if isinstance(bundle, Path):
        return ResolvedBundle(folder=store.resolve_folder(bundle, cache), said=str(bundle))
    path = address.path_from_address(bundle.url)
    if path is not None:
        said = str(path)
        found = _hash(path)
        if found != bundle.sha256:
            raise errors.BundleError(
                [f"{path}: its sha256 is {found}, {chosen.file} says {bundle.sha256}; fix whichever is wrong"]
            )
    else:
        path, said = fetch.kept(bundle.sha256, cache), http.redact_url(bundle.url)
        if not path.is_file() or _hash(path) != bundle.sha256:
            path = fetch.fetch(bundle.url, sha256=bundle.sha256, cache=cache, progress=progress)
    with store.report_as(said, path):
        folder = store.resolve_folder(path, cache, sha256=bundle.sha256)
    return ResolvedBundle(folder=folder, said=said)


def _hash(path: Path) -> str:
    try:
        return files.hash_content(path)[0]
    except OSError as error:
        raise errors.BundleError([files.describe_read_error(path, error)]) from error
