"""Resolve the bundle of a config to a folder: used in place, unpacked into the cache, or fetched first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors
from builder.bundle.storage import files, store
from builder.config import fetch, model
from builder.net import address, http

if TYPE_CHECKING:
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ResolvedBundle:
    """The folder of a bundle.

    Attributes:
        folder: The folder with its files.
        display_name: Its name in messages: the folder, the zip, or the address without secrets.
    """

    folder: Path
    display_name: str


def resolve_bundle(config: model.Config, *, cache: Path, progress: Progress) -> ResolvedBundle:
    """Return the bundle of a config; fetch it only if it is not in the cache.

    Args:
        config: The config.
        cache: Folder for files that can be fetched or unpacked again.
        progress: Receives the step if the bundle is fetched.

    Raises:
        errors.BundleError: There is no bundle, the zip is invalid, or its hash is not the one in the config.
        errors.NetworkError: It could not be fetched.
        errors.ConfigError: The config names a finished pickle.
    """
    bundle = config.bundle
    if bundle is None:
        problem = "a finished pickle has no bundle, so there is nothing to render; run `make pickle` to adopt it"
        raise errors.ConfigError([f"{config.file}: pickle: {problem}"])
    if isinstance(bundle, Path):
        return ResolvedBundle(folder=store.resolve_folder(bundle, cache), display_name=str(bundle))
    path = address.path_from_address(bundle.url)
    if path is not None:
        display_name = str(path)
        sha256 = _hash(path)
        if sha256 != bundle.sha256:
            raise errors.BundleError(
                [f"{path}: the sha256 is {sha256}, but {config.file} expects {bundle.sha256}; fix the hash or the path"]
            )
    else:
        path, display_name = fetch.get_cache_path(bundle.sha256, cache), http.redact_url(bundle.url)
        # Hashed each time: a damaged file in the cache is fetched again.
        if not path.is_file() or _hash(path) != bundle.sha256:
            path = fetch.fetch(bundle.url, sha256=bundle.sha256, cache=cache, progress=progress)
    with store.report_as(display_name, path):
        folder = store.resolve_folder(path, cache, sha256=bundle.sha256)
    return ResolvedBundle(folder=folder, display_name=display_name)


def _hash(path: Path) -> str:
    try:
        return files.hash_content(path)[0]
    except OSError as error:
        raise errors.BundleError([files.describe_read_error(path, error)]) from error
