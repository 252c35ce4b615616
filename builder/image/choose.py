"""Which image a config means: the pinned one, else what its reference or ``default`` stands for."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import errors
from builder.config import model as config
from builder.config import values as config_values
from builder.image import lockfile, pinning
from builder.image import resolve as image
from builder.registry import connections
from builder.tournament import images as tournament_images
from builder.tournament import session, settings

if TYPE_CHECKING:
    from builder.engine import protocol as engine
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ChosenImage:
    """The image that a config means.

    Attributes:
        image: As it was found or made.
        key: Of its pin.
        lock: The lock file as it was read.
    """

    image: image.ResolvedImage
    key: str
    lock: lockfile.LockFile


def today() -> str:
    """Return the day, as pins are dated."""
    return dt.datetime.now(dt.UTC).date().isoformat()


def choose_image(
    chosen: config.Config, on: engine.Engine, *, pull: bool, locked: bool, progress: Progress
) -> ChosenImage:
    """Return the image that a config means: the pinned one, where there is a pin.

    With ``locked``, no stand-in takes its place; :func:`builder.build.lock.check` must have passed before.

    Raises:
        errors.ImageError: It is not available.
        errors.NetworkError: Nobody says what ``default`` stands for.
    """
    lock, key = lockfile.read(chosen.root), config.normalize_reference(chosen.image.ref)
    stand_in = None if locked else chosen.image.stand_in
    try:
        ref = _reference(chosen, lock, progress)
    except errors.NetworkError as error:
        if stand_in is None:
            raise
        progress.note(f"note: {error}")
        found = image.resolve_stand_in(chosen.image.ref, stand_in, on, progress)
        return ChosenImage(image=found, key=key, lock=lock)
    source = settings.to_pull_reference(ref, session.read_registry(chosen.root))
    wanted = image.ImageRequest(
        ref=ref, source=source, stand_in=stand_in, digest=pinning.find_pinned_digest(lock, key), key=key
    )
    with connections.connect(progress) as asked:
        found = image.resolve(wanted, on, pull=pull, progress=progress, ask=asked.resolve)
        if pull and key in lock.images:
            _tell_moved(source, lock.images[key], asked, progress)
    return ChosenImage(image=found, key=key, lock=lock)


def find_pinned_base(chosen: config.Config) -> str | None:
    """Return the reference by digest that a config means; None where nothing pins it."""
    lock, key = lockfile.read(chosen.root), config.normalize_reference(chosen.image.ref)
    digest, pin = pinning.find_pinned_digest(lock, key), lock.images.get(key)
    ref = (pin.ref if pin else None) or chosen.image.ref
    return image.ImageRequest(ref=ref, digest=digest).name if digest else None


def _reference(chosen: config.Config, lock: lockfile.LockFile, progress: Progress) -> str:
    """Return the reference; what ``default`` stands for is in its pin, else the tournament says."""
    if chosen.image.ref != config_values.DEFAULT_IMAGE:
        return chosen.image.ref
    pin = lock.images.get(config_values.DEFAULT_IMAGE)
    if pin is not None and pin.ref is not None:
        return pin.ref
    progress.step("asking the tournament for its default image")
    with session.connect(progress, root=chosen.root) as asked:
        return tournament_images.get_default_reference(asked.list_images())


def _tell_moved(ref: str, pin: lockfile.Pin, asked: connections.Registries, progress: Progress) -> None:
    """Say whether the tag means another image by now: a pin is moved by ``make pin`` alone."""
    try:
        now = asked.resolve(ref).digest
    except errors.BuilderError as error:
        progress.note(f"note: whether {ref} has moved is not known: {error}")
        return
    if now != pin.digest:
        progress.note(
            f"note: {ref} is {now[:19]}... at the registry now, and {pin.digest[:19]}... is pinned ({pin.pinned}) and "
            "used: `make pin` pins the new one"
        )
