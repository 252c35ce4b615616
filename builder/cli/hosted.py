"""What the tournament holds, on this disk: an uploaded pickle, the image it was registered for, live data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, paths
from builder.build import artifact
from builder.cli import account, api_session, slots

if TYPE_CHECKING:
    from builder import tournament
    from builder.progress import Progress


def reference(api: tournament.Tournament, pickle: tournament.UploadedPickle, root: Path | None = None) -> str:
    """Return the image that a pickle was registered for, as a reference.

    Raises:
        errors.ImageError: The API does not say which.
    """
    from builder.image import pinning  # noqa: PLC0415

    registry = api_session.read_registry(root)
    found = next((one for one in api.images() if one.id == pickle.image_id), None)
    if found is not None:
        return pinning.reference(found, registry)
    if ":" in pickle.image:
        return pickle.image if "/" in pickle.image else f"{registry}/{pickle.image}"
    raise errors.ImageError(
        f"{pickle.id}: the API does not say which image it was registered for (it says {slots.clean(pickle.image)!r})"
    )


def fetch(api: tournament.Tournament, pickle: tournament.UploadedPickle, progress: Progress) -> Path:
    """Return the pickle's bytes in the cache; fetched unless they are there and their hash fits the name.

    Raises:
        errors.NetworkError: They cannot be fetched.
    """
    from builder.net import download  # noqa: PLC0415 - the network

    folder = paths.cache_folder() / "pickles"
    folder.mkdir(exist_ok=True)
    kept = folder / download.local_name(f"{pickle.id}.pkl")
    digits = download.digits_of(pickle.filename)
    if digits and kept.is_file() and artifact.hash_file(kept).startswith(digits):
        return kept
    progress.step(f"fetching {slots.clean(pickle.filename)}")
    came = account.fetch_pickle(api, pickle, kept, progress)
    digits = account.known_digits(pickle.filename, Path.cwd())
    if digits and not came.sha256.startswith(digits):
        progress.note(f"note: what is stored has the sha256 {came.sha256}, and its name says {digits}: another file")
    return kept


def fetch_live(api: tournament.Tournament, version: str, progress: Progress) -> tuple[Path, Path]:
    """Return today's live data of a data version, features and benchmark predictions, fetched into the cache.

    Raises:
        errors.NetworkError: They cannot be fetched.
    """
    from builder.net import download  # noqa: PLC0415

    folder = paths.cache_folder() / "live"
    folder.mkdir(exist_ok=True)
    found = []
    for name in ("live", "live_benchmark_models"):
        progress.step(f"fetching {slots.clean(version)}/{name}.parquet")
        kept = folder / download.local_name(f"{version}-{name}.parquet")
        url = api.dataset_url(f"{version}/{name}.parquet")
        download.download(url, kept, what=f"{slots.clean(version)}/{name}.parquet", progress=progress)
        found.append(kept)
    return found[0], found[1]
