"""Resolve the image of a config: the pinned one, or the one that its reference or ``default`` resolves to."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import errors
from builder.config import model as config_model
from builder.config import values as config_values
from builder.image import lockfile, pinning
from builder.image import resolve as image
from builder.registry import connections
from builder.tournament import images as tournament_images
from builder.tournament import session, settings

if TYPE_CHECKING:
    from builder.engine import protocol
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ChosenImage:
    """The image of a config.

    Attributes:
        image: The resolved image.
        key: The key of its pin in the lock file.
        lock: The lock file from which the pin was read.
    """

    image: image.ResolvedImage
    key: str
    lock: lockfile.LockFile


def today() -> str:
    """Return today's date in UTC, in the format of pins."""
    return dt.datetime.now(dt.UTC).date().isoformat()


def choose_image(
    config: config_model.Config, engine: protocol.Engine, *, pull: bool, locked: bool, progress: Progress
) -> ChosenImage:
    """Resolve the image of a config; if it is pinned, to the pinned digest.

    Args:
        config: The config.
        engine: The engine.
        pull: Ask the registry even if the image is on the engine.
        locked: Use no stand-in; :func:`builder.build.lock.check` must have passed before.
        progress: Shows pulls, builds and notes.

    Raises:
        errors.ImageError: The image is not available.
        errors.NetworkError: ``default`` is not pinned, and the tournament does not answer.
    """
    lock, key = lockfile.read(config.root), config_model.normalize_reference(config.image.ref)
    stand_in = None if locked else config.image.stand_in
    try:
        ref = _find_reference(config, lock, progress)
    except errors.NetworkError as error:  # only for `default`; examples must build without the tournament's API
        if stand_in is None:
            hint = "" if locked else f"; {image.STAND_IN_HINT}"
            raise errors.NetworkError(
                f"{config.file}: image.ref: default is not pinned, and the tournament could not be asked for it: "
                f"{error}{hint}"
            ) from error
        progress.note(f"note: {error}")
        resolved = image.resolve_stand_in(config.image.ref, stand_in, engine, progress, fallback=True)
        return ChosenImage(image=resolved, key=key, lock=lock)
    source = settings.to_pull_reference(ref, session.read_registry(config.root))
    request = image.ImageRequest(
        ref=ref, source=source, stand_in=stand_in, digest=pinning.find_pinned_digest(lock, key), key=key
    )
    with connections.connect(progress) as registries:
        resolved = image.resolve(request, engine, pull=pull, progress=progress, look_up=registries.resolve)
        # With `pull` the registry is asked anyway; without, a build of a pinned image needs no network.
        if pull and key in lock.images:
            _report_moved_tag(source, lock.images[key], registries, progress)
    return ChosenImage(image=resolved, key=key, lock=lock)


def find_pinned_base(config: config_model.Config) -> str | None:
    """Return the reference with digest of a config's image; None if it is not pinned."""
    lock, key = lockfile.read(config.root), config_model.normalize_reference(config.image.ref)
    digest, pin = pinning.find_pinned_digest(lock, key), lock.images.get(key)
    ref = (pin.ref if pin else None) or config.image.ref
    return image.ImageRequest(ref=ref, digest=digest).name if digest else None


def _find_reference(config: config_model.Config, lock: lockfile.LockFile, progress: Progress) -> str:
    """Return the config's reference; for ``default``, the one in its pin or the tournament's current default."""
    if config.image.ref != config_values.DEFAULT_IMAGE:
        return config.image.ref
    pin = lock.images.get(config_values.DEFAULT_IMAGE)
    if pin is not None and pin.ref is not None:
        return pin.ref
    progress.step("asking the tournament for its default image")
    with session.connect(progress, root=config.root) as api:
        return tournament_images.get_default_reference(api.list_images())


def _report_moved_tag(ref: str, pin: lockfile.Pin, registries: connections.Registries, progress: Progress) -> None:
    """Show a note if the tag resolves to another image than the pin: only ``make pin`` changes a pin."""
    try:
        now = registries.resolve(ref).digest
    except errors.BuilderError as error:  # the pinned image is here, so the build can continue
        progress.note(f"note: could not check whether {ref} has moved: {error}")
        return
    if now != pin.digest:
        progress.note(
            f"note: {ref} is now {now[:19]}... in the registry; the pinned {pin.digest[:19]}... ({pin.pinned}) is "
            "used; run `make pin` to pin the new one"
        )
